import t from 'tap';
import { packFixture } from '../helpers/sdist.js';
import { skipUnlessInstalled } from '../helpers/missing.js';
import { findMissingTools } from '../../src/builder/toolchain.js';
import { IndexServer } from './index-server.js';
import { interpreter, temporaryFolder, createTestBuilder } from './workshop.js';

t.setTimeout(120_000);

const probeTools = async (workDir: string, env: Readonly<Record<string, string>>) => {
  const logLines: string[] = [];
  const missing = await findMissingTools({
    interpreter,
    workDir,
    env,
    programs: [],
    confinement: { notice: undefined, commandPrefix: () => [] },
    log: (line) => logLines.push(line),
  });
  return { missing, logLines };
};

void t.test('a slave whose compiler does not run has no compiler', async (t) => {
  t.same(await probeTools(temporaryFolder(t), { CC: '/nowhere/cc' }), {
    missing: ['compiler'],
    logLines: [],
  });
  t.same(await probeTools(temporaryFolder(t), { CC: 'false' }), { missing: ['compiler'], logLines: [] });
});

void t.test('a working compiler is found', { skip: skipUnlessInstalled('cc') }, async (t) => {
  const { missing, logLines } = await probeTools(temporaryFolder(t), { CC: 'cc' });
  t.notOk(missing.includes('compiler'));
  t.same(logLines, []);
});

void t.test('a trial that cannot be run reports no missing tools', async (t) => {
  t.same((await probeTools('/dev/null/nowhere', {})).missing, []);
});

void t.test('a build that fails for lack of a compiler is blamed on a slave without one', async (t) => {
  const index = await IndexServer.start([packFixture('needs-header'), packFixture('plain')]);
  t.teardown(() => index.stop());
  const { builder, request } = createTestBuilder(t, index.url, { missingTools: ['compiler'] });
  const failed = await builder.build(request('needs-header'));
  t.match(failed, { status: false, failureClass: 'no-compiler' });
  t.match(failed.details.reason, /it has no working C compiler/);
  t.match(await builder.build(request('plain')), { status: true }, 'a package without native code is built');
});
