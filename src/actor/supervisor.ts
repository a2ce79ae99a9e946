import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import type { Bus } from '../bus/bus.js';
import { PiwError, reason } from '../errors.js';
import type { Log } from '../log.js';
import { actorPing } from '../protocols/control.js';
import { Client } from './client.js';
import { STOOD_DOWN, STOP_LIMIT_MS } from './run.js';

/** One process to keep alive. */
export interface ChildSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
}

export interface SupervisorOptions {
  readonly children: readonly ChildSpec[];
  readonly env: NodeJS.ProcessEnv;
  readonly log: Log;
  /** For the ping; without it only the heartbeat is watched. */
  readonly bus?: Bus;
  /** How often a heartbeat is looked for, milliseconds; a second if nothing is said. */
  readonly lookEveryMs?: number;
}

/** Restarts of one child within RESTART_WINDOW_MS that are one too many. */
const MAX_RESTARTS = 5;
const RESTART_WINDOW_MS = 60_000;
const BACK_OFF_MS = { first: 500, most: 30_000 };
/**
 * A process of which so many looks in a row found no beat is stuck: for 15 seconds in which the supervisor had time
 * to look. When the whole machine stood still (it slept, or was too busy), nobody is at fault.
 */
const LOOKS_WITHOUT_BEAT = 15;
const LOOK_EVERY_MS = 1000;
const PING_EVERY_MS = 5000;
const PINGS_MISSED = 3;

/**
 * Starts the children in order and keeps each alive, as in OTP's one_for_one. A child is
 *
 *   running   it beats once a second over IPC, and answers a ping over NATS
 *   waiting   it ended; it is started again after 0.5 s, twice as long at each further time, at most
 *             30 s, with up to a quarter more at random
 *   stopping  it was told to end, and is killed if it doesn't within STOP_LIMIT_MS
 *
 * A child that doesn't beat, or doesn't answer while the supervisor's own connection does, is killed,
 * which brings it to waiting like any other end. A single that stood down (it lost its lease) is
 * started again at once: that is no failure. A child that ends more than MAX_RESTARTS times within a
 * minute escalates: the others are stopped in reverse order, and run() raises PIW_ACTOR_FAILING.
 * They are counted for each child: ten tasks that are each killed once are no failing task.
 */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #children: readonly Child[];
  #escalate: (error: Error) => void = () => undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#children = options.children.map(
      (spec) =>
        new Child(spec, options, (error) => {
          this.#escalate(error);
        }),
    );
  }

  /** Runs until `signal`, then stops every child in reverse order. */
  async run(signal: AbortSignal): Promise<void> {
    const escalated = new Promise<never>((_, reject) => (this.#escalate = reject));
    const stopped = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener(
        'abort',
        () => {
          resolve();
        },
        { once: true },
      );
    });
    const pings = setInterval(() => void this.#ping(), PING_EVERY_MS);
    try {
      for (const child of this.#children) child.start();
      await Promise.race([stopped, escalated]);
    } finally {
      clearInterval(pings);
      for (const child of [...this.#children].reverse()) await child.stop();
    }
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
}

class Child {
  readonly #spec: ChildSpec;
  readonly #options: SupervisorOptions;
  readonly #failed: (error: Error) => void;
  readonly #log: Log;
  #process: ChildProcess | undefined;
  #instance = '';
  #ended: Promise<void> = Promise.resolve();
  #restarts: number[] = [];
  #stopping = false;
  #silent = 0;
  #missed = 0;
  #answered = false;
  #watch: NodeJS.Timeout | undefined;
  #again: NodeJS.Timeout | undefined;

  constructor(spec: ChildSpec, options: SupervisorOptions, failed: (error: Error) => void) {
    this.#spec = spec;
    this.#options = options;
    this.#failed = failed;
    this.#log = options.log;
  }

  start(): void {
    if (this.#stopping) return;
    this.#instance = randomUUID();
    this.#missed = 0;
    this.#answered = false;
    this.#silent = 0;
    const child = spawn(this.#spec.command, this.#spec.args, {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...this.#options.env, PIW_INSTANCE: this.#instance },
    });
    this.#process = child;
    child.on('message', () => (this.#silent = 0));
    this.#watch = setInterval(() => {
      this.#silent += 1;
      if (this.#silent > LOOKS_WITHOUT_BEAT) this.#kill('its event loop is stuck');
    }, this.#options.lookEveryMs ?? LOOK_EVERY_MS);
    this.#ended = new Promise((resolve) => {
      let over = false;
      const end = (why: string, code: number | null) => {
        if (over) return;
        over = true;
        clearInterval(this.#watch);
        this.#process = undefined;
        resolve();
        this.#restart(why, code);
      };
      child.once('error', (error) => {
        end(reason(error), null);
      });
      child.once('exit', (code, sig) => {
        end(sig ? `was ended by ${sig}` : `ended with exit code ${String(code)}`, code);
      });
    });
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#again);
    this.#process?.kill('SIGTERM');
    const hard = setTimeout(() => {
      this.#kill('it did not end in time');
    }, STOP_LIMIT_MS + 2000);
    await this.#ended;
    clearTimeout(hard);
  }

  /** Asks it over NATS whether it is there; one that was and isn't any more is killed. */
  async ping(bus: Bus): Promise<void> {
    const instance = this.#instance;
    if (!this.#process || this.#stopping) return;
    try {
      await new Client(bus, actorPing, [actorPing.name, instance]).ask('PING', {}, { timeoutMs: 2000 });
      this.#missed = 0;
      this.#answered = true;
    } catch {
      if (!this.#answered || instance !== this.#instance) return;
      this.#missed += 1;
      if (this.#missed >= PINGS_MISSED) this.#kill('it does not answer over NATS');
    }
  }

  #kill(why: string): void {
    this.#log.error(`${this.#spec.name} is killed: ${why}`);
    this.#process?.kill('SIGKILL');
  }

  #restart(why: string, code: number | null): void {
    if (this.#stopping) return;
    const now = performance.now();
    if (code === STOOD_DOWN) {
      this.#again = setTimeout(() => {
        this.start();
      }, BACK_OFF_MS.first);
      return;
    }
    this.#restarts = [...this.#restarts.filter((at) => now - at < RESTART_WINDOW_MS), now];
    const times = this.#restarts.length;
    if (times > MAX_RESTARTS) {
      const text = `${this.#spec.name} ${why}, ${String(times)} times within a minute`;
      this.#failed(new PiwError('PIW_ACTOR_FAILING', text));
      return;
    }
    const pause = Math.min(BACK_OFF_MS.first * 2 ** (times - 1), BACK_OFF_MS.most) * (1 + Math.random() / 4);
    this.#log.warning(`${this.#spec.name} ${why}; starting it again in ${(pause / 1000).toFixed(1)} s`);
    this.#again = setTimeout(() => {
      this.start();
    }, pause);
  }
}
