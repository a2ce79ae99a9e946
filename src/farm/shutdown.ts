import { stopInWaves, type Stoppable } from '../actor/waves.js';
import { deferred } from '../concurrency/deferred.js';
import type { ManagedProcess } from '../servers/process.js';

/**
 * The order of shutdown, highest wave first: slaves release their builds and the web server has its last downloads
 * counted while the master is still running; the master stops before the servers that it needs.
 */
export const WAVES = { slaves: 5, connection: 4, web: 4, master: 3, servers: 1, folder: 0 };
/** The time limit for the whole shutdown. Most of it is reserved for a master whose server hangs. */
const STOP_OPTIONS = {
  limitMs: 20_000,
  reserveMs: (wave: number): number => ({ [WAVES.master]: 12_000, [WAVES.servers]: 3000 })[wave] ?? 0,
};

/** Stops what a farm has started, wave by wave, even if the start was interrupted halfway. */
export class FarmShutdown {
  readonly #stoppables: Stoppable[] = [];

  /** Adds something to stop; `kill` ends it at once when the time is up. */
  add(wave: number, stop: () => Promise<void> | void, kill = (): void => undefined): void {
    const ended = deferred();
    const end = async (): Promise<void> => {
      await stop();
    };
    this.#stoppables.push({
      wave,
      ended: ended.promise,
      kill,
      stop: () => void end().finally(ended.resolve),
    });
  }

  addProcess(wave: number, child: ManagedProcess): void {
    this.add(
      wave,
      () => child.stop(),
      () => {
        child.kill();
      },
    );
  }

  /** Stops everything that was added, within STOP_OPTIONS.limitMs. */
  async run(): Promise<void> {
    await stopInWaves(this.#stoppables.splice(0), STOP_OPTIONS);
  }
}
