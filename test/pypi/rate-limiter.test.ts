import { setImmediate as settle } from 'node:timers/promises';
import t from 'tap';
import { PiwError } from '../../src/errors.js';
import { ThrottledError } from '../../src/pypi/http.js';
import { IndexRateLimiter } from '../../src/pypi/rate-limiter.js';
import { ManualClock } from '../helpers/manual-clock.js';

const neverAborted = new AbortController().signal;

void t.test('all callers together get no more turns per second than the rate', async (t) => {
  const clock = new ManualClock();
  const pace = new IndexRateLimiter(clock, 5);
  const grantedAt: number[] = [];
  const startedAt = clock.monotonicMs();
  const acquisitions = Array.from({ length: 6 }, async () => {
    await pace.acquire(neverAborted);
    grantedAt.push(clock.monotonicMs() - startedAt);
  });
  for (let ms = 0; ms <= 1000; ms += 100) {
    clock.advance(ms === 0 ? 0 : 100);
    await settle();
  }
  await Promise.all(acquisitions);
  t.strictSame(grantedAt, [0, 200, 400, 600, 800, 1000]);
  clock.advance(60_000);
  await pace.acquire(neverAborted);
  t.equal(clock.monotonicMs() - startedAt, 61_000, 'unused turns are neither saved up nor charged');
});

void t.test('an aborted caller does not wait for a turn', async (t) => {
  const clock = new ManualClock();
  const pace = new IndexRateLimiter(clock, 1);
  const controller = new AbortController();
  await pace.acquire(controller.signal);
  const second = pace.acquire(controller.signal);
  t.equal(clock.pendingCalls, 1);
  controller.abort();
  await second;
  t.equal(clock.pendingCalls, 0, 'no timer is left behind');
  await pace.acquire(controller.signal);
});

void t.test('a back-off doubles after each error, and is at least as long as the index asks for', (t) => {
  const clock = new ManualClock();
  const pace = new IndexRateLimiter(clock, 1);
  const error = new PiwError('PIW_INDEX', 'away');
  const assertNear = (ms: number, wanted: number) =>
    t.ok(ms >= wanted * 0.75 && ms <= wanted * 1.25, String(ms));
  for (const wanted of [1000, 2000, 4000]) {
    const ms = pace.backOff('log', error);
    assertNear(ms, wanted);
    // A second error, of a concurrent request.
    assertNear(pace.backOff('log', error), wanted * 2);
    t.ok(pace.isBackingOff());
    clock.advance(wanted * 3);
    t.notOk(pace.isBackingOff());
  }
  pace.succeeded('log');
  assertNear(pace.backOff('log', error), 1000);
  t.equal(pace.backOff('log', new ThrottledError('slow down', 100_000)), 100_000);
  clock.advance(99_000);
  pace.backOff('pages', error);
  clock.advance(900);
  t.ok(pace.isBackingOff(), 'a shorter back-off does not end a longer one');
  t.end();
});
