import t from 'tap';
import type { MachineStats } from '../../src/model/fields.js';
import { findShortage } from '../../src/builder/resource-shortage.js';

const MB = 1024 ** 2;
const THRESHOLDS = { diskFree: 1000 * MB, memoryFree: 100 * MB, load: 4, temperature: 80 };
const fit: MachineStats = [9000 * MB, 1000 * MB, 900 * MB, 100 * MB, 4, 80];

void t.test('a machine gets builds while no value is beyond its threshold', (t) => {
  const statsWith = (index: number, value: number | null): MachineStats =>
    fit.with(index, value) as MachineStats;
  t.equal(findShortage(fit, THRESHOLDS), undefined);
  t.match(findShortage(statsWith(1, 999 * MB), THRESHOLDS), {
    of: 'disk',
    text: '999 MB of free disk is below the minimum of 1000 MB',
  });
  t.match(findShortage(statsWith(3, 99.5 * MB), THRESHOLDS), {
    of: 'memory',
    text: '99 MB of free memory is below the minimum of 100 MB',
  });
  t.match(findShortage(statsWith(4, 4.04), THRESHOLDS), {
    of: 'load',
    text: 'load 4.0 is above the limit of 4',
  });
  t.match(findShortage(statsWith(5, 81), THRESHOLDS), {
    of: 'temperature',
    text: 'temperature 81 °C is above the limit of 80 °C',
  });
  t.equal(
    findShortage(statsWith(5, null), THRESHOLDS),
    undefined,
    'the kernel may not report the temperature',
  );
  const noThresholds = { diskFree: 0, memoryFree: 0, load: 0, temperature: 0 };
  t.equal(findShortage([1, 0, 1, 0, 1000, 1000], noThresholds), undefined, 'without thresholds');
  t.end();
});
