import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { parseUserAgent } from '../../src/weblog/agents.js';

const FILE = fileURLToPath(new URL('../../../test/fixtures/user-agents.txt', import.meta.url));
const REAL_AGENTS = new Map(
  readFileSync(FILE, 'utf8')
    .split('\n')
    .filter((line) => line.includes('\t'))
    .map((line) => line.split('\t') as [string, string]),
);
const nulls = (count: number): null[] => Array.from({ length: count }, () => null);
/** The first fields, in the order of LogAgent (src/protocols/weblog.ts), of all recorded agents but Poetry's. */
const DEBIAN = ['x86_64', 'Debian GNU/Linux', '12', 'Linux', '6.18.44', 'CPython', '3.11.7'];

/** User agents as Apache and nginx escape them in their logs. */
const apache = (agent: string) => agent.replaceAll('\\', '\\\\').replaceAll('"', '\\"');
const nginx = (agent: string) => agent.replaceAll('\\', '\\x5C').replaceAll('"', '\\x22');

void t.test('user agents of real installers are parsed, however the server escapes them', (t) => {
  const expected: Readonly<Record<string, readonly (string | null)[]>> = {
    'pip 19.3.1': [...DEBIAN, 'pip', '19.3.1', '65.5.0'],
    'pip 23.2.1': [...DEBIAN, 'pip', '23.2.1', '65.5.0'],
    'pip 26.1': [...DEBIAN, 'pip', '26.1', '65.5.0'],
    'uv 0.13.9': [...DEBIAN, 'uv', '0.13.9', null],
    'poetry 2.5.1': [null, null, null, 'Linux', '6.18.44', 'CPython', '3.11.7', 'poetry', '2.5.1', null],
  };
  t.same([...REAL_AGENTS.keys()].sort(), Object.keys(expected).sort());
  for (const [name, agent] of REAL_AGENTS)
    for (const escaped of [apache(agent), nginx(agent)])
      t.same(parseUserAgent(escaped), expected[name], name);
  t.end();
});

void t.test('other user agents yield name and version, and further fields if they have any', (t) => {
  const expected: readonly (readonly [string, readonly (string | null)[]])[] = [
    [
      'conda/23.5.0 requests/2.29.0 CPython/3.10.11 Linux/5.15.0 ubuntu/22.04.2 glibc/2.35',
      [null, 'ubuntu', '22.04.2', 'Linux', '5.15.0', 'CPython', '3.10.11', 'conda', '23.5.0', null],
    ],
    [
      'pip/1.5.4 CPython/2.7.6 Linux/3.13.0',
      [null, null, null, 'Linux', '3.13.0', 'CPython', '2.7.6', 'pip', '1.5.4', null],
    ],
    [
      'Python-urllib/3.8 setuptools/45.2.0',
      [null, null, null, null, null, null, null, 'Python-urllib', '3.8', '45.2.0'],
    ],
    [
      'bandersnatch/6.5.0 (cpython 3.11.4-final0, Linux x86_64) (aiohttp 3.8.5)',
      [...nulls(7), 'bandersnatch', '6.5.0', null],
    ],
    ['curl/8.1', [...nulls(7), 'curl', '8.1', null]],
    ['Mozilla/5.0 (X11; Linux x86_64)', nulls(10)],
    ['-', nulls(10)],
    ['', nulls(10)],
  ];
  for (const [agent, row] of expected) t.same(parseUserAgent(agent), row, agent);
  t.end();
});

void t.test('truncated, made-up and hostile user agents yield only valid fields', (t) => {
  const pip = [...nulls(7), 'pip', '23.2', null];
  for (const rest of [
    '{"cpu":"arm',
    '{"cpu":5,"system":[],"distro":null}',
    '{"__proto__":{"cpu":"x"}}',
    '[]',
    '{'.repeat(5000),
  ])
    t.same(parseUserAgent(apache(`pip/23.2 ${rest}`)), pip, rest.slice(0, 40));
  const [arch, distro] = parseUserAgent(
    apache(`pip/23.2 {"cpu":"a\\u0000\\u001b[2J\\ud800b","distro":{"name":"${'é'.repeat(500)}"}}`),
  );
  t.equal(arch, 'a [2J\ufffdb');
  t.equal(distro?.length, 200);
  t.same(parseUserAgent('pip/23.2 {\\x22cpu\\x22:\\x22\\xc3\\xa9\\xff\\x22}')[0], 'é\ufffd');
  t.end();
});
