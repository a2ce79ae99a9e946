/**
 * One set-up at a time in a clone. The lock is a folder, dist/.setup.lock, because only one process can make
 * it; a file in it names its holder. A holder renews the folder's time while it lives. One that doesn't run
 * any more, or hasn't renewed it for a minute (another machine's process on a shared disk; a number that
 * belongs to another process by now), has lost it.
 */
import fs from 'fs';
import { hostname } from 'os';
import { join } from 'path';
import { Stop, checkInterrupted, pause } from './process.mjs';

const RENEW_MS = 5000;
const STALE_MS = 60000;
/** A holder that has not yet written its name. */
const NAMELESS_MS = 5000;
/** Longer than installing and compiling together may take. */
const WAIT_MS = 20 * 60000;

function tryToMake(lock, me) {
  try {
    fs.mkdirSync(lock);
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
  fs.writeFileSync(join(lock, 'holder'), me);
  return true;
}

/** What is known of the present holder; null if there is none. */
function look(lock) {
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

function runs(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function isStale({ holder, age }) {
  if (!holder) return age > NAMELESS_MS;
  const [pid, host] = holder.split(' ');
  return age > STALE_MS || (host === hostname() && !runs(Number(pid)));
}

/** Takes a stale lock away. If another process was quicker and it is a fresh one by now, puts it back. */
function takeAway(lock, { holder }) {
  const aside = `${lock}.${process.pid}`;
  try {
    fs.renameSync(lock, aside);
    const taken = look(aside);
    if (taken && taken.holder !== holder) fs.renameSync(aside, lock);
  } catch (error) {
    if (!['ENOENT', 'EEXIST', 'ENOTEMPTY'].includes(error.code)) throw error;
  }
  fs.rmSync(aside, { recursive: true, force: true });
}

async function take(lock, me) {
  const deadline = Date.now() + WAIT_MS;
  let told = false;
  while (!tryToMake(lock, me)) {
    checkInterrupted();
    const present = look(lock);
    if (present && isStale(present)) {
      takeAway(lock, present);
    } else if (present) {
      const who = present.holder ? ` (process ${present.holder})` : '';
      if (Date.now() > deadline) {
        throw new Stop(4, `Another set-up${who} is still at work in this clone. Stop it and try again.`);
      }
      if (!told) process.stderr.write(`Waiting for another set-up in this clone${who}…\n`);
      told = true;
      await pause(200);
    }
  }
}

/** Does `work` while no other process sets this clone up. Waits for its turn, 20 minutes at most, else Stop. */
export async function withLock(root, work) {
  const lock = join(root, 'dist', '.setup.lock');
  const me = `${process.pid} ${hostname()}`;
  fs.mkdirSync(join(root, 'dist'), { recursive: true });
  await take(lock, me);
  const isMine = () => (look(lock) || {}).holder === me;
  const renewal = setInterval(() => {
    const now = new Date();
    if (isMine()) fs.utimesSync(lock, now, now);
  }, RENEW_MS);
  try {
    return await work();
  } finally {
    clearInterval(renewal);
    if (isMine()) fs.rmSync(lock, { recursive: true, force: true });
  }
}
