import { HOUR_MS } from '../../src/units.js';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { systemClock, type Clock } from '../../src/concurrency/clock.js';
import { shiftLeases } from '../../src/database/queue.js';
import { until } from '../helpers/bus.js';
import { MASTER_TASKS, testMaster } from '../helpers/master.js';
import { runTask } from '../helpers/command.js';
import { ScriptedSession } from '../helpers/session.js';
import { makeWheel } from '../helpers/wheel.js';

t.setTimeout(120_000);

void t.test('setting a clock back or forward neither prolongs nor ends a lease', async (t) => {
  const { db, bus, settings, slaves } = await testMaster(t, { versions: ['1.0', '2.0'], tasks: [] });
  const path = await makeWheel(await mkdtemp(join(tmpdir(), 'piw-clock-')), {});
  // The clock of the tasks: the test moves its time of day and its monotonic time, and timers run 20 times as fast.
  let wallOffsetMs = 0;
  let elapsedMs = 0;
  const clock: Clock = {
    now: () => systemClock.now() + wallOffsetMs,
    monotonicMs: () => systemClock.monotonicMs() + elapsedMs,
    after: (ms, callback) => systemClock.after(ms / 20, callback),
  };
  for (const task of MASTER_TASKS) runTask(t, task, settings, { clock });
  const [dead, alive] = [new ScriptedSession(bus, 'dead', path), new ScriptedSession(bus, 'alive', path)];
  for (const session of [dead, alive]) {
    await session.request('HELLO');
    t.equal(await session.request('IDLE'), 'BUILD');
  }
  wallOffsetMs = -HOUR_MS;
  // The lease of the dead slave has just ended.
  await db.query(`update queue set leased_until = now() - interval '1 second' where lease = $1`, [
    dead.lease,
  ]);
  // Ends the minute after the Architect's start in which no lease expires, so that slaves can renew theirs.
  elapsedMs = 61_000;
  const heldLeases = async () =>
    (await db.query('select lease from queue where slave_id is not null')).map(({ lease }) => lease);
  await until(async () => !(await heldLeases()).includes(dead.lease));
  t.same(
    await heldLeases(),
    [alive.lease],
    'the dead slave has lost its lease, even though the clock was set back by an hour',
  );
  wallOffsetMs = 24 * HOUR_MS;
  // Long enough for the periodic checks of sessions, leases and transfers.
  const deadline = systemClock.monotonicMs() + 4000;
  await until(() => systemClock.monotonicMs() > deadline);
  t.equal(await alive.request('BUSY'), 'CONT', 'its session and its lease survive the jump of a day');
  t.same(await heldLeases(), [alive.lease]);
  const lastSeen = Math.max(...(await slaves()).map(({ last_seen }) => last_seen));
  t.ok(Math.abs(lastSeen - clock.now()) < 60_000, 'monitors show the current time of day');
});

void t.test('leases are shifted when the database’s clock jumps', async (t) => {
  const { db, bus, settings } = await testMaster(t, { versions: ['1.0', '2.0', '3.0'] });
  t.ok(settings.prefix);
  const path = await makeWheel(await mkdtemp(join(tmpdir(), 'piw-clock-')), {});
  const sessions = ['a', 'b', 'c'].map((name) => new ScriptedSession(bus, name, path));
  for (const session of sessions) {
    await session.request('HELLO');
    t.equal(await session.request('IDLE'), 'BUILD');
  }
  const [a, b, c] = sessions.map(({ lease }) => lease);
  const setExpiry = async (lease: number | undefined, seconds: number) =>
    await db.query(`update queue set leased_until = now() + $2 * interval '1 second' where lease = $1`, [
      lease,
      seconds,
    ]);
  const minutesLeft = async () =>
    (
      await db.query<{ seconds: number }>(
        'select round(extract(epoch from leased_until - now()))::int as seconds from queue where slave_id is not null order by lease',
      )
    ).map(({ seconds }) => Math.round(seconds / 60));
  // The clock was set forward by an hour: two leases seem to have expired; one was granted after that.
  await setExpiry(a, 60 - 3600);
  await setExpiry(b, 90 - 3600);
  await setExpiry(c, 90);
  await shiftLeases(db, HOUR_MS);
  t.strictSame(await minutesLeft(), [1, 2, 2]);
  // And back by two hours.
  await setExpiry(a, 60 + 7200);
  await setExpiry(b, 120 + 7200);
  await shiftLeases(db, -2 * HOUR_MS);
  t.strictSame(await minutesLeft(), [1, 2, 2]);
});
