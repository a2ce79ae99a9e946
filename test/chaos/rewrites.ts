/**
 * While one process rewrites the pages of the simple index as fast as it can, others read every page and
 * every file that it lists, from the file system and from our own web server, and compare what they get with
 * what was written.
 *
 *     node dist/test/chaos/rewrites.js [--reads 1000000] [--way right]
 *
 * In memory (TMPDIR=/dev/shm) several times as much is written. `--way` selects a faulty writer (torn, early,
 * late, back), which must end the run with faults at once. Prints progress and a summary; exits with 1 if
 * there were faults.
 */
import { parseArgs } from 'node:util';
import { runRewrites } from './rewrites/run.js';
import type { WriteMode } from './rewrites/writer.js';

const { values } = parseArgs({
  options: { reads: { type: 'string', default: '1000000' }, way: { type: 'string', default: 'right' } },
});
const formatCount = (count: number): string => count.toLocaleString('en');
let lastReportAt = performance.now();

const { reads, http, states, seconds, faults } = await runRewrites({
  reads: Number(values.reads),
  writeMode: values.way as WriteMode,
  readers: [1, 1],
  progress: (done, written) => {
    if (performance.now() - lastReportAt < 10_000) return;
    lastReportAt = performance.now();
    console.log(`${formatCount(done)} reads, ${formatCount(written)} states written`);
  },
});
for (const fault of faults) console.log(fault);
console.log(
  `${formatCount(reads)} reads (${formatCount(http)} over HTTP) of ${formatCount(states)} states in ${seconds.toFixed(0)} s, ` +
    `${formatCount(Math.round(reads / seconds))} a second: ${formatCount(faults.length)} faults`,
);
process.exitCode = faults.length === 0 ? 0 : 1;
