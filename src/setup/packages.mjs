/**
 * The npm packages of a clone. They are installed beside node_modules and exchanged with it when they are
 * complete: an interrupted installation leaves what was there, and a farm that runs in this clone goes on.
 *
 * There are two sets: `run`, what the farm needs, and `all`, with what the tests need; `all` serves for
 * both. node_modules/.piw-setup says which set, of which package-lock.json, it is. One that was made by npm
 * itself is recognised by npm's own record of it.
 */
import { createHash } from 'crypto';
import fs from 'fs';
import { join } from 'path';
import { Stop, checkInterrupted, runQuietly } from './process.mjs';

const LIMIT_MS = 15 * 60000;
const SETS = ['run', 'all'];
const STAGING = '.staging-';

/** npm's and Node's names for a registry that could not be reached or gave up. */
const UNREACHABLE =
  /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT|E5\d\d|ENOTCACHED|[A-Z_]*CERT[A-Z_]*)\b/;

function mark(lock, set) {
  return `${createHash('sha256').update(lock).digest('hex')} ${set}\n`;
}

function readOrNull(path) {
  try {
    return fs.readFileSync(path);
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
    throw error;
  }
}

/** Whether npm's record of node_modules has every package of this set, in the version of package-lock.json. */
function npmHas(root, lock, set) {
  const record = readOrNull(join(root, 'node_modules', '.package-lock.json'));
  if (!record) return false;
  const present = JSON.parse(record.toString()).packages;
  return Object.entries(JSON.parse(lock.toString()).packages).every(([path, wanted]) => {
    if (path === '' || wanted.optional || (set === 'run' && wanted.dev)) return true;
    return path in present && present[path].version === wanted.version;
  });
}

/** Whether the packages of this set, `run` or `all`, are installed as package-lock.json has them. */
export function areInstalled(root, set) {
  const lock = fs.readFileSync(join(root, 'package-lock.json'));
  const stamp = readOrNull(join(root, 'node_modules', '.piw-setup'));
  const enough = SETS.slice(SETS.indexOf(set)).map((each) => mark(lock, each));
  return (stamp && enough.includes(stamp.toString())) || npmHas(root, lock, set);
}

/** The program that is npm: the one that runs this, else the one on PATH. */
function npm() {
  const running = process.env.npm_execpath;
  return running && /npm-cli\.c?js$/.test(running) ? [process.execPath, running] : ['npm'];
}

async function runNpm(cwd, set) {
  const [command, ...first] = npm();
  const args = [
    'ci',
    set === 'run' ? '--omit=dev' : '--include=dev',
    '--include=optional',
    '--ignore-scripts',
  ];
  args.push(
    '--prefer-offline',
    '--no-audit',
    '--no-fund',
    '--no-update-notifier',
    '--no-json',
    '--loglevel=error',
  );
  args.push('--fetch-retries=3', '--fetch-retry-mintimeout=1000', '--fetch-retry-maxtimeout=5000');
  args.push('--fetch-timeout=60000');
  try {
    return await runQuietly(command, [...first, ...args], { cwd, limit: LIMIT_MS });
  } catch (error) {
    if (error.code === 'ENOENT')
      throw new Stop(3, 'npm is not on PATH. It comes with Node: https://nodejs.org');
    throw error;
  }
}

function failure({ output, timedOut }) {
  const unreachable = UNREACHABLE.exec(output);
  if (timedOut || unreachable) {
    const why = timedOut ? `not done in ${LIMIT_MS / 60000} minutes` : unreachable[0];
    return new Stop(
      3,
      `The packages that piw needs can't be fetched (${why}). Check the network and npm's registry setting, and run it again.`,
    );
  }
  const said = output.split('\n').filter((line) => line.replace(/^npm error/, '').trim());
  return new Stop(
    3,
    `${said.slice(0, 10).join('\n')}\nThe packages that piw needs can't be installed: npm says above why.`,
  );
}

function removeStaging(root) {
  const dist = join(root, 'dist');
  for (const name of fs.readdirSync(dist)) {
    if (name.startsWith(STAGING))
      fs.rmSync(join(dist, name), { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Installs the packages of a set. The caller holds the clone's lock. */
export async function install(root, set) {
  process.stderr.write('Installing dependencies…\n');
  const staging = join(root, 'dist', STAGING + process.pid);
  const lock = fs.readFileSync(join(root, 'package-lock.json'));
  removeStaging(root);
  fs.mkdirSync(staging);
  try {
    for (const name of ['package.json', 'package-lock.json', '.npmrc']) {
      if (fs.existsSync(join(root, name))) fs.copyFileSync(join(root, name), join(staging, name));
    }
    const result = await runNpm(staging, set);
    if (result.code !== 0) throw failure(result);
    fs.writeFileSync(join(staging, 'node_modules', '.piw-setup'), mark(lock, set));
    checkInterrupted();
    const current = join(root, 'node_modules');
    if (fs.existsSync(current)) fs.renameSync(current, join(staging, 'old'));
    fs.renameSync(join(staging, 'node_modules'), current);
  } finally {
    removeStaging(root);
  }
}
