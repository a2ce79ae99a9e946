import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { confine } from '../../src/builder/sandbox.js';
import { runAs, canAccess, unprivilegedAccount } from '../../src/servers/privileges.js';
import { packFixture } from '../helpers/sdist.js';
import { IndexServer } from './index-server.js';
import { interpreter, temporaryFolder, createTestBuilder } from './workshop.js';

const FILE = fileURLToPath(import.meta.url);
const LABELS = ['asked', 'preparing', 'building', 'as a requirement:'];
const account = unprivilegedAccount();

if (account === undefined) await tests();
else {
  const skip = canAccess(account, 'r', FILE) ? false : `needs a clone that ${account.name} can read`;
  t.test(`the tests below, as ${account.name}`, { skip }, async (t) => {
    const child = spawn(process.execPath, [FILE], {
      ...runAs(account),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let childOutput = '';
    child.stdout.on('data', (data: Buffer) => (childOutput += data.toString()));
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
    t.equal(code, 0, childOutput);
    t.comment(childOutput);
  });
  t.test('root cannot allow the network to pip alone', (t) =>
    t.rejects(
      confine({
        mode: 'required',
        network: 'requirements',
        interpreter,
        env: {},
        masked: [],
        workDir: temporaryFolder(t),
      }),
      { code: 'PIW_CONFIG', message: /as root|not installed/ },
    ),
  );
}

async function tests(): Promise<void> {
  const fixtures = ['calls', 'plain', 'watched'].map((fixture) => packFixture(fixture));
  const index = await IndexServer.start(fixtures);
  t.teardown(() => index.stop());
  const env = {
    PIP_RETRIES: '0',
    // With a prefix, because a plain address would be passed on to proxies.
    PIW_TEST_SERVER: `at:127.0.0.1:${index.port}/simple/piw-fixture-plain`,
  };
  const build = async (t: Parameters<typeof createTestBuilder>[0], network: string) => {
    const workDir = temporaryFolder(t);
    const confinement = await confine({ mode: 'auto', network, interpreter, env, workDir, masked: [] });
    const { builder, request } = createTestBuilder(t, index.url, { workDir, env, confinement });
    return { ...(await builder.build(request('calls'))), sandboxed: confinement.notice === undefined };
  };

  t.test(
    'with network for requirements only, pip has access and the code that it runs does not',
    async (t) => {
      const { status, output, sandboxed } = await build(t, 'requirements');
      t.ok(status, output);
      const expectedReach = sandboxed ? 'does not reach it' : 'reaches it';
      for (const label of LABELS) t.match(output, `${label} ${expectedReach}`);
      if (!sandboxed) return;
      t.match(
        output,
        /Collecting piw-fixture-plain\n/,
        'requirements from the backend’s hook are downloaded',
      );
      for (const name of ['launch.py', 'python']) t.match(output, `cannot write ${name}`);
      t.match(output, /processes: [1-4]\n/, 'the build does not see pip’s processes');
      t.notMatch(output, 'trapped', 'pip runs no code that the build leaves behind');
    },
  );

  t.test('with network access, a build and its requirements reach a server', async (t) => {
    const { status, output } = await build(t, 'on');
    t.ok(status, output);
    for (const label of LABELS) t.match(output, `${label} reaches it`);
  });
}
