import t from 'tap';
import { LEASE_TTL_MS } from '../../src/bus/lease-bucket.js';
import { LeaderLease } from '../../src/bus/lease.js';
import { uniquePrefix, testBus, until } from '../helpers/bus.js';
import { ManualClock } from '../helpers/manual-clock.js';

t.setTimeout(60_000);

const neverAborted = new AbortController().signal;

void t.test('a released lease goes to the next process, with a higher fence', async (t) => {
  const prefix = uniquePrefix();
  const [a, b] = await Promise.all([testBus(t, prefix), testBus(t, prefix)]);
  const first = await LeaderLease.acquire(a, 'task', 'a', neverAborted);
  t.ok(first?.held);
  let second: LeaderLease | undefined;
  const waiting = LeaderLease.acquire(b, 'task', 'b', neverAborted).then((lease) => (second = lease));
  await b.rtt();
  t.equal(second, undefined, 'not while the first holds it');
  await first?.release();
  t.equal(first?.held, false);
  await waiting;
  t.ok(second?.held);
  t.ok((second?.fence ?? 0) > (first?.fence ?? 0));
  await second?.release();
});

void t.test('when the holder dies, another process takes over within five seconds', async (t) => {
  const prefix = uniquePrefix();
  const [a, b] = await Promise.all([testBus(t, prefix), testBus(t, prefix)]);
  const first = await LeaderLease.acquire(a, 'task', 'a', neverAborted);
  // Its connection ends without releasing the lease, as if the process were killed.
  await a.drain();
  const began = performance.now();
  const second = await LeaderLease.acquire(b, 'task', 'b', neverAborted);
  const elapsedMs = performance.now() - began;
  t.ok(elapsedMs < 5000, `it took ${Math.round(elapsedMs)} ms`);
  t.equal(first?.held, false, 'and the first one knows that it no longer holds the lease');
  t.throws(() => first?.check(), { code: 'PIW_NOT_LEADER' });
  await second?.release();
  await first?.release();
});

void t.test('a lease is held while its renewals succeed in time, and is lost when none does', async (t) => {
  const bus = await testBus(t, uniquePrefix());
  const clock = new ManualClock();
  const lease = await LeaderLease.acquire(bus, 'task', 'a', neverAborted, { clock });
  t.ok(lease?.held);
  clock.advance(LEASE_TTL_MS);
  t.equal(lease?.held, false, 'as long as the renewal may have failed');
  await until(() => lease?.held ?? false);
  await bus.drain();
  clock.advance(LEASE_TTL_MS);
  await lease?.lost;
  t.throws(() => lease?.check(), { code: 'PIW_NOT_LEADER' });
});

void t.test(
  'the fence is higher after NATS has lost the bucket, however fast it was written to',
  async (t) => {
    const prefix = uniquePrefix();
    const bus = await testBus(t, prefix);
    const { streams } = await bus.connection.jetstreamManager();
    const first = await LeaderLease.acquire(bus, 'task', 'a', neverAborted);
    // More revisions than milliseconds pass.
    await Promise.all(
      Array.from({ length: 2000 }, () =>
        bus.connection.request(`$KV.${prefix}-leaders.other`, undefined, { timeout: 30_000 }),
      ),
    );
    await first?.release();
    const last = await LeaderLease.acquire(bus, 'task', 'a', neverAborted);
    t.ok((last?.fence ?? 0) - (first?.fence ?? 0) > 2000, 'the bucket has these revisions');
    await last?.release();
    await streams.delete(`KV_${prefix}-leaders`);
    const after = await LeaderLease.acquire(bus, 'task', 'b', neverAborted);
    t.ok((after?.fence ?? 0) > (last?.fence ?? 0), `${String(after?.fence)} after ${String(last?.fence)}`);
    await after?.release();
  },
);

void t.test('the fence is higher after NATS has lost the bucket and the clock was set back', async (t) => {
  const prefix = uniquePrefix();
  const bus = await testBus(t, prefix);
  const { streams } = await bus.connection.jetstreamManager();
  const before = await LeaderLease.acquire(bus, 'task', 'a', neverAborted);
  await before?.release();
  const { now } = Date;
  t.teardown(() => (Date.now = now));
  Date.now = () => now() - 86_400_000;
  for (const time of ['first', 'second']) {
    await streams.delete(`KV_${prefix}-leaders`);
    const after = await LeaderLease.acquire(bus, 'task', 'b', neverAborted);
    t.ok((after?.fence ?? 0) > (before?.fence ?? 0) + 1e9, `the ${time} time`);
    await after?.release();
  }
});

void t.test('the fence is higher after a cluster has created the bucket again by itself', async (t) => {
  const prefix = uniquePrefix();
  const bus = await testBus(t, prefix);
  const { streams } = await bus.connection.jetstreamManager();
  const before = await LeaderLease.acquire(bus, 'task', 'a', neverAborted);
  // As after a restart of all servers: with a first_seq of 1, as the bucket has in a cluster.
  const { config } = await streams.info(`KV_${prefix}-leaders`);
  await streams.delete(`KV_${prefix}-leaders`);
  await streams.add({ ...config, first_seq: 1 });
  const other = await LeaderLease.acquire(bus, 'other', 'b', neverAborted);
  t.ok((other?.fence ?? 0) > (before?.fence ?? 0), `${String(other?.fence)} after ${String(before?.fence)}`);
  await until(async () => (await streams.info(`KV_${prefix}-leaders`)).state.messages === 2);
  t.ok(before?.held, 'and the holder of another lease keeps it');
  await before?.release();
  await other?.release();
});

void t.test('of many processes that create the first lease of a farm at once, one gets it', async (t) => {
  const prefix = uniquePrefix();
  const buses = await Promise.all(Array.from({ length: 8 }, () => testBus(t, prefix)));
  const abortController = new AbortController();
  const leases = await Promise.all(
    buses.map((bus, n) =>
      LeaderLease.acquire(bus, 'task', String(n), abortController.signal).then((lease) => {
        abortController.abort();
        return lease;
      }),
    ),
  );
  t.equal(leases.filter((lease) => lease !== undefined).length, 1);
  for (const lease of leases) await lease?.release();
});

void t.test('leases are kept in memory, and the bucket of an earlier version is deleted', async (t) => {
  const prefix = uniquePrefix();
  const bus = await testBus(t, prefix);
  const { streams } = await bus.connection.jetstreamManager();
  const later = Date.now() + 3_600_000;
  await streams.add({
    name: `KV_${prefix}-leases`,
    subjects: [`$KV.${prefix}-leases.>`],
    first_seq: later,
  });
  const lease = await LeaderLease.acquire(bus, 'task', 'a', neverAborted);
  t.ok((lease?.fence ?? 0) >= later, 'with a higher fence, even if the clock was set back');
  t.equal((await streams.info(`KV_${prefix}-leaders`)).config.storage, 'memory');
  await t.rejects(streams.info(`KV_${prefix}-leases`), /not found/);
  await lease?.release();
});

void t.test('an entry that is never renewed is reported and removed', async (t) => {
  const prefix = uniquePrefix();
  const bus = await testBus(t, prefix);
  // In this bucket NATS never expires the entry, as in one on a full disk.
  const { streams } = await bus.connection.jetstreamManager();
  await streams.add({
    name: `KV_${prefix}-leaders`,
    subjects: [`$KV.${prefix}-leaders.>`],
    max_msgs_per_subject: 1,
  });
  await bus.connection.jetstream().publish(`$KV.${prefix}-leaders.task`, 'gone/1 x');
  const messages: string[] = [];
  const lease = await LeaderLease.acquire(bus, 'task', 'a', neverAborted, {
    onTrouble: (text) => messages.push(text),
  });
  t.match(messages, [
    /^task has had no leader since .*: NATS still holds the lease of gone\/1, which has not been renewed$/,
    /^task: NATS still holds the lease of gone\/1, which has not been renewed for \d+ s: removing it$/,
    /^task has a leader again, after \d+ s$/,
  ]);
  await lease?.release();
});

void t.test('holders keep their leases when NATS loses the bucket, as at a restart', async (t) => {
  const prefix = uniquePrefix();
  const [bus, other] = await Promise.all([testBus(t, prefix), testBus(t, prefix)]);
  const [first, second] = await Promise.all(
    ['one', 'two'].map((name) => LeaderLease.acquire(bus, name, 'a', neverAborted)),
  );
  const abortController = new AbortController();
  t.teardown(() => {
    abortController.abort();
  });
  const { streams } = await bus.connection.jetstreamManager();
  const countEntries = async () => {
    const info = await streams.info(`KV_${prefix}-leaders`, { subjects_filter: '>' }).catch(() => undefined);
    return Object.keys(info?.state.subjects ?? {}).length;
  };
  let lost = false;
  void Promise.race([first?.lost, second?.lost]).then(() => (lost = true));
  await streams.delete(`KV_${prefix}-leaders`);
  await until(async () => lost || (await countEntries()) === 2);
  const waiting = LeaderLease.acquire(other, 'one', 'b', abortController.signal);
  t.equal(lost, false);
  t.ok(first?.held);
  t.ok(second?.held);
  abortController.abort();
  t.equal(await waiting, undefined);
  await first?.release();
  await second?.release();
});
