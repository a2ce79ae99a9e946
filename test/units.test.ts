import t from 'tap';
import { formatQuantity } from '../src/units.js';
import { formatBytes } from '../src/monitor/figures.js';

t.test('a noun after a number is in the plural, unless the number is 1', (t) => {
  t.same(
    [0, 1, 2, 1234567].map((n) => formatQuantity(n, 'build')),
    ['0 builds', '1 build', '2 builds', '1,234,567 builds'],
  );
  t.equal(formatQuantity(1, 'process', 'processes'), '1 process');
  t.equal(formatQuantity(1000, 'process', 'processes'), '1,000 processes');
  t.same([1, 999, 1000].map(formatBytes), ['1 byte', '999 bytes', '1.00 kB']);
  t.end();
});
