import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import t from 'tap';
import { treeOf } from '../../src/builder/process-tree.js';
import { findBuildProcesses, ticksSinceBoot } from '../../src/builder/processes.js';
import { temporaryFolder } from './workshop.js';

const onlyLinux = process.platform === 'linux' ? {} : { skip: 'needs Linux' };

/** Starts a shell that starts a shell that starts a program, and returns the ids of the three processes. */
async function spawnThreeGenerations(folder: string) {
  const script = 'sh -c \'sleep 3600 & echo "$PPID $$ $!"; wait\' & wait';
  const child = spawn('/bin/sh', ['-c', script], {
    env: { PATH: process.env['PATH'], PIW_BUILD: folder },
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
  t.teardown(() => {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  });
  for await (const line of createInterface(child.stdout)) return line.split(' ').map(Number);
  throw new Error('the shell printed nothing');
}

t.test('the tree of a process consists of the process and its descendants', onlyLinux, async (t) => {
  const [first = 0, second = 0, third = 0] = await spawnThreeGenerations(temporaryFolder(t));
  await spawnThreeGenerations(temporaryFolder(t));
  t.strictSame(
    [...treeOf(first)],
    [
      [first, [second]],
      [second, [third]],
      [third, []],
    ],
  );
  t.ok(treeOf(process.pid).has(third));
});

t.test(
  'the processes of a build are found by its mark, among processes that are not older',
  onlyLinux,
  async (t) => {
    const folder = temporaryFolder(t);
    const ticksBefore = ticksSinceBoot();
    const pids = await spawnThreeGenerations(folder);
    const sorted = (ids: readonly number[]): readonly number[] => [...ids].sort((a, b) => a - b);
    t.ok(ticksBefore > 0);
    t.strictSame(sorted(await findBuildProcesses(folder)), sorted(pids));
    t.strictSame(sorted(await findBuildProcesses(folder, ticksBefore)), sorted(pids));
    t.strictSame(await findBuildProcesses(folder, ticksSinceBoot() + 100), []);
  },
);
