/** Watches a build for a while, as a slave does: `watcher-process.js FOLDER PID SECONDS`; PID 0 means no build. */
import { setTimeout as sleep } from 'node:timers/promises';
import { DEFAULT_BUILD_LIMITS } from '../../src/builder/limits.js';
import { ticksSinceBoot } from '../../src/builder/processes.js';
import { watchBuild } from '../../src/builder/watch.js';

export interface WatcherReport {
  /** CPU time of the whole process. */
  readonly cpuMs: number;
  readonly seconds: number;
}

const [folder = '', pid = '0', seconds = '0'] = process.argv.slice(2);
const limits = { ...DEFAULT_BUILD_LIMITS, memory: 2 ** 40, diskFree: 1 };
const stop =
  Number(pid) === 0
    ? () => undefined
    : watchBuild({ folder, pid: Number(pid), since: ticksSinceBoot() - 1000 }, limits, {
        onLimit: (ending) => {
          throw new Error(`the build exceeds a limit: ${ending}`);
        },
        onNote: (line) => {
          throw new Error(line);
        },
      });
// Excludes what the first checks load and compile.
await sleep(2500);
const before = process.cpuUsage();
const startedAt = performance.now();
await sleep(Number(seconds) * 1000);
const { user, system } = process.cpuUsage(before);
const report: WatcherReport = {
  cpuMs: (user + system) / 1000,
  seconds: (performance.now() - startedAt) / 1000,
};
stop();
process.send?.(report);
process.disconnect();
