import t from 'tap';
import { forEachConcurrently } from '../../src/concurrency/for-each-concurrently.js';
import { pause } from '../../src/concurrency/pause.js';
import { systemClock } from '../../src/concurrency/clock.js';

const rest = (): Promise<void> => pause(systemClock, 2, new AbortController().signal);

void t.test('each item is processed once, and only so many at a time', async (t) => {
  let running = 0;
  let most = 0;
  const done: number[] = [];
  const work = async (item: number): Promise<void> => {
    running += 1;
    most = Math.max(most, running);
    await rest();
    running -= 1;
    done.push(item);
  };
  await forEachConcurrently([5, 6, 7, 8, 9], 2, work);
  t.same([most, done.sort()], [2, [5, 6, 7, 8, 9]]);
  await forEachConcurrently([], 2, work);
  t.equal(done.length, 5);
});

void t.test(
  'after a failure no item is begun, and the error comes when those that run have ended',
  async (t) => {
    let closed = false;
    const items = async function* (): AsyncGenerator<number> {
      try {
        for (let n = 1; n <= 100; n += 1) yield await Promise.resolve(n);
      } finally {
        closed = true;
      }
    };
    const ended: number[] = [];
    const working = forEachConcurrently(items(), 3, async (item) => {
      if (item === 2) throw new Error('the second');
      await rest();
      ended.push(item);
    });
    await t.rejects(working, { message: 'the second' });
    t.same(ended.sort(), [1, 3]);
    t.ok(closed, 'the source is closed');
  },
);
