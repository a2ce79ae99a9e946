/**
 * Packs the tarball, installs it into empty prefixes as an ordinary user without a compiler, and uses it:
 *
 *   1. `npm install -g` with an empty cache and without a network: everything is in the tarball.
 *   2. `piw farm --once six`, on a machine without PostgreSQL and nats-server.
 *   3. In a second prefix, `piw slave` for a farm that builds nothing itself.
 *   4. `piw farm` where PostgreSQL can't be fetched.
 *
 *     node dist/test/deployment/tarball.js [--keep]
 *
 * As root it does this as `nobody`. Prints what was installed and how long each step took; exits with 1 if any check
 * fails. `--keep` leaves the folder of the installations.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chownTo, runAs, unprivilegedAccount, type Account } from '../../src/servers/privileges.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const STEP_LIMIT_MS = 10 * 60_000;
/** What a builder may install at most. Measured: 5.5 MB. */
const MAX_INSTALLED_MB = 15;

const { values } = parseArgs({ options: { keep: { type: 'boolean', default: false } } });
const account = unprivilegedAccount();
const folder = mkdtempSync(join(tmpdir(), 'piw-tarball-'));
chmodSync(folder, 0o755);
let faults = 0;

/** Makes a folder that belongs to the ordinary user. */
function makeFolder(name: string): string {
  const path = join(folder, name);
  mkdirSync(path);
  chownTo(path, account);
  return path;
}

function check(succeeded: boolean, what: string): void {
  console.log(`${succeeded ? 'ok    ' : 'FAILED'}  ${what}`);
  if (!succeeded) faults += 1;
}

// Where npm and pip find packages is the machine's, and nothing else.
const NETWORK_VARIABLE = /(^|_)proxy$|^(PIP_|npm_config_registry$|NODE_EXTRA_CA_CERTS$|SSL_CERT_)/i;
const network = Object.entries(process.env).filter(([name]) => NETWORK_VARIABLE.test(name));
/** The only folder on PATH: links to the machine's programs that are not for compiling. */
const programs = makeFolder('programs');
const COMPILER =
  /(^|-)(cc|gcc|g\+\+|c\+\+|c89|c99|cpp|clang|clang\+\+|tcc|as|ld|make|cargo|rustc|gfortran)(-[0-9.]+)?$/;
for (const source of [dirname(process.execPath), '/usr/local/bin', '/usr/bin', '/bin']) {
  for (const name of readdirSync(source)) {
    const link = join(programs, name);
    if (!COMPILER.test(name) && !existsSync(link)) symlinkSync(join(source, name), link);
  }
}

interface User {
  readonly home: string;
  readonly prefix: string;
  readonly env: NodeJS.ProcessEnv;
  readonly account: Account | undefined;
}

function makeUser(name: string): User {
  const home = makeFolder(name);
  const prefix = join(home, 'prefix');
  const env = {
    ...Object.fromEntries(network),
    HOME: home,
    PATH: `${join(prefix, 'bin')}:${programs}`,
    PIW_POSTGRES: 'embedded',
  };
  return { home, prefix, env, account };
}

interface Run {
  readonly child: ChildProcess;
  readonly output: readonly string[];
  /** Resolves with the exit code. */
  readonly ended: Promise<number | null>;
  /** Resolves with the first line of output that matches; rejects if the program ends before. */
  readonly line: (pattern: RegExp) => Promise<string>;
}

const running = new Set<ChildProcess>();

function start(user: User, command: string, ...args: readonly string[]): Run {
  const child = spawn(command, args, {
    cwd: user.home,
    env: user.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: STEP_LIMIT_MS,
    ...runAs(user.account),
  });
  running.add(child);
  const output: string[] = [];
  const waiters = new Set<() => void>();
  const wake = (): void => {
    for (const waiter of waiters) waiter();
  };
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      output.push(line);
      wake();
    });
  }
  const ended = new Promise<number | null>((resolve) => {
    child.once('close', (code) => {
      running.delete(child);
      resolve(code);
      wake();
    });
  });
  const line = (pattern: RegExp): Promise<string> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const found = output.find((each) => pattern.test(each));
        if (found === undefined && running.has(child)) return;
        waiters.delete(look);
        if (found !== undefined) resolve(found);
        else reject(new Error(`${command} ended without ${String(pattern)}:\n${output.join('\n')}`));
      };
      waiters.add(look);
      look();
    });
  return { child, output, ended, line };
}

process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
  if (!values.keep) rmSync(folder, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

/** Runs a program to its end, and prints how long it took. */
async function run(user: User, command: string, ...args: readonly string[]): Promise<readonly string[]> {
  const began = performance.now();
  const { ended, output } = start(user, command, ...args);
  const code = await ended;
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  check(code === 0, `${command} ${args.join(' ').replaceAll(folder, '')} (${seconds} s)`);
  if (code !== 0) console.log(output.map((each) => `        ${each}`).join('\n'));
  return output;
}

const filesUnder = (path: string): readonly string[] =>
  readdirSync(path, { recursive: true, encoding: 'utf8' }).filter((name) =>
    statSync(join(path, name)).isFile(),
  );

/** Installs the tarball into the user's empty prefix, and checks what is there then. */
async function install(user: User, tarball: string): Promise<void> {
  const args = ['install', '-g', '--offline', '--prefix', user.prefix, tarball];
  const output = await run(user, 'npm', ...args);
  check(!output.some((line) => /warn/i.test(line)), 'npm warns of nothing, such as a blocked install script');
  const installed = join(user.prefix, 'lib/node_modules');
  const files = filesUnder(installed);
  const megabytes = files.reduce((sum, name) => sum + statSync(join(installed, name)).size, 0) / 1e6;
  const packages = files.filter((name) =>
    /node_modules\/(@[^/]+\/)?[^/]+\/package\.json$/.test(`node_modules/${name}`),
  );
  const size = `${megabytes.toFixed(1)} MB in ${files.length} files, ${packages.length} packages`;
  check(megabytes < MAX_INSTALLED_MB, `installed: ${size}`);
  const surplus = files.filter((name) =>
    /postgres\/native|chromium|typescript|esbuild|\.node$|binding\.gyp/.test(name),
  );
  check(
    surplus.length === 0,
    `no database, no browser, nothing to compile: ${surplus.slice(0, 3).join(' ')}`,
  );
}

const destination = join(folder, 'tarball');
mkdirSync(destination);
// In the clone, as its owner.
const packed = spawn('npm', ['pack', '--silent', '--pack-destination', destination], {
  cwd: ROOT,
  stdio: ['ignore', 'ignore', 'inherit'],
});
await new Promise((resolve) => packed.once('close', resolve));
const tarball = join(destination, readdirSync(destination)[0] ?? '');
console.log(`tarball: ${(statSync(tarball).size / 1e6).toFixed(1)} MB`);

const farmer = makeUser('farmer');
await install(farmer, tarball);
for (const name of readdirSync(join(farmer.prefix, 'bin')).sort()) await run(farmer, name, '--help');
const farm = await run(farmer, 'piw', 'farm', '--once', '--port', '0', '-o', join(farmer.home, 'www'), 'six');
for (const line of farm) console.log(`        ${line}`);
check(
  filesUnder(join(farmer.home, 'www')).some((name) => /\/six-.*\.whl$/.test(name)),
  'the wheel is in the output path',
);

const builder = makeUser('builder');
await install(builder, tarball);
const data = join(farmer.home, 'second');
const master = start(
  farmer,
  'piw',
  ...['farm', '--once', '--slaves', '0', '--port', '0', '--nats-listen', '127.0.0.1'],
  ...['--data-dir', data, '-o', join(farmer.home, 'www2'), 'six'],
);
await master.line(/The farm is running/);
const configuration = join(builder.home, 'piwheels.conf');
await run(
  farmer,
  'piw',
  'slaves',
  'add',
  'builder',
  '-c',
  join(data, 'piwheels.conf'),
  '--output',
  configuration,
);
// What the build runs could read the key here: this machine has no sandbox.
const slave = start(builder, 'piw', 'slave', '-c', configuration, '--allow-exposed');
const published = await master.line(/published six/).catch((error: unknown) => String(error));
check(published.startsWith('published'), `the slave of the second prefix has built: ${published}`);
check((await master.ended) === 0, 'the farm ends with 0');
for (const line of slave.output) console.log(`        ${line}`);
slave.child.kill('SIGTERM');
check((await slave.ended) === 0, 'the slave ends with 0');
check(!existsSync(join(builder.home, '.cache/piw')), 'the slave has fetched no server');

const isolated: User = { ...builder, env: { ...builder.env, npm_config_registry: 'http://127.0.0.1:9/' } };
const refused = start(isolated, 'piw', 'farm', '--port', '0', 'six');
check((await refused.ended) === 3, 'without PostgreSQL and without a registry, piw farm exits with 3:');
for (const line of refused.output) console.log(`        ${line}`);

// A prefix that only root can read: the farm's processes run as another user, from a copy of the program.
if (account !== undefined) {
  const prefix = join(mkdtempSync(join(folder, 'root-')), 'prefix');
  const root = { ...farmer, prefix, account: undefined };
  await run(root, 'npm', 'install', '-g', '--offline', '--prefix', prefix, tarball);
  const args = [
    'farm',
    '--once',
    '--port',
    '0',
    '--data-dir',
    join(folder, 'data'),
    '-o',
    join(folder, 'www'),
  ];
  await run(root, join(prefix, 'bin/piw'), ...args, 'six');
}

console.log(faults === 0 ? 'all checks passed' : `${faults} checks failed`);
process.exit(faults === 0 ? 0 : 1);
