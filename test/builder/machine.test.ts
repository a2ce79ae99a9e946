import { statfsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { machineStats } from '../../src/builder/machine.js';
import { temporaryFolder } from './workshop.js';

t.test('what is left of a disk is known also where the folder of builds was cleared away', async (t) => {
  const folder = temporaryFolder(t);
  const { bsize, blocks } = statfsSync(folder);
  const [disk, free, memory, unused, load] = await machineStats(join(folder, 'gone', 'with it'));
  t.equal(disk, bsize * blocks);
  t.ok(free > 0 && free <= disk);
  t.ok(unused > 0 && unused <= memory);
  t.ok(load >= 0);
});
