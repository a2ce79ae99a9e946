import { setImmediate as settle } from 'node:timers/promises';
import t from 'tap';
import { Batcher } from '../../src/concurrency/batcher.js';
import { pause } from '../../src/concurrency/pause.js';
import { ManualClock } from '../helpers/manual-clock.js';

void t.test('items that are added together are run in one batch, and each gets its own result', async (t) => {
  const runs: number[] = [];
  const batch = new Batcher<number, number>({
    run: (items) => {
      runs.push(items.length);
      return Promise.resolve(items.map((n) => n * 2));
    },
    maxItems: 64,
    maxInFlight: 2,
    delayMs: 0,
  });
  t.same(await Promise.all([1, 2, 3].map((n) => batch.add(n))), [2, 4, 6]);
  t.same(runs, [3]);
});

void t.test('batches are limited in items, in bytes and in how many run at once', async (t) => {
  const sizes: number[] = [];
  let inFlight = 0;
  let peakInFlight = 0;
  const batch = new Batcher<string, string>({
    run: async (items) => {
      sizes.push(items.length);
      inFlight += 1;
      peakInFlight = Math.max(peakInFlight, inFlight);
      await settle();
      inFlight -= 1;
      return items;
    },
    maxItems: 10,
    size: (item) => item.length,
    maxBytes: 50,
    maxInFlight: 2,
    delayMs: 1,
  });
  const items = Array.from({ length: 100 }, (_, i) => 'x'.repeat(i % 20));
  t.same(await Promise.all(items.map((item) => batch.add(item))), items);
  t.ok(Math.max(...sizes) <= 10);
  t.equal(peakInFlight, 2);
  t.equal(await batch.add('y'.repeat(500)), 'y'.repeat(500), 'an item above the limit is a batch of its own');
});

void t.test('when a batch fails, each of its items fails, and the next batch runs', async (t) => {
  let fail = true;
  const batch = new Batcher<number, number>({
    run: (items) => (fail ? Promise.reject(new Error('away')) : Promise.resolve(items)),
    maxItems: 4,
    maxInFlight: 1,
    delayMs: 0,
  });
  const results = await Promise.allSettled([batch.add(1), batch.add(2)]);
  t.ok(results.every(({ status }) => status === 'rejected'));
  fail = false;
  t.equal(await batch.add(3), 3);
});

void t.test('the first item waits delayMs for others, also during and after another batch', async (t) => {
  const clock = new ManualClock();
  const runs: number[][] = [];
  const delayMs = 100;
  let durationMs = 0;
  const batch = new Batcher<number, number>({
    run: async (items) => {
      runs.push([...items]);
      if (durationMs > 0) await pause(clock, durationMs);
      return items;
    },
    maxItems: 8,
    maxInFlight: 1,
    delayMs,
    clock,
  });
  const advance = async (ms: number) => {
    clock.advance(ms);
    await settle();
  };
  // One item every 25 ms, so each batch ends long before the next is due.
  const results: Promise<number>[] = [];
  for (let n = 0; n < 8; n += 1) {
    results.push(batch.add(n));
    await advance(delayMs / 4);
  }
  t.same(await Promise.all(results), [0, 1, 2, 3, 4, 5, 6, 7]);
  t.same(runs.splice(0), [
    [0, 1, 2, 3],
    [4, 5, 6, 7],
  ]);
  // A full batch doesn't wait, and items that have waited for delayMs behind it run as soon as it has ended.
  durationMs = 2 * delayMs;
  const first = Array.from({ length: 8 }, (_, n) => batch.add(n));
  const rest = [8, 9].map((n) => batch.add(n));
  t.same(runs, [[0, 1, 2, 3, 4, 5, 6, 7]]);
  await advance(durationMs);
  await Promise.all(first);
  t.same(runs[1], [8, 9]);
  await advance(durationMs);
  t.same(await Promise.all(rest), [8, 9]);
  t.equal(clock.pendingCalls, 0);
});

void t.test('an item that makes its batch fail fails alone', async (t) => {
  let runs = 0;
  const batch = new Batcher<number, number>({
    run: (items) => {
      runs += 1;
      if (items.includes(17)) return Promise.reject(new Error('17 is refused'));
      return Promise.resolve(items);
    },
    isItemError: (error) => error instanceof Error && error.message.includes('refused'),
    maxItems: 64,
    maxInFlight: 1,
    delayMs: 1,
  });
  const results = await Promise.allSettled(Array.from({ length: 64 }, (_, n) => batch.add(n)));
  t.same(
    results.flatMap(({ status }, n) => (status === 'rejected' ? [n] : [])),
    [17],
  );
  t.ok(runs <= 13, `${runs} runs, by halving`);
});

void t.test('an error that is not an item’s fails all items, and nothing is run again', async (t) => {
  let runs = 0;
  const batch = new Batcher<number, number>({
    run: () => {
      runs += 1;
      return Promise.reject(new Error('away'));
    },
    isItemError: () => false,
    maxItems: 64,
    maxInFlight: 1,
    delayMs: 1,
  });
  const results = await Promise.allSettled([1, 2, 3].map((n) => batch.add(n)));
  t.ok(results.every(({ status }) => status === 'rejected'));
  t.equal(runs, 1);
});
