import t from 'tap';
import { readTap } from './tap-points.js';

const MIXED = `TAP version 14
# Subtest: A queue gives the newest first
    ok 1 - should be equal
    not ok 2 - one is two
      ---
      compare: ===
      ...
    1..2
not ok 1 - A queue gives the newest first # time=5.6ms
  ---
  at:
    fileName: queue.test.js
  ...

ok 2 - a bare \\# assertion
a line of the program under test
ok 3 - needs bubblewrap # SKIP not installed
ok 4 - buffered # time=2ms {
    ok 1 - should be equal
    1..1
}

1..4
# time=108.959ms
`;

t.test('top-level points are counted, and include their nested lines', (t) => {
  const { points, planned, bailout } = readTap(MIXED);
  t.equal(planned, 4);
  t.equal(bailout, null);
  t.strictSame(
    points.map(({ ok, title, skipped, isTest }) => ({ ok, title, skipped, isTest })),
    [
      { ok: false, title: 'A queue gives the newest first', skipped: false, isTest: true },
      { ok: true, title: 'a bare # assertion', skipped: false, isTest: false },
      { ok: true, title: 'needs bubblewrap', skipped: true, isTest: false },
      { ok: true, title: 'buffered', skipped: false, isTest: true },
    ],
  );
  t.ok(points[0]?.lines.includes('    not ok 2 - one is two'));
  t.ok(points[0]?.lines.includes('    fileName: queue.test.js'));
  t.notOk(points[1]?.lines.includes('a line of the program under test'));
  t.end();
});

t.test('a truncated file has no plan', (t) => {
  t.equal(readTap('TAP version 14\nok 1 - one\n').planned, null);
  t.equal(readTap('').planned, null);
  t.strictSame(readTap('ok 1 - one\n# Subtest: two\n    not ok 1 - test unfinished\n1..1\n').unfinished, [
    '# Subtest: two',
    '    not ok 1 - test unfinished',
  ]);
  t.equal(readTap(MIXED).unfinished, null);
  t.end();
});

t.test('a file may skip itself, bail out, or have no tests', (t) => {
  t.match(readTap('1..0 # SKIP no bubblewrap here\n'), { planned: 0, skipAll: 'no bubblewrap here' });
  t.match(readTap('1..0 # no tests found\n'), { planned: 0, skipAll: null });
  t.equal(readTap('ok 1 - one\nBail out! the disk is full\n').bailout, 'the disk is full');
  t.end();
});
