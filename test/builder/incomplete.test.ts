import t from 'tap';
import { describeMissingParts, type BuiltWheel } from '../../src/builder/incomplete.js';
import { normalise } from '../../src/wheels/names.js';
import { packFixture } from '../helpers/sdist.js';
import { IndexServer } from './index-server.js';
import { createTestBuilder } from './workshop.js';

const builtWheel = (abi_tag: string, platform_tag: string, compiled: boolean): BuiltWheel => ({
  file: { filename: `demo-1.0-cp311-${abi_tag}-${platform_tag}.whl`, abi_tag, platform_tag },
  compiled,
});
const remarkFor = (output: string, ...wheels: readonly BuiltWheel[]) =>
  describeMissingParts(wheels, { name: normalise('demo'), version: '1.0', output });

const COMPILER_ERROR =
  "  speedup.c:1:30: error: ‘nothing’ undeclared\n  error: command '/usr/bin/gcc' failed with exit code 1\n";

t.test('a platform wheel without a compiled file gets a remark', (t) => {
  t.equal(remarkFor('', builtWheel('cp311', 'linux_x86_64', true)), null);
  t.equal(
    remarkFor(COMPILER_ERROR, builtWheel('cp311', 'linux_x86_64', false)),
    'its wheel is tagged cp311-linux_x86_64, but contains no compiled file: it does not compile: ‘nothing’ undeclared',
  );
  t.match(remarkFor('', builtWheel('none', 'linux_x86_64', false)), /contains no compiled file$/);
  t.end();
});

t.test('the remark names an optional extension that did not compile', (t) => {
  const output = `${COMPILER_ERROR}  WARNING: building extension "demo._speedups" failed: command '/usr/bin/gcc' failed with exit code 1\n`;
  t.match(
    remarkFor(output, builtWheel('cp311', 'linux_x86_64', true)),
    /^its optional extension demo\._speedups is missing: /,
  );
  t.end();
});

t.test('a pure wheel of a build in which something did not compile gets a remark', (t) => {
  t.match(
    remarkFor(COMPILER_ERROR, builtWheel('none', 'any', false)),
    /^it was built without its compiled part: it does not compile/,
  );
  t.equal(remarkFor('Successfully built demo\n', builtWheel('none', 'any', false)), null);
  t.equal(
    remarkFor("  No package 'libfoo' found\n", builtWheel('none', 'any', false)),
    null,
    'a missing library does not count',
  );
  t.end();
});

t.test('a build reports what its wheel lacks, with the compiler’s first error', async (t) => {
  const versions = ['1.0', '2.0', '3.0'];
  const index = await IndexServer.start(versions.map((version) => packFixture('optional', { version })));
  t.teardown(() => index.stop());
  const { builder, request } = createTestBuilder(t, index.url);
  for (const [version, remark] of [
    [
      '1.0',
      /^its wheel is tagged cp311-\S+, but contains no compiled file: it does not compile: .nothing. undeclared/,
    ],
    ['2.0', /^it was built without its compiled part: it does not compile: .nothing. undeclared/],
    ['3.0', null],
  ] as const) {
    const result = await builder.build(request('optional', { version }));
    t.ok(result.status, result.output);
    if (remark === null) t.equal(result.details.remark, null);
    else t.match(result.details.remark, remark);
  }
});
