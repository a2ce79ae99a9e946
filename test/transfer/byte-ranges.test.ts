import t from 'tap';
import { consolidate, exclude, intersect, split, type ByteRange } from '../../src/transfer/byte-ranges.js';
import { TransferState } from '../../src/transfer/transfer-state.js';

const range = (start: number, end: number): ByteRange => ({ start, end });

void t.test("the documentation's examples", (t) => {
  t.same([...consolidate([range(0, 5), range(4, 10)])], [range(0, 10)]);
  t.same([...consolidate([range(0, 5), range(5, 10)])], [range(0, 10)]);
  t.same([...consolidate([range(0, 5), range(6, 10)])], [range(0, 5), range(6, 10)]);
  t.same([...exclude([range(0, 10)], range(0, 2))], [range(2, 10)]);
  t.same([...exclude([range(0, 10)], range(2, 4))], [range(0, 2), range(4, 10)]);
  t.same(intersect(range(0, 10), range(0, 5)), range(0, 5));
  t.equal(intersect(range(0, 10), range(10, 12)), undefined);
  t.same(intersect(range(0, 10), range(2, 5)), range(2, 5));
  t.same([...split([range(0, 10)], 5)], [range(0, 5), range(5, 10)]);
  t.same([...split([range(0, 10)], 0)], [range(0, 10)]);
  t.same([...split([range(0, 10)], 20)], [range(0, 10)]);
  t.end();
});

void t.test('after random chunks in any order, exactly the missing ranges remain', (t) => {
  for (let seed = 1; seed <= 200; seed += 1) {
    let x = seed;
    const random = (n: number): number => {
      x = (x * 1103515245 + 12345) % 2147483648;
      return Math.floor((x / 2147483648) * n);
    };
    const size = 1 + random(60);
    const state = new TransferState(size);
    const receivedOffsets = new Set<number>();
    for (let step = 0; step < 30; step += 1) {
      const offset = random(size + 3);
      const length = random(12);
      const fits = length > 0 && offset + length <= size;
      if (state.markReceived(offset, length) !== fits) t.fail(`seed ${seed}: ${offset}+${length} of ${size}`);
      if (fits) for (let i = offset; i < offset + length; i += 1) receivedOffsets.add(i);
      const firstMissing = Array.from({ length: size }, (_, i) => i).find((i) => !receivedOffsets.has(i));
      const fetch = state.firstMissingRange();
      if (fetch?.start !== firstMissing)
        t.fail(`seed ${seed}: requests from ${String(fetch?.start)}, missing from ${String(firstMissing)}`);
      if (state.received !== receivedOffsets.size || state.done !== (receivedOffsets.size === size))
        t.fail(`seed ${seed}: counts`);
    }
  }
  t.pass('200 histories');
  t.equal(new TransferState(0).done, true, 'an empty file is complete at once');
  t.end();
});
