import t from 'tap';
import type { Stats } from '../../src/protocols/fields.js';
import { unfit } from '../../src/states/fitness.js';

const MB = 1024 ** 2;
const LEAST = { diskFree: 1000 * MB, memoryFree: 100 * MB, load: 4, temperature: 80 };
const fit: Stats = [9000 * MB, 1000 * MB, 900 * MB, 100 * MB, 4, 80];

void t.test('a machine is given work as long as nothing is beyond its threshold', (t) => {
  const but = (at: number, value: number | null): Stats => fit.with(at, value) as Stats;
  t.equal(unfit(fit, LEAST), undefined);
  t.match(unfit(but(1, 999 * MB), LEAST), {
    of: 'disk',
    text: '999 MB of disk are free, and 1000 MB are needed',
  });
  t.match(unfit(but(3, 99.5 * MB), LEAST), {
    of: 'memory',
    text: '99 MB of memory are free, and 100 MB are needed',
  });
  t.match(unfit(but(4, 4.04), LEAST), { of: 'load', text: 'its load is 4.0, and may be 4' });
  t.match(unfit(but(5, 81), LEAST), { of: 'temperature', text: 'it has 81 °C, and may have 80' });
  t.equal(unfit(but(5, null), LEAST), undefined, 'where the kernel does not tell it');
  const none = { diskFree: 0, memoryFree: 0, load: 0, temperature: 0 };
  t.equal(unfit([1, 0, 1, 0, 1000, 1000], none), undefined, 'without thresholds');
  t.end();
});
