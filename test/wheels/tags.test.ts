import { execFileSync } from 'node:child_process';
import t from 'tap';
import { normalise, parseRequirement } from '../../src/wheels/names.js';
import {
  MAX_WHEEL_NAME_LENGTH,
  compareTargets,
  covers,
  parseTarget,
  parseWheelName,
  reachOf,
  widerReach,
} from '../../src/wheels/tags.js';
import { admits, compareVersions, sameVersion, sortKey } from '../../src/wheels/versions.js';

const LINUX = 'linux_x86_64';
/** Returns whether a wheel with this tag serves a target. `by` is the ABI of the Python that built it, if known. */
const serves = (tag: string, abi: string, platform = LINUX, by?: string): boolean => {
  const [py = '', wheelAbi = '', wheelPlatform = ''] = tag.split('-');
  const reach = reachOf(
    { abi: wheelAbi, platform: wheelPlatform },
    by === undefined ? by : parseTarget(by, LINUX),
  );
  return covers({ py, abi: wheelAbi, platform: wheelPlatform, reach }, parseTarget(abi, platform));
};

void t.test('a wheel serves the targets that its tags admit', (t) => {
  const cases: [string, string, boolean][] = [
    ['py3-none-any', 'cp311', true],
    ['py2.py3-none-any', 'cp313t', true],
    ['py2-none-any', 'cp311', false],
    ['py311-none-any', 'cp310', false],
    ['py39-none-any', 'pypy39_pp73', true],
    ['cp311-cp311-linux_x86_64', 'cp311', true],
    ['cp311-cp311-linux_x86_64', 'cp312', false],
    ['cp311-cp311-linux_aarch64', 'cp311', false],
    ['cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64', 'cp311', true],
    ['cp311-cp311-musllinux_1_2_x86_64', 'cp311', false],
    ['cp39-abi3-linux_x86_64', 'cp312', true],
    ['cp39-abi3-linux_x86_64', 'cp38', false],
    ['cp39-abi3-linux_x86_64', 'cp313t', false],
    ['cp39-abi3-linux_x86_64', 'pypy39_pp73', false],
    ['cp313-cp313t-linux_x86_64', 'cp313t', true],
    ['cp313-cp313t-linux_x86_64', 'cp313', false],
    ['pp39-pypy39_pp73-linux_x86_64', 'pypy39_pp73', true],
    ['cp311-none-linux_x86_64', 'cp311', true],
    ['py3-none-linux_x86_64', 'cp312', true],
  ];
  for (const [tag, abi, expected] of cases) t.equal(serves(tag, abi), expected, `${tag} on ${abi}`);
  t.end();
});

void t.test('a pure wheel built by PyPy or free-threaded CPython serves only that kind of Python', (t) => {
  const abis = ['cp39', 'cp311', 'cp313t', 'cp314t', 'pypy39_pp73', 'pypy310_pp73'];
  const served = (tag: string, by?: string) => abis.filter((abi) => serves(tag, abi, LINUX, by));
  t.same(served('py3-none-any', 'cp311'), abis);
  t.same(served('py3-none-any'), abis, 'or if its origin is unknown');
  t.same(served('py3-none-any', 'pypy39_pp73'), ['pypy39_pp73', 'pypy310_pp73']);
  t.same(served('py2.py3-none-any', 'pypy39_pp73'), ['pypy39_pp73', 'pypy310_pp73']);
  t.same(served('py310-none-any', 'pypy310_pp73'), ['pypy310_pp73']);
  t.same(served('py3-none-any', 'cp313t'), ['cp313t', 'cp314t']);
  // A wheel with a platform and no ABI is meant for all Pythons there.
  t.same(served('py3-none-linux_x86_64', 'pypy39_pp73'), abis);
  t.same(served('cp39-abi3-linux_x86_64', 'cp39'), ['cp39', 'cp311']);
  const both = widerReach('pypy', 'free-threaded');
  t.equal(both, 'free-threaded.pypy');
  t.equal(widerReach(both, 'pypy'), both);
  t.equal(widerReach(both, 'all'), 'all');
  const pure = { py: 'py3', abi: 'none', platform: 'any', reach: both };
  t.same(
    abis.filter((abi) => covers(pure, parseTarget(abi, LINUX))),
    ['cp313t', 'cp314t', 'pypy39_pp73', 'pypy310_pp73'],
  );
  t.end();
});

void t.test('a wheel serves a CPython target exactly if pip there accepts its tag', (t) => {
  const script = `
import json, itertools
from pip._vendor.packaging import tags
out = {}
for minor in (9, 11, 12):
    abi = 'cp3%d' % minor
    out[abi] = [str(x) for x in itertools.chain(
        tags.cpython_tags((3, minor), [abi], ['linux_x86_64']), tags.compatible_tags((3, minor), abi, ['linux_x86_64']))]
print(json.dumps(out))`;
  const pip = JSON.parse(execFileSync('python3', ['-c', script], { encoding: 'utf8' })) as Record<
    string,
    string[]
  >;
  const allTags = [...new Set(Object.values(pip).flat())];
  for (const [abi, tags] of Object.entries(pip)) {
    for (const tag of allTags) t.equal(serves(tag, abi), tags.includes(tag), `${tag} on ${abi}`);
  }
  t.end();
});

void t.test('ABIs sort by version, with free-threaded ones after the others and PyPy last', (t) => {
  const mixed = ['pypy39_pp73', 'cp313t', 'cp311', 'cp39', 'cp310', 'cp313'];
  const sorted = mixed.map((abi) => ({ abi, platform: LINUX })).sort(compareTargets);
  t.same(
    sorted.map(({ abi }) => abi),
    ['cp39', 'cp310', 'cp311', 'cp313', 'cp313t', 'pypy39_pp73'],
  );
  t.throws(() => parseTarget('none', LINUX), { code: 'PIW_UNKNOWN_TARGET' });
  t.end();
});

void t.test('valid wheel filenames are parsed, and invalid ones are rejected', (t) => {
  t.match(parseWheelName('a.b-1.0+x.1-2b-cp311-abi3-linux_x86_64.whl'), {
    distribution: 'a.b',
    version: '1.0+x.1',
    build: '2b',
  });
  t.match(parseWheelName('a-1!2.0-py2.py3-none-any.whl'), { version: '1!2.0', py: 'py2.py3' });
  const long = (length: number) =>
    `a-1-1${'a'.repeat(length - 'a-1-1-py3-none-any.whl'.length)}-py3-none-any.whl`;
  t.match(parseWheelName(long(MAX_WHEEL_NAME_LENGTH)), { version: '1' });
  for (const invalid of [
    '',
    'a.whl',
    '../a-1-py3-none-any.whl',
    'a-1-py3-none-any.whl/x',
    'a-1-x-py3-none-any.whl',
    long(MAX_WHEEL_NAME_LENGTH + 1),
    `${'a'.repeat(201)}-1-py3-none-any.whl`,
    `a-1-${'a'.repeat(201)}-none-any.whl`,
    'a-1-py3-none-any.whl\n',
    '-1-py3-none-any.whl',
  ])
    t.throws(() => parseWheelName(invalid), { code: 'PIW_BAD_WHEEL' }, JSON.stringify(invalid));
  t.end();
});

void t.test('versions sort as in the packaging library, and equal versions have the same key', (t) => {
  const parts = [
    '1.0',
    '1.0.0',
    '1',
    '1.1',
    '0.9',
    '2!0.1',
    '1.0a1',
    '1.0.a.1',
    '1.0b2',
    '1.0rc1',
    '1.0c2',
    '1.0.post1',
    '1.0-1',
    '1.0.dev0',
    '1.0a1.dev2',
    '1.0.post1.dev3',
    '1.0+local',
    '1.0+local.1',
    '1.0+local.a',
    '1.0+2',
    '1.0+10',
    '20230101123456789012345',
    '20230101123456789012346',
    '1.0.0.0.1',
    '1.10',
    '1.9',
    'v1.2',
    '1.2.post',
    '1.0.dev',
    '1.0a',
    '0!1.5',
  ];
  const script = `
import json, sys
from pip._vendor.packaging.version import Version
vs = json.load(sys.stdin)
print(json.dumps([[(Version(a) > Version(b)) - (Version(a) < Version(b)) for b in vs] for a in vs]))`;
  const expected = JSON.parse(
    execFileSync('python3', ['-c', script], { input: JSON.stringify(parts), encoding: 'utf8' }),
  ) as number[][];
  parts.forEach((a, i) => {
    parts.forEach((b, j) => {
      if (compareVersions(a, b) !== expected[i]?.[j])
        t.fail(`${a} against ${b}: ${compareVersions(a, b)}, packaging says ${String(expected[i]?.[j])}`);
    });
  });
  t.ok(sortKey('not-a-version') < sortKey('0.dev0'), 'an invalid version sorts before all valid ones');
  t.ok(sameVersion('1.0', '1.0.0'));
  t.end();
});

void t.test('Requires-Python specifiers, names and requirements are parsed', (t) => {
  t.equal(admits('>=3.9', '3.9'), true);
  t.equal(admits('>=3.12', '3.11'), false);
  t.equal(admits('>=3.9.2,<4', '3.9'), true);
  t.equal(admits('!=3.11.*', '3.11'), false);
  t.equal(admits('complete nonsense', '3.11'), true);
  t.equal(normalise('Foo..Bar__baz-'.slice(0, -1)), 'foo-bar-baz');
  t.match(parseRequirement('Markup_Safe == 3.0.2'), { name: 'markup-safe', version: '3.0.2' });
  for (const bad of ['', '../x', 'a b', 'a[extra]', 'a>=1', 'a==1.*', 'a==', 'a==1/2', '-a', 'a@http://x'])
    t.throws(() => parseRequirement(bad), { code: 'PIW_BAD_REQUIREMENT' }, bad);
  t.end();
});
