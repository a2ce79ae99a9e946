import t from 'tap';
import { PiwError } from '../../src/errors.js';
import { ThrottledError } from '../../src/pypi/http.js';
import { IndexRateLimiter } from '../../src/pypi/rate-limiter.js';

/** A clock that tests advance. */
class RateLimiterClock {
  readonly #calls = new Map<() => void, number>();
  #now = 1_000_000;

  monotonicMs(): number {
    return this.#now;
  }

  after(ms: number, callback: () => void): () => void {
    const call = () => {
      callback();
    };
    this.#calls.set(call, this.#now + ms);
    return () => this.#calls.delete(call);
  }

  async advance(ms: number): Promise<void> {
    this.#now += ms;
    for (const [call, at] of [...this.#calls]) {
      if (at > this.#now || !this.#calls.delete(call)) continue;
      call();
    }
    await new Promise((resolve) => setImmediate(resolve));
  }

  get waiting(): number {
    return this.#calls.size;
  }
}

const neverAborted = new AbortController().signal;

void t.test('all callers together get no more turns per second than the rate', async (t) => {
  const clock = new RateLimiterClock();
  const pace = new IndexRateLimiter(clock, 5);
  const grantedAt: number[] = [];
  const startedAt = clock.monotonicMs();
  const acquisitions = Array.from({ length: 6 }, async () => {
    await pace.acquire(neverAborted);
    grantedAt.push(clock.monotonicMs() - startedAt);
  });
  for (let ms = 0; ms <= 1000; ms += 100) await clock.advance(ms === 0 ? 0 : 100);
  await Promise.all(acquisitions);
  t.strictSame(grantedAt, [0, 200, 400, 600, 800, 1000]);
  await clock.advance(60_000);
  await pace.acquire(neverAborted);
  t.equal(clock.monotonicMs() - startedAt, 61_000, 'unused turns are neither saved up nor charged');
});

void t.test('an aborted caller does not wait for a turn', async (t) => {
  const clock = new RateLimiterClock();
  const pace = new IndexRateLimiter(clock, 1);
  const controller = new AbortController();
  await pace.acquire(controller.signal);
  const second = pace.acquire(controller.signal);
  t.equal(clock.waiting, 1);
  controller.abort();
  await second;
  t.equal(clock.waiting, 0, 'no timer is left behind');
  await pace.acquire(controller.signal);
});

void t.test('a back-off doubles after each error, and is at least as long as the index asks for', (t) => {
  const clock = new RateLimiterClock();
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
    void clock.advance(wanted * 3);
    t.notOk(pace.isBackingOff());
  }
  pace.succeeded('log');
  assertNear(pace.backOff('log', error), 1000);
  t.equal(pace.backOff('log', new ThrottledError('slow down', 100_000)), 100_000);
  void clock.advance(99_000);
  pace.backOff('pages', error);
  void clock.advance(900);
  t.ok(pace.isBackingOff(), 'a shorter back-off does not end a longer one');
  t.end();
});
