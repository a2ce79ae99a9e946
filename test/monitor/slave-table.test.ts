import t from 'tap';
import { slaveTable } from '../../src/monitor/slave-table.js';

const slave = {
  user: 'pi',
  abi: 'cp311',
  platform: 'linux_armv7l',
  state: 'idle',
  since: 0,
  last_seen: 0,
  stats: null,
  package: null,
  version: null,
};

t.test('control characters in what a slave reports are removed', (t) => {
  const rows = [
    { ...slave, slave_id: 2, label: 'attic\u001b[2J', note: 'hot\nand\u009b1;1H cold' },
    { ...slave, slave_id: 1, label: 'cellar', note: null },
  ];
  const [, first, second] = slaveTable(rows, 90_000);
  t.match(first, /^1 {2}cellar +cp311 linux_armv7l +idle +90 s$/);
  t.match(second, /^2 {2}attic \[2J +cp311 linux_armv7l +idle +90 s +hot and 1;1H cold$/);
  t.end();
});
