import { availableParallelism } from 'node:os';
import type { Bus } from '../bus/bus.js';
import type { Log } from '../log.js';
import { Child, type ChildSpec } from './child.js';
import { aborted } from '../concurrency/abort.js';
import type { BackOff } from '../concurrency/back-off.js';
import { RESTART_BACK_OFF } from '../concurrency/restart-policy.js';
import { Semaphore } from '../concurrency/semaphore.js';
import { stopInWaves } from './waves.js';

export type { ChildSpec } from './child.js';

/** How many of the children are ready. */
export interface StartProgress {
  readonly ready: number;
  readonly of: number;
  /** The children that are not ready, with their state: `the-oracle (starting, 12 s)`. */
  readonly missing: readonly string[];
}

export interface SupervisorOptions {
  readonly children: readonly ChildSpec[];
  readonly env: NodeJS.ProcessEnv;
  readonly log: Log;
  /** For pings; without it the supervisor watches only heartbeats. */
  readonly bus?: Bus;
  /** Milliseconds between checks for a heartbeat; by default one second. */
  readonly checkIntervalMs?: number;
  /** The pauses before restarts; by default RESTART_BACK_OFF. */
  readonly backOff?: BackOff;
  /** How many start at once; by default as many as there are processors, at least two. */
  readonly maxConcurrentStarts?: number;
  /** Called once a second until all are ready. */
  readonly onProgress?: (progress: StartProgress) => void;
}

const CHECK_INTERVAL_MS = 1000;
const PING_INTERVAL_MS = 10_000;
/** Seconds between two log lines about a start that takes long. */
const REPORT_INTERVAL_S = 10;
/**
 * The time limit for stopping everything, and the reserve for each later wave, milliseconds (src/actor/waves.ts).
 * With the time that a master itself takes, the total stays below 20 s.
 */
const STOP_LIMITS = { limitMs: 14_000, reserveMs: 2000 };
/** If NATS does not answer a ping within this time at the end, milliseconds, it counts as down. */
const NATS_PING_TIMEOUT_MS = 1000;

/**
 * Starts the children in order, a few at a time, and keeps each alive (src/actor/child.ts), as OTP's one_for_one does.
 * When one fails for good, it stops the others, and run() throws the error. Failures are counted for each child
 * separately: ten tasks that are each killed once are not a failing task.
 */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #children: readonly Child[];

  constructor(options: SupervisorOptions) {
    this.#options = options;
    const { env, log, checkIntervalMs = CHECK_INTERVAL_MS, backOff = RESTART_BACK_OFF } = options;
    const starts = new Semaphore(options.maxConcurrentStarts ?? Math.max(2, availableParallelism()));
    this.#children = options.children.map(
      (spec, index) => new Child({ spec, env, log, startSemaphore: starts, checkIntervalMs, backOff }, index),
    );
  }

  /** Runs until `signal`, then stops every child, the last of the cast first. */
  async run(signal: AbortSignal): Promise<void> {
    const pingTimer = setInterval(() => void this.#ping(), PING_INTERVAL_MS);
    const reportTimer = this.#startReporting();
    try {
      if (!signal.aborted)
        await Promise.race([aborted(signal), ...this.#children.map((child) => child.keepAlive())]);
    } finally {
      clearInterval(pingTimer);
      clearInterval(reportTimer);
      // To finish, a child may need NATS and the children started before it. Without NATS none can finish in order.
      await stopInWaves(this.#children, { ...STOP_LIMITS, atOnce: !(await this.#isNatsResponsive()) });
    }
  }

  async #isNatsResponsive(): Promise<boolean> {
    const { bus } = this.#options;
    if (!bus) return true;
    return await bus.rtt(NATS_PING_TIMEOUT_MS).then(
      () => true,
      () => false,
    );
  }

  async #ping(): Promise<void> {
    const { bus } = this.#options;
    if (!bus) return;
    try {
      await bus.rtt();
    } catch {
      // The server or the connection is down, so a missing answer would say nothing about the children.
      return;
    }
    await Promise.all(this.#children.map((child) => child.ping(bus)));
  }

  /** Reports the progress of the start until all children are ready. */
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
        log.info('all tasks are ready', { tasks: of, after_s: seconds });
      } else if (seconds % REPORT_INTERVAL_S === 0)
        log.info('starting the tasks', { ready, tasks: of, waiting_for: missing });
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
