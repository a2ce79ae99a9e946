import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { provenanceOf } from '../../src/builder/provenance.js';
import { Provenance } from '../../src/model/fields.js';
import { packFixture } from '../helpers/sdist.js';
import { IndexServer } from './index-server.js';
import { interpreter, temporaryFolder, createTestBuilder } from './workshop.js';

t.test('a build reports its source, its Python and its pip', async (t) => {
  const sdist = packFixture('plain');
  const index = await IndexServer.start([sdist]);
  t.teardown(() => index.stop());
  const { builder, request } = createTestBuilder(t, index.url);
  const { details, output } = await builder.build(request('plain'));
  t.match(
    details.provenance,
    {
      sdist: [sdist.filename, sdist.sha256],
      python: `${interpreter.implementation} ${interpreter.version}`,
      pip: interpreter.pipVersion,
      requirements: [],
    },
    output,
  );
  t.ok((details.provenance?.source_date_epoch ?? 0) >= 315_532_800);
});

t.test('the installed build requirements are read from pip’s output', async (t) => {
  const folder = temporaryFolder(t);
  const output =
    '  Successfully installed setuptools-80.9.0 wheel-0.45.1 setuptools_scm-8.1.0\nSuccessfully built demo\n';
  t.strictSame(await provenanceOf(folder, output, interpreter), {
    sdist: null,
    source_date_epoch: null,
    python: `${interpreter.implementation} ${interpreter.version}`,
    pip: interpreter.pipVersion,
    requirements: [
      ['setuptools', '80.9.0'],
      ['setuptools_scm', '8.1.0'],
      ['wheel', '0.45.1'],
    ],
  });
});

t.test('notes that a build has overwritten still give a valid provenance', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'pip'));
  for (const notes of ['', '{', '5', '["../../x", "y", -1]', '[1,2,3]', `["${'a'.repeat(5000)}"]`, 'null']) {
    writeFileSync(join(folder, 'pip', 'source.json'), notes);
    const provenance = await provenanceOf(
      folder,
      `Successfully installed ${'x-1 '.repeat(4000)}`,
      interpreter,
    );
    t.ok(Provenance.is(provenance), notes.slice(0, 30));
    t.equal(provenance.sdist, null);
  }
});
