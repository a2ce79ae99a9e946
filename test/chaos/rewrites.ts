/**
 * While one process rewrites the pages of the simple index as fast as it can, others read every page and every file
 * that it names, over the file system and through our own web server, and hold what they get against what was
 * written.
 *
 *     node dist/test/chaos/rewrites.js [--reads 1000000] [--way right]
 *
 * In memory (TMPDIR=/dev/shm) several times as much is written. `--way` is one of the ways in which a writer must
 * not write (torn, early, late, back), which must end at once with faults. Prints a line now and then, and what came
 * of it; exits with 1 if anything was wrong.
 */
import { parseArgs } from 'node:util';
import { rewrites } from './rewrites/run.js';
import type { Way } from './rewrites/writer.js';

const { values } = parseArgs({
  options: { reads: { type: 'string', default: '1000000' }, way: { type: 'string', default: 'right' } },
});
const number = (count: number): string => count.toLocaleString('en');
let said = performance.now();

const { reads, http, states, seconds, faults } = await rewrites({
  reads: Number(values.reads),
  way: values.way as Way,
  readers: [1, 1],
  progress: (done, written) => {
    if (performance.now() - said < 10_000) return;
    said = performance.now();
    console.log(`${number(done)} reads, ${number(written)} states written`);
  },
});
for (const fault of faults) console.log(fault);
console.log(
  `${number(reads)} reads (${number(http)} over HTTP) of ${number(states)} states in ${seconds.toFixed(0)} s, ` +
    `${number(Math.round(reads / seconds))} a second: ${number(faults.length)} faults`,
);
process.exitCode = faults.length === 0 ? 0 : 1;
