import { spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { deferred } from '../../src/concurrency/deferred.js';
import { SilenceMeter } from '../../src/actor/activity.js';
import { stopInWaves, type Stoppable } from '../../src/actor/waves.js';
import { SETTINGS_ENV } from '../../src/config.js';
import { loadSettings } from '../../src/settings/load.js';
import { natsAddress, uniquePrefix, until } from '../helpers/bus.js';

const ACTOR_ENTRY = fileURLToPath(new URL('../../run/actor-process.js', import.meta.url));
const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));

/** Returns whether a process runs; a zombie doesn't. */
const isRunning = (pid: number): boolean =>
  spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' })
    .stdout.trim()
    .replace(/^Z.*/, '') !== '';

/** Starts a program as a child of a process that is killed after `ms` milliseconds; returns the child's PID. */
async function spawnOrphan(args: readonly string[], env: NodeJS.ProcessEnv, ms: number): Promise<number> {
  const script = `
    const { spawn } = require('child_process');
    const options = { stdio: ['ignore', 'ignore', 'ignore', 'ipc'], detached: true };
    const child = spawn(process.execPath, ${JSON.stringify(args)}, options);
    console.log(child.pid);`;
  const parent = spawn(process.execPath, ['-e', script], { env: { ...process.env, ...env } });
  const ended = new Promise((resolve) => parent.once('exit', resolve));
  for await (const line of createInterface({ input: parent.stdout })) {
    await sleep(ms);
    parent.kill('SIGKILL');
    await ended;
    return Number(line);
  }
  throw new Error('the parent did not print the PID of its child');
}

const settings = loadSettings({ nats: natsAddress(), prefix: uniquePrefix() }, '/dev/null');
const KILL_DELAYS_MS = [0, 50, 100, 200, 400, 800];

void t.test('an actor ends with its master, even while it is still loading', async (t) => {
  const env = { [SETTINGS_ENV]: JSON.stringify(settings) };
  const started = KILL_DELAYS_MS.map((ms) => spawnOrphan([ACTOR_ENTRY, 'mr-chase', '-q'], env, ms));
  const children = await Promise.all(started);
  await until(() => !children.some(isRunning)).catch(() => undefined);
  t.same(children.filter(isRunning), []);
  for (const pid of children.filter(isRunning)) process.kill(pid, 'SIGKILL');
});

void t.test('a command that a farm runs ends with the farm', async (t) => {
  const args = [BIN, 'web', '-c', '/dev/null', '-o', '/tmp', '--port', '0'];
  const children = await Promise.all(KILL_DELAYS_MS.map((ms) => spawnOrphan(args, {}, ms)));
  await until(() => !children.some(isRunning)).catch(() => undefined);
  t.same(children.filter(isRunning), []);
  for (const pid of children.filter(isRunning)) process.kill(pid, 'SIGKILL');
});

void t.test('silence counts only the time in which a process could have run', async (t) => {
  const busy = spawn(process.execPath, ['-e', 'for (;;);']);
  const idle = spawn(process.execPath, ['-e', 'setInterval(() => undefined, 10_000)']);
  t.teardown(() => {
    busy.kill('SIGKILL');
    idle.kill('SIGKILL');
  });
  const asleep = new SilenceMeter(idle.pid);
  await until(() => asleep.add(1000) >= 5000);
  const spinning = new SilenceMeter(busy.pid);
  await until(() => spinning.add(1000) >= 2000);
  // Asked again at once: the process has had almost no CPU time in between.
  const before = spinning.add(1000);
  t.ok(spinning.add(1000) - before < 500, 'a process that waits for a processor is not silent');
  spinning.reset();
  t.ok(spinning.add(1000) < 500);
  t.equal(new SilenceMeter(undefined).add(1000), 1000, 'without /proc all of the time counts');
});

/** Returns a stoppable that ends `ms` after stop(), or never if left out, and appends what happens to `notes`. */
function stoppable(name: string, wave: number, notes: string[], ms?: number): Stoppable {
  const { promise, resolve } = deferred();
  return {
    wave,
    ended: promise,
    stop: () => {
      notes.push(`stop ${name}`);
      if (ms !== undefined) setTimeout(resolve, ms);
    },
    kill: () => {
      notes.push(`kill ${name}`);
      resolve();
    },
  };
}

void t.test(
  'waves are stopped in order, and one that hangs delays the others only within the limit',
  async (t) => {
    const notes: string[] = [];
    const items = [
      stoppable('oracle', 1, notes, 10),
      stoppable('scribe', 2, notes, 10),
      stoppable('hanging', 2, notes),
      stoppable('gazer', 3, notes, 10),
    ];
    const began = performance.now();
    await stopInWaves(items, { limitMs: 1000, reserveMs: 300 });
    t.ok(performance.now() - began >= 950);
    t.same(notes, ['stop gazer', 'stop scribe', 'stop hanging', 'stop oracle', 'kill hanging']);
  },
);

void t.test('with atOnce all waves are stopped at once', async (t) => {
  const notes: string[] = [];
  const began = performance.now();
  await stopInWaves([stoppable('a', 1, notes, 200), stoppable('b', 2, notes, 200)], {
    limitMs: 60_000,
    reserveMs: 2000,
    atOnce: true,
  });
  t.ok(performance.now() - began < 30_000);
  t.same(notes, ['stop a', 'stop b']);
});
