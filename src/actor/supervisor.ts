import { availableParallelism } from 'node:os';
import type { Bus } from '../bus/bus.js';
import type { Log } from '../log.js';
import { Child, type BackOff, type ChildSpec } from './child.js';
import { Semaphore } from './semaphore.js';
import { stopInWaves } from './waves.js';

export type { ChildSpec } from './child.js';

/** How far the children are. */
export interface StartProgress {
  readonly ready: number;
  readonly of: number;
  /** Those that are not ready, with what they do: `the-oracle (starting, 12 s)`. */
  readonly missing: readonly string[];
}

export interface SupervisorOptions {
  readonly children: readonly ChildSpec[];
  readonly env: NodeJS.ProcessEnv;
  readonly log: Log;
  /** For the ping; without it only the heartbeat is watched. */
  readonly bus?: Bus;
  /** Milliseconds between checks for a heartbeat; a second if left out. */
  readonly checkIntervalMs?: number;
  /** The pauses before a restart, milliseconds: the first, and the longest; 0.5 s and 30 s if left out. */
  readonly backOffMs?: BackOff;
  /** How many start at once; if left out, as many as there are processors, at least two. */
  readonly maxConcurrentStarts?: number;
  /** Called once a second until all are ready. */
  readonly onProgress?: (progress: StartProgress) => void;
}

const CHECK_INTERVAL_MS = 1000;
const BACK_OFF_MS = { initial: 500, max: 30_000 };
const PING_INTERVAL_MS = 10_000;
/** Seconds between two lines about a start that takes long. */
const REPORT_INTERVAL_S = 10;
/**
 * Everything is stopped within the first, milliseconds; what is left for each later wave when one doesn't end. With
 * what a master itself takes this stays below 20 s.
 */
const STOP_LIMITS = { limitMs: 14_000, reserveMs: 2000 };
/** A NATS server that takes longer to answer than this at the end is taken for absent, milliseconds. */
const NATS_PING_TIMEOUT_MS = 1000;

/**
 * Starts the children in order, a few at a time, and keeps each alive (src/actor/child.ts), as in OTP's one_for_one.
 * When one is given up, the others are stopped and run() throws why. They are counted for each child: ten tasks that
 * are each killed once are no failing task.
 */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #children: readonly Child[];

  constructor(options: SupervisorOptions) {
    this.#options = options;
    const { env, log, checkIntervalMs = CHECK_INTERVAL_MS, backOffMs = BACK_OFF_MS } = options;
    const starts = new Semaphore(options.maxConcurrentStarts ?? Math.max(2, availableParallelism()));
    this.#children = options.children.map(
      (spec, at) => new Child({ spec, env, log, startSemaphore: starts, checkIntervalMs, backOffMs }, at),
    );
  }

  /** Runs until `signal`, then stops every child, the last of the cast first. */
  async run(signal: AbortSignal): Promise<void> {
    const stopped = new Promise<void>((resolve) => {
      const stop = (): void => {
        resolve();
      };
      if (signal.aborted) stop();
      else signal.addEventListener('abort', stop, { once: true });
    });
    const pingTimer = setInterval(() => void this.#ping(), PING_INTERVAL_MS);
    const reportTimer = this.#startReporting();
    try {
      if (!signal.aborted) await Promise.race([stopped, ...this.#children.map((child) => child.keepAlive())]);
    } finally {
      clearInterval(pingTimer);
      clearInterval(reportTimer);
      // Each one may need NATS to finish, and those that were started before it; without NATS none of them can.
      await stopInWaves(this.#children, { ...STOP_LIMITS, atOnce: !(await this.#isNatsResponsive()) });
    }
  }

  async #isNatsResponsive(): Promise<boolean> {
    const { bus } = this.#options;
    if (!bus) return true;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, NATS_PING_TIMEOUT_MS, false);
    });
    const answer = bus.rtt().then(
      () => true,
      () => false,
    );
    const answers = await Promise.race([answer, late]);
    clearTimeout(timer);
    return answers;
  }

  async #ping(): Promise<void> {
    const { bus } = this.#options;
    if (!bus) return;
    try {
      await bus.rtt();
    } catch {
      // The server is away, or the connection is: then no answer says nothing about the children.
      return;
    }
    await Promise.all(this.#children.map((child) => child.ping(bus)));
  }

  /** Tells how far the start is, until all are ready. */
  #startReporting(): NodeJS.Timeout {
    const { log, onProgress } = this.#options;
    let seconds = 0;
    const timer = setInterval(() => {
      seconds += 1;
      const progress = this.#progress();
      onProgress?.(progress);
      const { ready, of, missing } = progress;
      if (ready === of) {
        clearInterval(timer);
        log.info(`all ${String(of)} tasks are ready after ${String(seconds)} s`);
      } else if (seconds % REPORT_INTERVAL_S === 0)
        log.info(
          `starting the tasks: ${String(ready)} of ${String(of)} ready; waiting for ${missing.join(', ')}`,
        );
    }, 1000);
    return timer;
  }

  #progress(): StartProgress {
    const missing = this.#children.filter((child) => !child.ready);
    return {
      ready: this.#children.length - missing.length,
      of: this.#children.length,
      missing: missing.map(
        ({ name, state: { state, ms } }) => `${name} (${state}, ${(ms / 1000).toFixed(0)} s)`,
      ),
    };
  }
}
