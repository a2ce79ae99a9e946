import type { BusOptions } from '../bus/bus.js';
import { aborted } from '../concurrency/abort.js';
import { pause } from '../concurrency/pause.js';
import { RESTART_BACK_OFF, RestartPolicy } from '../concurrency/restart-policy.js';
import { systemClock } from '../concurrency/clock.js';
import { PiwError, hasCode } from '../errors.js';
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

/** The exit code of the errors that say that a server is out of reach, which is no failure of the actor. */
const UNREACHABLE_EXIT_CODE = 5;
/** After this long at work, milliseconds, an actor's earlier ends no longer count. */
const HEALTHY_MS = 60_000;

/**
 * Runs actors in this process. As under a supervisor, a single that has lost its lease starts again, standing by, and so
 * does an actor whose server is out of reach. If an actor fails in any other way, all end, and systemd decides what to
 * do.
 */
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
    const { specs, log } = this.#options;
    const actors: (Stoppable & { readonly ended: Promise<void> })[] = [];
    for (const spec of signal.aborted ? [] : specs) {
      const controller = new AbortController();
      const ended = this.#keepAlive(spec, controller.signal);
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

  /** Runs an actor until `signal` or until it is told to end. Throws the error that is not a reason to start it again. */
  async #keepAlive(spec: ActorSpec<S>, signal: AbortSignal): Promise<void> {
    const { settings, connection } = this.#options;
    const log = this.#options.log(spec.task);
    const restartPolicy = new RestartPolicy();
    let atWorkSince = Infinity;
    while (!signal.aborted) {
      try {
        await runActor(spec, settings, {
          bus: { ...connection, name: spec.task },
          log,
          signal,
          supervised: true,
          onState: (state) => {
            atWorkSince = state === 'at work' ? performance.now() : Infinity;
          },
        });
        return;
      } catch (error) {
        const pauseMs = restartDelayMs(error, restartPolicy, performance.now() - atWorkSince >= HEALTHY_MS);
        if (pauseMs === undefined) throw error;
        log.warning('task ended, starting it again', { delay_s: Number((pauseMs / 1000).toFixed(1)) }, error);
        await pause(systemClock, pauseMs, signal);
      }
    }
  }
}

/** Returns the pause before an actor that ended with `error` starts again, milliseconds; undefined if it does not. */
function restartDelayMs(error: unknown, restartPolicy: RestartPolicy, healthy: boolean): number | undefined {
  if (hasCode(error, 'PIW_NOT_LEADER')) return RESTART_BACK_OFF.firstMs;
  const excused = error instanceof PiwError && error.exitCode === UNREACHABLE_EXIT_CODE;
  // A newer holder of the lease may have written to the database before this one noticed its loss.
  if (!excused && !hasCode(error, 'PIW_FENCED')) return undefined;
  return restartPolicy.recordExit({ healthy, excused });
}
