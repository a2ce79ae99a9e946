import { setImmediate as settle } from 'node:timers/promises';
import t from 'tap';
import { backOffMs } from '../../src/concurrency/back-off.js';
import { RestartPolicy } from '../../src/concurrency/restart-policy.js';
import { retry } from '../../src/concurrency/retry.js';
import { ManualClock } from '../helpers/manual-clock.js';

const BACK_OFF = { firstMs: 100, maxMs: 500 };

void t.test('pauses double after each failure up to their limit; jitter adds up to a quarter', (t) => {
  const pauses = (jitter: boolean) => [1, 2, 3, 4, 2000].map((n) => backOffMs({ ...BACK_OFF, jitter }, n));
  t.same(pauses(false), [100, 200, 400, 500, 500]);
  for (const [index, ms] of pauses(true).entries()) {
    const least = pauses(false)[index] ?? 0;
    t.ok(ms >= least && ms <= least * 1.25, String(ms));
  }
  t.end();
});

void t.test('an operation is retried after pauses until it succeeds', async (t) => {
  const clock = new ManualClock();
  const attempts: number[] = [];
  const start = clock.now();
  const operation = () => {
    attempts.push(clock.now() - start);
    return attempts.length < 4 ? Promise.reject(new Error('away')) : Promise.resolve('done');
  };
  const result = retry(operation, (_, failures) => backOffMs(BACK_OFF, failures), { clock });
  for (let ms = 0; ms < 1000; ms += 50) {
    await settle();
    clock.advance(50);
  }
  t.equal(await result, 'done');
  t.same(attempts, [0, 100, 300, 700]);
});

void t.test(
  'a retry ends with the error that it gives up on, or PIW_INTERRUPTED when it is aborted during a pause',
  async (t) => {
    const clock = new ManualClock();
    const controller = new AbortController();
    let attempts = 0;
    const operation = () => {
      attempts += 1;
      return Promise.reject(new Error('away'));
    };
    const giveUp = () => {
      throw new Error('given up');
    };
    await t.rejects(retry(operation, giveUp, { clock }), { message: 'given up' });
    const aborted = retry(operation, () => 1000, { clock, signal: controller.signal });
    await settle();
    controller.abort();
    await t.rejects(aborted, { code: 'PIW_INTERRUPTED', cause: { message: 'away' } });
    await t.rejects(retry(operation, giveUp, { clock, signal: controller.signal }), { message: 'away' });
    t.equal(attempts, 3);
  },
);

void t.test('a process is given up after five failures in a row', (t) => {
  const policy = new RestartPolicy(BACK_OFF);
  const exit = (healthy = false, excused = false) => policy.recordExit({ healthy, excused });
  t.same([exit(), exit(), exit()], [100, 200, 400]);
  t.equal(exit(true), 100, 'a process that has worked starts again');
  t.equal(exit(false, true), 200, 'an excused exit makes the pause longer');
  t.equal(policy.failures, 1, 'but is no failure');
  t.same([exit(), exit(), exit(), exit()], [400, 500, 500, 500]);
  t.equal(exit(), undefined);
  t.equal(policy.failures, 6);
  t.end();
});
