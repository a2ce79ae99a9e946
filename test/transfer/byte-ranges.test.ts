import t from 'tap';
import { consolidate, exclude, intersect, split, type ByteRange } from '../../src/transfer/byte-ranges.js';
import { TransferState } from '../../src/transfer/transfer-state.js';

const r = (start: number, end: number): ByteRange => ({ start, end });

void t.test("the documentation's examples", (t) => {
  t.same([...consolidate([r(0, 5), r(4, 10)])], [r(0, 10)]);
  t.same([...consolidate([r(0, 5), r(5, 10)])], [r(0, 10)]);
  t.same([...consolidate([r(0, 5), r(6, 10)])], [r(0, 5), r(6, 10)]);
  t.same([...exclude([r(0, 10)], r(0, 2))], [r(2, 10)]);
  t.same([...exclude([r(0, 10)], r(2, 4))], [r(0, 2), r(4, 10)]);
  t.same(intersect(r(0, 10), r(0, 5)), r(0, 5));
  t.equal(intersect(r(0, 10), r(10, 12)), undefined);
  t.same(intersect(r(0, 10), r(2, 5)), r(2, 5));
  t.same([...split([r(0, 10)], 5)], [r(0, 5), r(5, 10)]);
  t.same([...split([r(0, 10)], 0)], [r(0, 10)]);
  t.same([...split([r(0, 10)], 20)], [r(0, 10)]);
  t.end();
});

void t.test('random chunks in any order leave exactly what has not come', (t) => {
  for (let seed = 1; seed <= 200; seed += 1) {
    let x = seed;
    const random = (n: number): number => {
      x = (x * 1103515245 + 12345) % 2147483648;
      return Math.floor((x / 2147483648) * n);
    };
    const size = 1 + random(60);
    const state = new TransferState(size);
    const have = new Set<number>();
    for (let step = 0; step < 30; step += 1) {
      const offset = random(size + 3);
      const length = random(12);
      const fits = length > 0 && offset + length <= size;
      if (state.chunk(offset, length) !== fits)
        t.fail(`seed ${String(seed)}: ${String(offset)}+${String(length)} of ${String(size)}`);
      if (fits) for (let i = offset; i < offset + length; i += 1) have.add(i);
      const first = Array.from({ length: size }, (_, i) => i).find((i) => !have.has(i));
      const fetch = state.fetch();
      if (fetch?.start !== first)
        t.fail(`seed ${String(seed)}: asks from ${String(fetch?.start)}, missing from ${String(first)}`);
      if (state.received !== have.size || state.done !== (have.size === size))
        t.fail(`seed ${String(seed)}: counts`);
    }
  }
  t.pass('200 histories');
  t.equal(new TransferState(0).done, true, 'a file of no bytes is there at once');
  t.end();
});
