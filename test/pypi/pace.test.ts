import t from 'tap';
import { PiwError } from '../../src/errors.js';
import { Throttled } from '../../src/pypi/http.js';
import { Pace } from '../../src/pypi/pace.js';

/** A clock that is turned by hand. */
class Turned {
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

  async turn(ms: number): Promise<void> {
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

const never = new AbortController().signal;

void t.test('whoever asks, there are no more turns in a second than the rate', async (t) => {
  const clock = new Turned();
  const pace = new Pace(clock, 5);
  const turns: number[] = [];
  const began = clock.monotonicMs();
  const all = Array.from({ length: 6 }, async () => {
    await pace.turn(never);
    turns.push(clock.monotonicMs() - began);
  });
  for (let ms = 0; ms <= 1000; ms += 100) await clock.turn(ms === 0 ? 0 : 100);
  await Promise.all(all);
  t.strictSame(turns, [0, 200, 400, 600, 800, 1000]);
  await clock.turn(60_000);
  await pace.turn(never);
  t.equal(clock.monotonicMs() - began, 61_000, 'what was not used is not saved up, and costs nothing');
});

void t.test('who is told to stop waits for no turn', async (t) => {
  const clock = new Turned();
  const pace = new Pace(clock, 1);
  const ending = new AbortController();
  await pace.turn(ending.signal);
  const second = pace.turn(ending.signal);
  t.equal(clock.waiting, 1);
  ending.abort();
  await second;
  t.equal(clock.waiting, 0, 'nothing is left behind');
  await pace.turn(ending.signal);
});

void t.test('a rest is twice as long after each error, and as long as the index asks for', (t) => {
  const clock = new Turned();
  const pace = new Pace(clock, 1);
  const error = new PiwError('PIW_INDEX', 'away');
  const near = (ms: number, wanted: number) => t.ok(ms >= wanted * 0.75 && ms <= wanted * 1.25, String(ms));
  for (const wanted of [1000, 2000, 4000]) {
    const ms = pace.rest('log', error);
    near(ms, wanted);
    // Another that was asked for at the same time.
    near(pace.rest('log', error), wanted * 2);
    t.ok(pace.isResting());
    void clock.turn(wanted * 3);
    t.notOk(pace.isResting());
  }
  pace.well('log');
  near(pace.rest('log', error), 1000);
  t.equal(pace.rest('log', new Throttled('slow down', 100_000)), 100_000);
  void clock.turn(99_000);
  pace.rest('pages', error);
  void clock.turn(900);
  t.ok(pace.isResting(), 'a shorter one ends none that is longer');
  t.end();
});
