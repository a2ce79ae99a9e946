import t from 'tap';
import { CoreMetadata } from '../../src/model/fields.js';
import { readWheel } from '../../src/wheels/wheel.js';
import { buildZip } from '../trust/zip.js';

const read = async (lines: readonly string[]): Promise<CoreMetadata> => {
  const data = ['Metadata-Version: 2.4', 'Name: demo', 'Version: 1.0', ...lines, '', 'A description.'].join(
    '\n',
  );
  const archive = buildZip([
    { name: 'demo-1.0.dist-info/METADATA', data },
    { name: 'demo-1.0.dist-info/WHEEL', data: 'Tag: py3-none-any\n' },
  ]);
  return (await readWheel(archive, { filename: 'demo-1.0-py3-none-any.whl' })).coreMetadata;
};

t.test('summary, license, links and requirements are read from METADATA', async (t) => {
  t.strictSame(
    await read([
      'Summary: A demonstration',
      'License-Expression: MIT OR Apache-2.0',
      'Project-URL: Source, https://git.example/demo',
      'Project-URL: Bug tracker, https://git.example/demo/issues',
      'Home-page: https://git.example/demo',
      'Requires-Dist: six>=1.16',
      'Requires-Dist: numpy; extra == "fast"',
    ]),
    {
      summary: 'A demonstration',
      license: 'MIT OR Apache-2.0',
      links: [
        ['Source', 'https://git.example/demo'],
        ['Bug tracker', 'https://git.example/demo/issues'],
      ],
      requires: ['six>=1.16', 'numpy; extra == "fast"'],
    },
  );
});

t.test('the classifiers replace a full license text', async (t) => {
  const text = `License: ${'Permission is hereby granted. '.repeat(20)}`;
  const { license } = await read([text, 'Classifier: License :: OSI Approved :: MIT License']);
  t.equal(license, 'MIT License');
  t.equal((await read(['License: UNKNOWN'])).license, null);
});

t.test('the result fits the message, whatever METADATA contains', async (t) => {
  const core = await read([
    `Summary: ${'long '.repeat(1000)}\u0007`,
    'Project-URL: no address',
    'Project-URL: Script, javascript:alert(1)',
    `Project-URL: ${'label'.repeat(50)}, https://example.org/`,
    ...Array.from({ length: 600 }, (_, n) => `Requires-Dist: package-${n}`),
    `Requires-Dist: ${'x'.repeat(5000)}`,
  ]);
  t.ok(CoreMetadata.is(core));
  t.equal(core.links.length, 1);
  t.equal(core.requires.length, 500);
});
