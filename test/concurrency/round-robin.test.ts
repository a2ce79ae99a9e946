import t from 'tap';
import { roundRobin } from '../../src/concurrency/round-robin.js';

const queuesOf = (...weights: readonly number[]) =>
  weights.map((weight, n) => ({ weight, credit: 0, list: [n] as readonly number[] }));

/** Returns the queues that were picked, in order. */
const picks = (queues: ReturnType<typeof queuesOf>, count: number): (number | undefined)[] =>
  Array.from({ length: count }, () => roundRobin(queues)?.list[0]);

void t.test('each queue gets its share, and none waits longer than a round', (t) => {
  const picked = picks(queuesOf(16, 4, 1), 210);
  for (const [index, expected] of [
    [0, 160],
    [1, 40],
    [2, 10],
  ] as const) {
    t.equal(picked.filter((queue) => queue === index).length, expected, `${expected} of 210`);
  }
  for (let n = 0; n < 210; n += 21) t.ok(picked.slice(n, n + 21).includes(2), 'once per round');
  t.end();
});

void t.test('an empty queue is skipped and accumulates no credit', (t) => {
  const queues = queuesOf(4, 1);
  const backlog = queues[0];
  if (backlog) backlog.list = [];
  t.same(picks(queues, 100), Array(100).fill(1));
  if (backlog) backlog.list = [0];
  t.equal(picks(queues, 10).filter((queue) => queue === 0).length, 8, 'no more than its share afterwards');
  t.notOk(roundRobin(queuesOf()));
  t.equal(roundRobin(queuesOf(1).map((queue) => ({ ...queue, list: [] }))), undefined);
  t.end();
});
