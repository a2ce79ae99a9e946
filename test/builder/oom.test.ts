import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { oomKills } from '../../src/builder/oom.js';
import { temporaryFolder } from './workshop.js';

const VMSTAT = 'nr_free_pages 1\noom_kill 7\nnuma_hit 5\n';
const EVENTS = 'low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n';

t.test('the kernel’s count of killed processes is read where the system provides it', async (t) => {
  for (const [files, expected] of [
    [{ 'proc/vmstat': VMSTAT }, 7],
    [{ 'proc/vmstat': VMSTAT, 'proc/self/cgroup': '4:memory:/x\n0::/\n' }, 7],
    [
      {
        'proc/vmstat': VMSTAT,
        'proc/self/cgroup': '0::/system.slice/piw-slave.service\n',
        'sys/fs/cgroup/system.slice/piw-slave.service/memory.events': EVENTS,
      },
      2,
    ],
    [{ 'proc/vmstat': 'nr_free_pages 1\n' }, undefined],
    [{}, undefined],
  ] as const) {
    const root = temporaryFolder(t);
    for (const [path, contents] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), contents);
    }
    t.equal(await oomKills(root), expected);
  }
  if (process.platform === 'linux') t.type(await oomKills(), 'number');
});
