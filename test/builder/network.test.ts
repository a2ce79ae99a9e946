import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { confine } from '../../src/builder/sandbox.js';
import { as, can, unprivileged } from '../../src/farm/privileges.js';
import { packFixture } from '../helpers/sdist.js';
import { IndexServer } from './index-server.js';
import { interpreter, temporary, workshop } from './workshop.js';

const FILE = fileURLToPath(import.meta.url);
const LABELS = ['asked', 'preparing', 'building', 'as a requirement:'];
const account = unprivileged();

if (account === undefined) await tests();
else {
  const skip = can(account, 'r', FILE) ? false : `needs a clone that ${account.name} can read`;
  t.test(`the tests below, as ${account.name}`, { skip }, async (t) => {
    const child = spawn(process.execPath, [FILE], { ...as(account), stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', (data: Buffer) => (said += data.toString()));
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
    t.equal(code, 0, said);
    t.comment(said);
  });
  t.test('root is told that it can’t cut builds off, and not their pip', (t) =>
    t.rejects(
      confine({
        ...{ mode: 'required', network: 'requirements', interpreter, env: {}, masked: [] },
        workDir: temporary(t),
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
    // Not an address by itself, which would be passed on to proxies.
    PIW_TEST_SERVER: `at:127.0.0.1:${String(index.port)}/simple/piw-fixture-plain`,
  };
  const build = async (t: Parameters<typeof workshop>[0], network: string) => {
    const workDir = temporary(t);
    const confinement = await confine({ mode: 'auto', network, interpreter, env, workDir, masked: [] });
    const { builder, request } = workshop(t, index.url, { workDir, env, confinement });
    return { ...(await builder.build(request('calls'))), walls: confinement.notice === undefined };
  };

  t.test('with the network for requirements alone, pip has it and no code that it runs', async (t) => {
    const { status, output, walls } = await build(t, 'requirements');
    t.ok(status, output);
    const said = walls ? 'does not reach it' : 'reaches it';
    for (const label of LABELS) t.match(output, `${label} ${said}`);
    if (!walls) return;
    t.match(output, /Collecting piw-fixture-plain\n/, 'what it asks for when it is asked is downloaded');
    for (const name of ['launch.py', 'python']) t.match(output, `cannot write ${name}`);
    t.match(output, /processes: [1-4]\n/, 'and it sees nothing of pip');
    t.notMatch(output, 'trapped', 'nor does pip run what it leaves');
  });

  t.test('with the network a build and what it requires reach what they want', async (t) => {
    const { status, output } = await build(t, 'on');
    t.ok(status, output);
    for (const label of LABELS) t.match(output, `${label} reaches it`);
  });
}
