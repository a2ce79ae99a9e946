import type { BusOptions } from '../bus/bus.js';
import type { Log } from '../log.js';
import { runActor, type Part } from './run.js';
import { stopInWaves, type Stoppable } from './waves.js';

export interface OneProcessOptions<S> {
  readonly parts: readonly Part<S>[];
  readonly settings: S;
  readonly connection: Omit<BusOptions, 'name'>;
  readonly log: (task: string) => Log;
}

/** As long as a supervisor gives its processes, milliseconds. */
const STOP = { limitMs: 14_000, reserveMs: 2000 };

/** Runs actors in this process. Nobody restarts one here: if one fails, all end, and systemd decides. */
export class OneProcess<S> {
  readonly #options: OneProcessOptions<S>;

  constructor(options: OneProcessOptions<S>) {
    this.#options = options;
  }

  /** Runs until `signal`, then stops every actor, the last of the cast first. Throws what the first one failed of. */
  async run(signal: AbortSignal): Promise<void> {
    const { parts, settings, connection, log } = this.#options;
    const actors: (Stoppable & { readonly ended: Promise<void> })[] = [];
    const stopped = new Promise<void>((resolve) => {
      const stop = (): void => {
        resolve();
      };
      if (signal.aborted) stop();
      else signal.addEventListener('abort', stop, { once: true });
    });
    for (const part of signal.aborted ? [] : parts) {
      const controller = new AbortController();
      const ended = runActor(part, settings, {
        bus: { ...connection, name: part.task },
        log: log(part.task),
        signal: controller.signal,
        supervised: true,
      });
      actors.push({
        wave: part.wave ?? 0,
        stop: () => {
          controller.abort();
        },
        // It ends with the process.
        kill: () => {
          log(part.task).error('did not end in time');
        },
        ended,
      });
    }
    try {
      await Promise.race([stopped, ...actors.map(({ ended }) => ended)]);
    } finally {
      await stopInWaves(actors, STOP);
    }
  }
}
