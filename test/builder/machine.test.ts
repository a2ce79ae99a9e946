import { statfsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { machineStats } from '../../src/builder/machine.js';
import { temporaryFolder } from './workshop.js';

t.test('the free disk space is known even if the work folder was removed', async (t) => {
  const folder = temporaryFolder(t);
  const { bsize, blocks } = statfsSync(folder);
  const [disk, diskFree, memory, memoryFree, load] = await machineStats(join(folder, 'gone', 'with it'));
  t.equal(disk, bsize * blocks);
  t.ok(diskFree > 0 && diskFree <= disk);
  t.ok(memoryFree > 0 && memoryFree <= memory);
  t.ok(load >= 0);
});
