import type { BusOptions } from '../bus/bus.js';
import { aborted } from '../concurrency/abort.js';
import type { Log } from '../log.js';
import { runActor, type ActorSpec } from './run.js';
import { stopInWaves, type Stoppable } from './waves.js';

interface SingleProcessOptions<S> {
  readonly specs: readonly ActorSpec<S>[];
  readonly settings: S;
  readonly connection: Omit<BusOptions, 'name'>;
  readonly log: (task: string) => Log;
}

/** The same limits as for a supervisor's processes, milliseconds. */
const STOP_LIMITS = { limitMs: 14_000, reserveMs: 2000 };

/** Runs actors in this process. Here nothing restarts them: if one fails, all end, and systemd decides what to do. */
export class SingleProcessRunner<S> {
  readonly #options: SingleProcessOptions<S>;

  constructor(options: SingleProcessOptions<S>) {
    this.#options = options;
  }

  /**
   * Runs until `signal`, then stops every actor, the last of the cast first. Throws the error of the first that
   * fails.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { specs, settings, connection, log } = this.#options;
    const actors: (Stoppable & { readonly ended: Promise<void> })[] = [];
    for (const spec of signal.aborted ? [] : specs) {
      const controller = new AbortController();
      const ended = runActor(spec, settings, {
        bus: { ...connection, name: spec.task },
        log: log(spec.task),
        signal: controller.signal,
        supervised: true,
      });
      actors.push({
        wave: spec.wave ?? 0,
        stop: () => {
          controller.abort();
        },
        // An actor can't be killed alone; it ends with the process.
        kill: () => {
          log(spec.task).error('did not end in time');
        },
        ended,
      });
    }
    try {
      await Promise.race([aborted(signal), ...actors.map(({ ended }) => ended)]);
    } finally {
      await stopInWaves(actors, STOP_LIMITS);
    }
  }
}
