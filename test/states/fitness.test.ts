import t from 'tap';
import type { MachineStats } from '../../src/protocols/fields.js';
import { findShortage } from '../../src/states/fitness.js';

const MB = 1024 ** 2;
const THRESHOLDS = { diskFree: 1000 * MB, memoryFree: 100 * MB, load: 4, temperature: 80 };
const fit: MachineStats = [9000 * MB, 1000 * MB, 900 * MB, 100 * MB, 4, 80];

void t.test('a machine is given work as long as nothing is beyond its threshold', (t) => {
  const but = (at: number, value: number | null): MachineStats => fit.with(at, value) as MachineStats;
  t.equal(findShortage(fit, THRESHOLDS), undefined);
  t.match(findShortage(but(1, 999 * MB), THRESHOLDS), {
    of: 'disk',
    text: '999 MB of disk are free, and 1000 MB are needed',
  });
  t.match(findShortage(but(3, 99.5 * MB), THRESHOLDS), {
    of: 'memory',
    text: '99 MB of memory are free, and 100 MB are needed',
  });
  t.match(findShortage(but(4, 4.04), THRESHOLDS), { of: 'load', text: 'its load is 4.0, and may be 4' });
  t.match(findShortage(but(5, 81), THRESHOLDS), { of: 'temperature', text: 'it has 81 °C, and may have 80' });
  t.equal(findShortage(but(5, null), THRESHOLDS), undefined, 'where the kernel does not tell it');
  const noThresholds = { diskFree: 0, memoryFree: 0, load: 0, temperature: 0 };
  t.equal(findShortage([1, 0, 1, 0, 1000, 1000], noThresholds), undefined, 'without thresholds');
  t.end();
});
