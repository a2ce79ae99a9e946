/**
 * The lock that allows one setup at a time in a clone. It is a folder, dist/.setup.lock, because only one
 * process can succeed in creating it; a file in it names the holder. The holder renews the folder's
 * modification time while it runs. A holder that no longer runs, or has not renewed the lock for a minute (a
 * process of another machine on a shared disk, or a process id that was reused), has lost it.
 */
import fs from 'fs';
import { hostname } from 'os';
import { join } from 'path';
import { SetupError, checkInterrupted, pause } from './process.mjs';

const RENEW_INTERVAL_MS = 5000;
const STALE_AFTER_MS = 60000;
/** A lock whose holder has not written its name is stale after this time. */
const NAMELESS_STALE_AFTER_MS = 5000;
/** As long as installing and compiling may take together. */
const WAIT_TIMEOUT_MS = 20 * 60000;

function tryCreate(lock, me) {
  try {
    fs.mkdirSync(lock);
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
  fs.writeFileSync(join(lock, 'holder'), me);
  return true;
}

/** Returns the current holder (empty if it has not written its name) and the lock's age, ms; null if unlocked. */
function readHolder(lock) {
  try {
    const age = Date.now() - fs.statSync(lock).mtimeMs;
    let holder = '';
    try {
      holder = fs.readFileSync(join(lock, 'holder'), 'utf8');
    } catch (error) {
      if (error.code !== 'ENOENT') throw error;
    }
    return { holder, age };
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error;
  }
}

function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function isStale({ holder, age }) {
  if (!holder) return age > NAMELESS_STALE_AFTER_MS;
  const [pid, host] = holder.split(' ');
  return age > STALE_AFTER_MS || (host === hostname() && !isRunning(Number(pid)));
}

/** Removes a stale lock. If another process was faster and the lock is already a new one, puts it back. */
function removeStaleLock(lock, { holder }) {
  const aside = `${lock}.${process.pid}`;
  try {
    fs.renameSync(lock, aside);
    const moved = readHolder(aside);
    if (moved && moved.holder !== holder) fs.renameSync(aside, lock);
  } catch (error) {
    if (!['ENOENT', 'EEXIST', 'ENOTEMPTY'].includes(error.code)) throw error;
  }
  fs.rmSync(aside, { recursive: true, force: true });
}

/** Waits for the lock. Throws a SetupError after 20 minutes, or when the user interrupts. */
async function acquire(lock, me) {
  const deadline = Date.now() + WAIT_TIMEOUT_MS;
  let announced = false;
  while (!tryCreate(lock, me)) {
    checkInterrupted();
    const current = readHolder(lock);
    if (current && isStale(current)) {
      removeStaleLock(lock, current);
    } else if (current) {
      const who = current.holder ? ` (process ${current.holder})` : '';
      if (Date.now() > deadline) {
        throw new SetupError(4, `Another setup${who} is still running in this clone. Stop it and try again.`);
      }
      if (!announced) process.stderr.write(`Waiting for another setup in this clone${who}…\n`);
      announced = true;
      await pause(200);
    }
  }
}

/**
 * Runs `work` while no other process sets up this clone. Waits for at most 20 minutes for the lock, then throws
 * a SetupError.
 */
export async function withLock(root, work) {
  const lock = join(root, 'dist', '.setup.lock');
  const me = `${process.pid} ${hostname()}`;
  fs.mkdirSync(join(root, 'dist'), { recursive: true });
  await acquire(lock, me);
  const isMine = () => (readHolder(lock) || {}).holder === me;
  const renewal = setInterval(() => {
    const now = new Date();
    if (isMine()) fs.utimesSync(lock, now, now);
  }, RENEW_INTERVAL_MS);
  try {
    return await work();
  } finally {
    clearInterval(renewal);
    if (isMine()) fs.rmSync(lock, { recursive: true, force: true });
  }
}
