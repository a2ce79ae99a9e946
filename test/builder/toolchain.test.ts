import t from 'tap';
import { packFixture } from '../helpers/sdist.js';
import { skipUnlessInstalled } from '../helpers/missing.js';
import { findMissingTools } from '../../src/builder/toolchain.js';
import { IndexServer } from './index-server.js';
import { interpreter, temporaryFolder, createTestBuilder } from './workshop.js';

t.setTimeout(120_000);

const probeTools = async (workDir: string, env: Readonly<Record<string, string>>) => {
  const troubles: string[] = [];
  const lacks = await findMissingTools({
    ...{ interpreter, workDir, env, programs: [] },
    confinement: { notice: undefined, commandPrefix: () => [] },
    log: (line) => troubles.push(line),
  });
  return { lacks, troubles };
};

void t.test('a slave whose compiler does not run lacks one', async (t) => {
  t.same(await probeTools(temporaryFolder(t), { CC: '/nowhere/cc' }), { lacks: ['compiler'], troubles: [] });
  t.same(await probeTools(temporaryFolder(t), { CC: 'false' }), { lacks: ['compiler'], troubles: [] });
});

void t.test('a slave with a compiler does not', { skip: skipUnlessInstalled('cc') }, async (t) => {
  const { lacks, troubles } = await probeTools(temporaryFolder(t), { CC: 'cc' });
  t.notOk(lacks.includes('compiler'));
  t.same(troubles, []);
});

void t.test('a trial that can not be made tells nothing of the compiler', async (t) => {
  t.same((await probeTools('/dev/null/nowhere', {})).lacks, []);
});

void t.test('what fails for want of a compiler is the fault of the slave that has none', async (t) => {
  const index = await IndexServer.start([packFixture('needs-header'), packFixture('plain')]);
  t.teardown(() => index.stop());
  const { builder, request } = createTestBuilder(t, index.url, { missingTools: ['compiler'] });
  const failed = await builder.build(request('needs-header'));
  t.match(failed, { status: false, failureClass: 'no-compiler' });
  t.match(failed.details.reason, /it has no working C compiler/);
  t.match(await builder.build(request('plain')), { status: true }, 'and what needs none is built');
});
