import t from 'tap';
import { turn } from '../../src/states/turn.js';

const all = (...weights: readonly number[]) =>
  weights.map((weight, n) => ({ weight, credit: 0, list: [n] as readonly number[] }));

/** Whose turn it was, so many times. */
const turns = (of: ReturnType<typeof all>, count: number): (number | undefined)[] =>
  Array.from({ length: count }, () => turn(of)?.list[0]);

void t.test('each gets its part, and none waits longer than it must', (t) => {
  const took = turns(all(16, 4, 1), 210);
  for (const [who, part] of [
    [0, 160],
    [1, 40],
    [2, 10],
  ] as const) {
    t.equal(took.filter((one) => one === who).length, part, `${String(part)} of 210`);
  }
  for (let n = 0; n < 210; n += 21) t.ok(took.slice(n, n + 21).includes(2), 'once a round');
  t.end();
});

void t.test('who has nothing is passed over, and saves nothing up', (t) => {
  const of = all(4, 1);
  const backlog = of[0];
  if (backlog) backlog.list = [];
  t.same(turns(of, 100), Array(100).fill(1));
  if (backlog) backlog.list = [0];
  t.equal(turns(of, 10).filter((one) => one === 0).length, 8, 'no more than its part afterwards');
  t.notOk(turn(all()));
  t.equal(turn(all(1).map((one) => ({ ...one, list: [] }))), undefined);
  t.end();
});
