import { spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { addReleases } from '../../src/database/versions.js';
import { IndexServer } from '../builder/index-server.js';
import { interpreter } from '../builder/workshop.js';
import { until } from '../helpers/bus.js';
import { testMaster } from '../helpers/master.js';
import { someRelease, insertTarget } from '../helpers/rows.js';
import { packFixture } from '../helpers/sdist.js';

t.setTimeout(120_000);

const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));

/** Starts `piw slave`, which is killed at the end of the test. */
function startSlave(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const allArgs = ['-c', '/dev/null', '--allow-root', '--allow-exposed', ...args];
  const child = spawn(process.execPath, [BIN, 'slave', ...allArgs], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  t.teardown(() => child.kill('SIGKILL'));
  return { child, ended, stderr: () => stderr };
}

void t.test('a slave removes what a killed one has left before it asks for work', async (t) => {
  // A server that accepts connections, but never sends anything.
  const mute = createServer();
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
  t.teardown(() => mute.close());
  const work = mkdtempSync(join(tmpdir(), 'piw-slave-work-'));
  // No process has this ID: it is above Linux's maximum.
  mkdirSync(join(work, 'build-4999999-1-abcdef', 'home'), { recursive: true });
  const master = `nats://pi:none@127.0.0.1:${(mute.address() as AddressInfo).port}`;
  const slave = startSlave(['-m', master, '--work-dir', work]);
  await until(() => !existsSync(join(work, 'build-4999999-1-abcdef')));
  slave.child.kill('SIGTERM');
  t.equal(await slave.ended, 0, 'SIGTERM ends the slave even if no master answers');
});

void t.test('a slave does not use a build folder that somebody else may control', async (t) => {
  for (const occupy of [
    (path: string) => {
      mkdirSync(path);
      chmodSync(path, 0o777);
    },
    (path: string) => {
      symlinkSync(tmpdir(), path);
    },
  ]) {
    const folder = mkdtempSync(join(tmpdir(), 'piw-slave-tmp-'));
    occupy(join(folder, `piw-slave-${process.getuid?.() ?? 0}`));
    const slave = startSlave(['-m', 'nats://pi:none@127.0.0.1:1'], { TMPDIR: folder });
    t.equal(await slave.ended, 2, slave.stderr());
    t.match(
      slave.stderr(),
      /is not a folder that only this user can write to; choose another one with --work-dir/,
    );
  }
});

void t.test('a slave without bubblewrap says so once at the terminal, with what to do', async (t) => {
  const master = await testMaster(t, { versions: [] });
  const work = mkdtempSync(join(tmpdir(), 'piw-slave-work-'));
  const log = join(work, 'slave.log');
  const pythons = [interpreter.path, interpreter.path].flatMap((path) => ['--python', path]);
  const options = [
    '-m',
    master.settings.nats,
    '--prefix',
    master.prefix,
    '--work-dir',
    work,
    '-l',
    log,
    ...pythons,
  ];
  const isConnected = () =>
    existsSync(log) && readFileSync(log, 'utf8').includes('registered with the master');
  // There is no bubblewrap on this PATH.
  const slave = startSlave(options, { PATH: '/nowhere' });
  await until(isConnected, 60_000);
  slave.child.kill('SIGTERM');
  t.equal(await slave.ended, 0, slave.stderr());
  t.match(slave.stderr(), /^piw: builds run without a sandbox: .*apt install bubblewrap\)\n$/);

  writeFileSync(log, '');
  const unsandboxed = startSlave([...options, '--sandbox', 'none']);
  await until(isConnected, 60_000);
  unsandboxed.child.kill('SIGTERM');
  t.equal(await unsandboxed.ended, 0);
  t.equal(unsandboxed.stderr(), '', 'no message with --sandbox none');
});

void t.test('a slave exits cleanly if the master refuses one of its interpreters', async (t) => {
  const index = await IndexServer.start([packFixture('lingers')]);
  t.teardown(() => index.stop());
  const master = await testMaster(t, { versions: [], overrides: { 'index-url': index.url } });
  const { abiTag: abi, platformTag: platform } = interpreter;
  await insertTarget(master.db, abi, { platform });
  await addReleases(master.db, 'piw-fixture-lingers', 'feed', [someRelease('1.0', { priority: 2 })]);
  const work = mkdtempSync(join(tmpdir(), 'piw-slave-work-'));
  // A Python that reports an ABI that no Python of its version has.
  const oddPython = join(work, 'python');
  writeFileSync(
    oddPython,
    `#!/bin/sh\n${interpreter.path} "$@" | sed 's/"abi": "[a-z0-9]*"/"abi": "cp399"/'\n`,
    {
      mode: 0o755,
    },
  );
  const options = [
    '--python',
    interpreter.path,
    '--python',
    oddPython,
    '--label',
    `the\nattic ${'x'.repeat(300)}`,
  ];
  const { nats, prefix } = master.settings;
  const slave = startSlave(['-m', nats, '--prefix', prefix, '--work-dir', join(work, 'builds'), ...options], {
    PIW_FARM_BUILD_ENV: JSON.stringify({ PIP_RETRIES: '0' }),
  });
  t.equal(await slave.ended, 6, slave.stderr());
  t.match(slave.stderr(), /the master refused this slave: there is no Python cp\d+ with the ABI cp399/);
  t.same(await master.slaves(), [], 'the session of the other interpreter has ended');
  t.same(await master.db.query('select 1 from queue where lease is not null'), []);
  const rows = await master.db.query<{ label: string }>('select label from slaves');
  t.match(rows[0]?.label, /^the attic x{190}$/, 'the label is made valid');
});

void t.test('a slave with a broken interpreter exits before it asks for work', async (t) => {
  const work = mkdtempSync(join(tmpdir(), 'piw-slave-work-'));
  const brokenPython = join(work, 'python');
  writeFileSync(brokenPython, '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  const slave = startSlave([
    '-m',
    'nats://pi:none@127.0.0.1:1',
    '--work-dir',
    work,
    '--python',
    brokenPython,
  ]);
  t.equal(await slave.ended, 3, slave.stderr());
  t.match(slave.stderr(), /it does not answer like a Python interpreter/);
});
