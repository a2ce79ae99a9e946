import { execFile, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { freePort } from '../../src/servers/ports.js';
import { chownTree, unprivilegedAccount } from '../../src/servers/privileges.js';
import { writeSampleIndex } from '../../src/farm/sample-index.js';
import { startWebServer } from '../../src/web/web-server.js';
import { runPiw } from '../helpers/command.js';
import { skipUnlessInstalled } from '../helpers/missing.js';
import { sha256 } from '../helpers/wheel.js';

const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));
const run = promisify(execFile);
t.setTimeout(330_000);

/** Where the farms of these tests are recorded, apart from those of other tests. */
const STATE_HOME = mkdtempSync(join(tmpdir(), 'piw-state-'));
process.env['XDG_STATE_HOME'] = STATE_HOME;

/** Creates a folder that unprivileged users can enter. */
function makeFolder(): string {
  const path = mkdtempSync(join(tmpdir(), 'piw-farm-'));
  chmodSync(path, 0o755);
  return path;
}

/**
 * Runs `piw farm` to its end. If `signal` is set, calls `then` with the URL of the site once the output matches `when`,
 * and sends SIGINT, as Ctrl+C does, when `then` has finished.
 */
async function runFarm(
  args: readonly string[],
  signal?: { readonly when: RegExp; readonly then?: (url: string) => Promise<void> },
): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [BIN, 'farm', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let err = '';
  let sent = false;
  child.stdout.on('data', (data: Buffer) => {
    out += data.toString();
    if (signal?.when.test(out) && !sent) {
      sent = true;
      const url = /farm is running: (http:\S+)/.exec(out)?.[1] ?? '';
      void (signal.then?.(url) ?? Promise.resolve()).finally(() => child.kill('SIGINT'));
    }
  });
  child.stderr.on('data', (data: Buffer) => (err += data.toString()));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, out, err };
}

/** Serves our own samples as an index that needs no network. */
async function serveSamples(t: { teardown: (what: () => Promise<void>) => void }): Promise<string> {
  const root = makeFolder();
  writeSampleIndex(root);
  const server = await startWebServer({ root, host: '127.0.0.1', port: 0 });
  t.teardown(() => server.close());
  return `http://127.0.0.1:${server.port}/simple`;
}

void t.test(
  'a farm builds the named packages from sdists, and pip installs them from any static server',
  { skip: skipUnlessInstalled('cc') },
  async (t) => {
    const index = await serveSamples(t);
    const folder = makeFolder();
    const output = join(folder, 'www');
    const args = [
      '--once',
      '--json',
      '--port',
      '0',
      '--data-dir',
      join(folder, 'data'),
      '-o',
      output,
      '--on-duplicate-filename',
      'tag',
      '--index-url',
      index,
    ];
    const first = await runFarm([
      ...args,
      'piw-sample-pure',
      'piw_sample.native==1.0',
      'piw-sample-variants',
    ]);
    t.equal(first.code, 0, first.err);
    t.match(readFileSync(join(folder, 'data', 'piwheels.conf'), 'utf8'), /^on-duplicate-filename = tag$/m);
    const events = first.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { event: string; filenames?: string[] });
    t.equal(events.filter(({ event }) => event === 'published').length, 3);
    const figures = JSON.parse(readFileSync(join(output, 'statistics.json'), 'utf8')) as object;
    t.match(figures, { packages_built: 3 }, 'statistics.json is up to date at the end');
    const page = JSON.parse(readFileSync(join(output, 'simple/piw-sample-native/index.v1_json'), 'utf8')) as {
      files: { filename: string; hashes: { sha256: string } }[];
    };
    const file = page.files[0];
    t.equal(
      sha256(readFileSync(join(output, 'simple/piw-sample-native', file?.filename ?? ''))),
      file?.hashes.sha256,
    );

    const port = String(await freePort());
    const server = spawn('python3', ['-m', 'http.server', port, '--bind', '127.0.0.1'], {
      cwd: output,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    t.teardown(() => server.kill());
    const site = join(folder, 'site');
    await mkdir(site);
    const url = `http://127.0.0.1:${port}/simple`;
    const pip = [
      '-m',
      'pip',
      'install',
      '-q',
      '--no-deps',
      '--retries',
      '10',
      '--target',
      site,
      '--index-url',
      url,
    ];
    writeFileSync(
      join(folder, 'requirements.txt'),
      `piw-sample-native==1.0 --hash=sha256:${file?.hashes.sha256 ?? ''}\n`,
    );
    await run('python3', [...pip, '--require-hashes', '-r', join(folder, 'requirements.txt')]);
    const { stdout } = await run('python3', ['-c', 'import piw_sample_native as m; print(m.hello())'], {
      env: { ...process.env, PYTHONPATH: site },
    });
    t.equal(stdout.trim(), 'compiled by piw');

    const second = await runFarm([...args, 'piw-sample-pure', 'no-such-package', 'piw-sample-pure==9']);
    t.equal(second.code, 1, 'a second start continues with the existing data');
    t.match(second.out, /"event":"published","package":"piw-sample-pure"/);
    t.notMatch(second.out, /"event":"built"/, 'nothing is built again');
    t.match(second.out, /the index has no package no-such-package/);
    t.match(second.out, /the index has no version 9 of piw-sample-pure/);
    t.match(second.err, /^piw: 2 of 3 packages were not built/m);

    // Loses a wheel, then moves to another output path: the other wheels are copied there.
    rmSync(join(output, 'simple/piw-sample-native'), { recursive: true });
    const moved = join(folder, 'moved');
    const movedArgs = args.map((arg) => (arg === output ? moved : arg));
    const third = await runFarm([...movedArgs, 'piw-sample-pure', 'piw-sample-native']);
    t.equal(third.code, 0, third.err);
    t.match(third.out, /Copied \d+ wheels from .*www/);
    t.match(third.out, /"event":"built","package":"piw-sample-native"/, 'a missing wheel is built again');
    t.notMatch(third.out, /"event":"built","package":"piw-sample-pure"/, 'an existing wheel is copied');
    const movedFiles = readdirSync(join(moved, 'simple'), { recursive: true }).map(String);
    t.match(movedFiles.filter((path) => path.endsWith('.whl')).sort(), [
      /native-1\.0/,
      /pure-1\.0/,
      /variants/,
    ]);
  },
);

void t.test(
  'without an index, a farm says so, builds the samples, counts their downloads, and exits with 0',
  { skip: skipUnlessInstalled('cc') },
  async (t) => {
    const data = join(makeFolder(), 'data');
    const unreachable = `http://me:secret@127.0.0.1:${await freePort()}/simple`;
    const args = ['--port', '0', '--data-dir', data, '--index-url', unreachable];
    let downloaded = 0;
    let notice = '';
    const { code, out, err } = await runFarm(args, {
      when: /published piw_sample_native/,
      then: async (url) => {
        const index = `${url}simple/piw-sample-native/`;
        const page = await (await fetch(index)).text();
        const wheel = await fetch(new URL(/href="([^"#]+)/.exec(page)?.[1] ?? '', index));
        downloaded = (await wheel.arrayBuffer()).byteLength;
        notice = (await runPiw(['config', 'show'])).err;
      },
    });
    t.ok(downloaded > 1000, `${downloaded} bytes of a wheel`);
    t.match(out, 'Builds run the code of the packages on this machine: use it for trying out,');
    t.match(notice, `piw: using the farm in ${data} (process `, 'other commands find the farm');
    t.same(readdirSync(join(STATE_HOME, 'piw', 'farms')), [], 'and no longer when it has stopped');
    const figures = JSON.parse(readFileSync(join(data, 'www/statistics.json'), 'utf8')) as object;
    t.match(figures, { downloads: 1 }, 'statistics.json is up to date at the end');
    t.equal(code, 0, `Ctrl+C: ${err}`);
    t.match(out, /can't be read: .*building the samples/);
    t.notMatch(out + err, /secret/, 'a password in the address is never printed');

    const once = await runFarm(['--once', ...args]);
    t.equal(once.code, 0, once.out + once.err);
    t.match(once.out, /can't be read: .*building the samples/);
    t.equal(once.out.match(/^published /gm)?.length, 3, 'with --once, without packages');
  },
);

void t.test(
  'the master and the slaves of a farm use the settings of -c and of the command line',
  async (t) => {
    const folder = makeFolder();
    const index = await serveSamples(t);
    const file = join(folder, 'my.conf');
    const log = join(folder, 'farm.log');
    writeFileSync(
      file,
      `index-url = ${index}\noutput-path = ${join(folder, 'www')}\ntimeout = 3h\nlabel = attic\nslave-user = me\nlog-file = ${log}\n`,
    );
    const args = ['--once', '--port', '0', '--data-dir', join(folder, 'data'), '--slaves', '2', '-c', file];
    // A time limit that is too short for any build.
    const { code, out } = await runFarm([...args, '--timeout', '0.05', 'piw-sample-pure']);
    t.equal(code, 1, out);
    t.match(out, /^FAILED piw-sample-pure 1\.0 for \w+ \(timeout\)/m);
    t.match(out, /^! ignoring slave-user: this farm runs its own nats-server$/m);
    const logText = readFileSync(log, 'utf8');
    t.match(logText, /the-oracle: at work/);
    t.match(logText, /registered with the master slave=1/);
    t.ok(existsSync(join(folder, 'www/index.html')));
    t.match(readFileSync(join(folder, 'data/slave-2.conf'), 'utf8'), /^label = attic slave-2$/m);
    // Without bubblewrap, the farm says so once, not once for each slave.
    if (skipUnlessInstalled('bwrap') !== false)
      t.equal(out.match(/^! builds run without a sandbox: .*apt install bubblewrap/gm)?.length, 1, out);
  },
);

void t.test('every error is one line with its exit code, and no process is left running', async (t) => {
  const folder = makeFolder();
  const data = join(folder, 'data');
  const index = await serveSamples(t);
  const taken = await startWebServer({ root: folder, host: '127.0.0.1', port: 0 });
  t.teardown(() => taken.close());
  const foreign = join(folder, 'foreign');
  await mkdir(foreign);
  writeFileSync(join(foreign, 'precious'), '');
  const other = join(folder, 'other');
  await mkdir(other);
  writeFileSync(join(other, 'piw-farm.json'), '{"format":99}');
  writeFileSync(join(folder, 'file'), '');
  const wrong = join(folder, 'wrong.conf');
  writeFileSync(wrong, 'sandbox = maybe\n');
  // As if an earlier farm had created them: a farm that root starts runs as this account.
  const account = unprivilegedAccount();
  if (account) for (const path of [foreign, other]) await chownTree(path, account);
  const common = ['--index-url', index, '--once', 'piw-sample-pure'];
  // The folders that a farm of root's creates in place of those that its account can't reach.
  const linked = () => (existsSync('/var/lib/piw/linked') ? readdirSync('/var/lib/piw/linked') : []);
  const before = linked();
  const cases: [readonly string[], number, RegExp][] = [
    [['--port', String(taken.port), '--data-dir', data, ...common], 4, /port \d+ is already in use/],
    [['--port', '0', '--data-dir', foreign, ...common], 2, /contains files that don't belong to a farm/],
    [['--port', '0', '--data-dir', other, ...common], 6, /has format 99/],
    [
      ['--port', '0', '--data-dir', data, '-o', join(folder, 'file', 'www'), ...common],
      2,
      /can't be (made|created)|can't write/,
    ],
    [
      ['--port', '0', '--data-dir', data, '--python', '/nonexistent/python', ...common],
      3,
      /no usable Python/,
    ],
    [
      ['--port', '0', '--data-dir', data, '--index-url', index, '--once', '../etc/passwd'],
      2,
      /not a requirement/,
    ],
    [['--port', '0', '--data-dir', data, '--index-url', index, '--once', 'six>=1'], 2, /not a requirement/],
    [['--once', '--watch', 'six'], 2, /name at least one/],
    [['--once', 'six', '-c', '/nowhere.conf'], 2, /\/nowhere\.conf can't be read/],
    [['--timeout', 'soon'], 2, /--timeout soon: must be a duration/],
    [['--nonsense'], 2, /unknown option --nonsense/],
    [
      ['--port', '0', '--data-dir', data, '-c', wrong, ...common],
      2,
      /slave-1 can't start: .*sandbox = maybe is not valid; use auto, required or none/,
    ],
  ];
  for (const [args, code, line] of cases) {
    const result = await runFarm(args);
    t.equal(result.code, code, `${args.join(' ')}: ${result.err}`);
    t.match(result.err, line);
    t.equal(result.err.trim().split('\n').length, 1, 'one line');
    t.notMatch(result.err, /^\s+at /m);
  }
  t.strictSame(linked(), before, 'no folder is left if the output path could not be created');
});
