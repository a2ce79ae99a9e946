/**
 * The npm packages of a clone. They are installed into a staging folder that replaces node_modules when it is
 * complete: an interrupted installation changes nothing, and a farm that runs in this clone keeps running.
 *
 * There are two sets: `run`, what the farm needs, and `all`, which adds what the tests need; `all` satisfies
 * both. node_modules/.piw-setup records which set it is and of which package-lock.json. A node_modules that npm
 * itself has installed is recognised by npm's own record.
 */
import { createHash } from 'crypto';
import fs from 'fs';
import { join } from 'path';
import { SetupError, checkInterrupted, runQuietly } from './process.mjs';

const INSTALL_TIMEOUT_MS = 15 * 60000;
const SETS = ['run', 'all'];
const STAGING = '.staging-';

/** npm's and Node's error codes for a registry that could not be reached or did not answer. */
const UNREACHABLE =
  /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT|E5\d\d|ENOTCACHED|[A-Z_]*CERT[A-Z_]*)\b/;

function stampFor(lock, set) {
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

/** Returns whether npm's record of node_modules lists every package of this set in the locked version. */
function npmRecordHas(root, lock, set) {
  const record = readOrNull(join(root, 'node_modules', '.package-lock.json'));
  if (!record) return false;
  const installed = JSON.parse(record.toString()).packages;
  return Object.entries(JSON.parse(lock.toString()).packages).every(([path, wanted]) => {
    if (path === '' || wanted.optional || (set === 'run' && wanted.dev)) return true;
    return path in installed && installed[path].version === wanted.version;
  });
}

/** Returns whether the packages of this set (`run` or `all`) are installed in their locked versions. */
export function areInstalled(root, set) {
  const lock = fs.readFileSync(join(root, 'package-lock.json'));
  const stamp = readOrNull(join(root, 'node_modules', '.piw-setup'));
  const acceptedStamps = SETS.slice(SETS.indexOf(set)).map((each) => stampFor(lock, each));
  return (stamp && acceptedStamps.includes(stamp.toString())) || npmRecordHas(root, lock, set);
}

/** Returns the command that runs npm: the npm that runs this script, else the one on PATH. */
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
    return await runQuietly(command, [...first, ...args], { cwd, timeoutMs: INSTALL_TIMEOUT_MS });
  } catch (error) {
    if (error.code === 'ENOENT')
      throw new SetupError(3, 'npm is not on PATH. It comes with Node: https://nodejs.org');
    throw error;
  }
}

function installError({ output, timedOut }) {
  const unreachable = UNREACHABLE.exec(output);
  if (timedOut || unreachable) {
    const cause = timedOut ? `timed out after ${INSTALL_TIMEOUT_MS / 60000} minutes` : unreachable[0];
    return new SetupError(
      3,
      `The packages that piw needs could not be downloaded (${cause}). Check the network and npm's registry setting, then run the command again.`,
    );
  }
  const npmOutput = output.split('\n').filter((line) => line.replace(/^npm error/, '').trim());
  return new SetupError(
    3,
    `${npmOutput.slice(0, 10).join('\n')}\nnpm could not install the packages that piw needs; see its error above.`,
  );
}

function removeStaging(root) {
  const dist = join(root, 'dist');
  for (const name of fs.readdirSync(dist)) {
    if (name.startsWith(STAGING))
      fs.rmSync(join(dist, name), { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Installs the packages of this set. The caller holds the clone's lock. Throws a SetupError if npm fails. */
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
    if (result.code !== 0) throw installError(result);
    fs.writeFileSync(join(staging, 'node_modules', '.piw-setup'), stampFor(lock, set));
    checkInterrupted();
    const current = join(root, 'node_modules');
    if (fs.existsSync(current)) fs.renameSync(current, join(staging, 'old'));
    fs.renameSync(join(staging, 'node_modules'), current);
  } finally {
    removeStaging(root);
  }
}
