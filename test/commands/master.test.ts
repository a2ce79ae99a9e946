import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { CAST } from '../../actors/cast.js';
import { ProtocolClient } from '../../src/actor/client.js';
import { writeSampleIndex } from '../../src/farm/sample-index.js';
import { startWebServer } from '../../src/web/web-server.js';
import { control, slaveControl } from '../../src/protocols/control.js';
import { natsAddress, uniquePrefix, testBus, until } from '../helpers/bus.js';
import { runHere } from '../helpers/command-here.js';
import { testDatabase } from '../helpers/database.js';
import { skipUnlessInstalled } from '../helpers/missing.js';

t.setTimeout(275_000);
const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));

/** Returns the events of a log in JSON; lines that begin with `piw: ` are for the terminal. */
const parseEvents = (log: string) =>
  log
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('piw: '))
    .map(
      (line) => JSON.parse(line) as { readonly name: string; readonly event: string; readonly level: string },
    );

void t.test('a master does not start with an invalid watch list', (t) => {
  const file = join(mkdtempSync(join(tmpdir(), 'piw-watch-')), 'list');
  writeFileSync(file, 'six\nzope.*\nsix>1\n');
  const args = [BIN, 'master', '-c', '/dev/null', '--allow-root', '--watch-file'];
  for (const [name, text] of [
    [file, `${file}, line 3: "six>1" is not a requirement`],
    [`${file}.none`, "the watch list can't be read"],
  ] as const) {
    const { status, stderr } = spawnSync(process.execPath, [...args, name], { encoding: 'utf8' });
    t.equal(status, 2);
    t.ok(stderr.includes(text), stderr);
  }
  t.end();
});

void t.test('a master does not start with an output path that it can’t write to', (t) => {
  // These servers do not exist, and are not even contacted.
  const args = [
    BIN,
    'master',
    '-c',
    '/dev/null',
    '--allow-root',
    '--nats',
    '127.0.0.1:1',
    '-d',
    'postgres://127.0.0.1:1/x',
  ];
  const { status, stderr } = spawnSync(process.execPath, [...args, '-o', '/dev/null/www'], {
    encoding: 'utf8',
  });
  t.equal(status, 2);
  t.match(
    stderr,
    /^piw: \/dev\/null\/www can't be written: .*\. Choose a folder that this user can write to.*\n$/,
  );
  t.end();
});

void t.test('a master does not start with an unknown task in --debug', (t) => {
  const args = [
    BIN,
    'master',
    '-c',
    '/dev/null',
    '--allow-root',
    '-o',
    mkdtempSync(join(tmpdir(), 'piw-www-')),
  ];
  const { status, stderr } = spawnSync(process.execPath, [...args, '--debug', 'the-orakel'], {
    encoding: 'utf8',
  });
  t.equal(status, 2, stderr);
  t.match(stderr, /the-orakel/);
  t.end();
});

void t.test('neither a master nor a slave runs as root, unless it is told to', async (t) => {
  const getuid = process.getuid?.bind(process);
  process.getuid = () => 0;
  t.teardown(() => {
    if (getuid) process.getuid = getuid;
  });
  t.same(await runHere('master', ['-c', '/dev/null']), {
    code: 2,
    out: '',
    err: 'piw: the master does not run as root unless --allow-root is given. Run it as an ordinary user.\n',
  });
  t.same(await runHere('slave', ['-c', '/dev/null']), {
    code: 2,
    out: '',
    err: 'piw: a slave does not run as root unless --allow-root is given. Run it as an ordinary user.\n',
  });
});

for (const mode of ['a process per task', 'one process']) {
  void t.test(
    `a master with ${mode} builds, pauses, resumes and quits`,
    { skip: skipUnlessInstalled('cc') },
    async (t) => {
      const { dsn } = await testDatabase(t);
      const prefix = uniquePrefix();
      const folder = mkdtempSync(join(tmpdir(), 'piw-master-'));
      const root = join(folder, 'samples');
      writeSampleIndex(root);
      const server = await startWebServer({ root, host: '127.0.0.1', port: 0 });
      t.teardown(() => server.close());
      const index = `http://127.0.0.1:${server.port}/simple`;
      const run = (args: readonly string[]) => {
        const child = spawn(process.execPath, [BIN, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
        let stderr = '';
        child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
        const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
        t.teardown(async () => {
          child.kill('SIGTERM');
          await ended;
        });
        return { ended, stderr: () => stderr };
      };
      const common = ['-c', '/dev/null', '--prefix', prefix, '--allow-root', '--log-format', 'json'];
      const master = run([
        'master',
        ...common,
        ...[
          '--nats',
          natsAddress(),
          '-d',
          dsn,
          '-o',
          join(folder, 'www'),
          '--allow-superuser',
          '--dev-mode',
          '--register-targets',
          '--debug',
          'slave_driver',
        ],
        ...[
          '--pypi-simple',
          index,
          '--watch',
          'piw-sample-native',
          ...(mode === 'one process' ? ['--one-process'] : []),
        ],
      ]);
      const slave = run([
        'slave',
        ...common,
        // Without bubblewrap, a slave refuses to start if its user can change its code; the samples are trusted.
        '--allow-exposed',
        '-m',
        natsAddress(),
        '--work-dir',
        join(folder, 'work'),
        '--label',
        'test',
      ]);
      const bus = await testBus(t, prefix);
      const listedFiles = (): string[] => {
        try {
          const page = JSON.parse(
            readFileSync(join(folder, 'www/simple/piw-sample-native/index.v1_json'), 'utf8'),
          ) as {
            files: { filename: string }[];
          };
          return page.files.map(({ filename }) => filename);
        } catch {
          return [];
        }
      };
      await until(() => listedFiles().length > 0, 130_000).catch((error: unknown) => {
        t.comment(`master's log:\n${master.stderr()}\nslave's log:\n${slave.stderr()}`);
        throw error;
      });
      t.match(listedFiles(), [/^piw_sample_native-1\.0-.*\.whl$/]);

      const desk = new ProtocolClient(bus, control, undefined, { timeoutMs: 10_000, patienceMs: 20_000 });
      const driver = new ProtocolClient(bus, slaveControl, undefined, {
        timeoutMs: 5000,
        patienceMs: 10_000,
      });
      await desk.request('PAUSE', { task: '*' });
      await desk.request('RESUME', { task: '*' });
      const { slaves } = await driver.request('HELLO', {});
      t.match(slaves, [{ label: 'test' }]);
      await desk.request('QUIT', { task: '*', slaves: true });
      const quitAt = performance.now();
      t.equal(await master.ended, 0, master.stderr());
      const seconds = (performance.now() - quitAt) / 1000;
      t.ok(seconds < 20, `the master exited after ${seconds.toFixed(1)} s`);
      t.notMatch(master.stderr(), /MaxListenersExceeded|did not finish/);
      const events = parseEvents(master.stderr());
      const atWork = events.filter(({ event }) => event === 'at work').map(({ name }) => name);
      t.same(
        ['master', ...CAST.map(({ task }) => task)].filter((task) => !atWork.includes(task)),
        [],
      );
      t.same(
        [...new Set(events.filter(({ level }) => level === 'trace').map(({ name }) => name))],
        ['slave-driver'],
        'only the task that --debug names logs each message',
      );
      t.match(
        parseEvents(slave.stderr()).find(({ event }) => event === 'build succeeded'),
        { level: 'info', name: 'slave', slave: Number, package: 'piw-sample-native', lease: Number },
      );
    },
  );
}
