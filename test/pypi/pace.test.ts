import t from 'tap';
import { PiwError } from '../../src/errors.js';
import { ThrottledError } from '../../src/pypi/http.js';
import { IndexRateLimiter } from '../../src/pypi/pace.js';

/** A clock that is turned by hand. */
class RateLimiterClock {
  readonly #calls = new Map<() => void, number>();
  #now = 1_000_000;

  monotonicMs(): number {
    return this.#now;
  }

  after(ms: number, what: () => void): () => void {
    const call = () => {
      what();
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

void t.test('whoever asks, there are no more turns in a second than the rate', async (t) => {
  const clock = new RateLimiterClock();
  const pace = new IndexRateLimiter(clock, 5);
  const grantedAt: number[] = [];
  const began = clock.monotonicMs();
  const acquisitions = Array.from({ length: 6 }, async () => {
    await pace.acquire(neverAborted);
    grantedAt.push(clock.monotonicMs() - began);
  });
  for (let ms = 0; ms <= 1000; ms += 100) await clock.advance(ms === 0 ? 0 : 100);
  await Promise.all(acquisitions);
  t.strictSame(grantedAt, [0, 200, 400, 600, 800, 1000]);
  await clock.advance(60_000);
  await pace.acquire(neverAborted);
  t.equal(clock.monotonicMs() - began, 61_000, 'what was not used is not saved up, and costs nothing');
});

void t.test('who is told to stop waits for no turn', async (t) => {
  const clock = new RateLimiterClock();
  const pace = new IndexRateLimiter(clock, 1);
  const controller = new AbortController();
  await pace.acquire(controller.signal);
  const second = pace.acquire(controller.signal);
  t.equal(clock.waiting, 1);
  controller.abort();
  await second;
  t.equal(clock.waiting, 0, 'nothing is left behind');
  await pace.acquire(controller.signal);
});

void t.test('a rest is twice as long after each error, and as long as the index asks for', (t) => {
  const clock = new RateLimiterClock();
  const pace = new IndexRateLimiter(clock, 1);
  const error = new PiwError('PIW_INDEX', 'away');
  const assertNear = (ms: number, wanted: number) =>
    t.ok(ms >= wanted * 0.75 && ms <= wanted * 1.25, String(ms));
  for (const wanted of [1000, 2000, 4000]) {
    const ms = pace.backOff('log', error);
    assertNear(ms, wanted);
    // Another that was asked for at the same time.
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
  t.ok(pace.isBackingOff(), 'a shorter one ends none that is longer');
  t.end();
});
