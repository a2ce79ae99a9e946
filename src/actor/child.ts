import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import type { Bus } from '../bus/bus.js';
import { PiwError, errorMessage } from '../errors.js';
import type { Log } from '../log.js';
import { actorPing } from '../protocols/control.js';
import { SilenceMeter } from './activity.js';
import { ProtocolClient } from './client.js';
import { LEASE_LOST_EXIT_CODE, type ActorState, type ChildMessage } from './process.js';
import type { Semaphore } from './semaphore.js';
import type { Stoppable } from './waves.js';

/** One process to keep alive. */
export interface ChildSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** When it is stopped, see src/actor/waves.ts; before those that come before it, if left out. */
  readonly wave?: number;
}

export interface ChildOptions {
  readonly spec: ChildSpec;
  readonly env: NodeJS.ProcessEnv;
  readonly log: Log;
  /** Held from the start of a process to its first beat. */
  readonly startSemaphore: Semaphore;
  /** Milliseconds between checks for a heartbeat. */
  readonly checkIntervalMs: number;
  readonly backOffMs: BackOff;
}

/** The pause after the first failure, and the longest, milliseconds. */
export interface BackOff {
  readonly initial: number;
  readonly max: number;
}

/** How a process ended. */
interface ChildExit {
  readonly description: string;
  readonly code: number | null;
  readonly failure: PiwError | undefined;
}

/** Failures in a row after which a child is given up. */
const MAX_FAILURES = 5;
/**
 * Checks without a beat after which a process is stuck, see SilenceMeter: while it works; until its first beat; and
 * until then however little of the processor it got, which is a quarter of an hour.
 */
const STUCK_CHECKS = { working: 15, starting: 120, startingTotal: 900 };
/** So many checks with the actor at work make up for all failures before. */
const HEALTHY_CHECKS = 60;
/** Unanswered pings in a row, of a process that beats, after which its connection is taken for broken. */
const MAX_MISSED_PINGS = 4;
const PING_TIMEOUT_MS = 8000;
/** A process that did not beat so often since the last ping had no time to answer. */
const MIN_HEARTBEATS_PER_PING = 5;
/** What starting it again would not change: its configuration is wrong, another farm is in the way, or
 * something is of another version.
 */
const PERMANENT_EXIT_CODES: ReadonlySet<number | null> = new Set([2, 4, 6]);
/** A server is out of reach: that is no fault of the child's. */
const UNREACHABLE_EXIT_CODE = 5;
/** How long the last messages of a process that has ended may take, milliseconds. */
const LAST_MESSAGES_TIMEOUT_MS = 1000;

/**
 * A process that is kept alive. It is
 *
 *   queued    until few enough others are starting
 *   starting  from spawn to its first beat, which says that its code is loaded
 *   running   it beats once a second over IPC, and answers a ping over NATS
 *   waiting   it ended; it is started again after 0.5 s, twice as long after each further failure in a row, at most
 *             30 s, with up to a quarter more at random
 *   stopping  it was told to end
 *
 * One that is silent for too long while it could have run, or doesn't answer over NATS while the supervisor's own
 * connection does, is killed, which brings it to waiting like any other end. A single that lost its lease is started
 * again at once: that is no failure. Nor is a server out of reach, though the pauses become longer. Failures in a row
 * are those between which it was not at work for HEALTHY_CHECKS; after MAX_FAILURES of them keepAlive() throws
 * PIW_ACTOR_FAILING. What ended for its configuration is not started again: keepAlive() throws the same error.
 */
export class Child implements Stoppable {
  readonly wave: number;
  readonly #options: ChildOptions;
  readonly #stopping = new AbortController();
  #ended: Promise<void> = Promise.resolve();
  #process: ChildProcess | undefined;
  #instance = '';
  #silence = new SilenceMeter(undefined);
  #state: ActorState | 'starting' | 'queued' | 'waiting' = 'queued';
  #stateSince = performance.now();
  #heartbeats = 0;
  #healthyChecks = 0;
  #failures = 0;
  #unreachableExits = 0;
  #missedPings = 0;
  #hasAnsweredPing = false;
  #reportedFailure: PiwError | undefined;
  #onFirstHeartbeat = (): void => undefined;

  constructor(options: ChildOptions, wave: number) {
    this.#options = options;
    this.wave = options.spec.wave ?? wave;
  }

  get name(): string {
    return this.#options.spec.name;
  }

  /** What it does, and for how many milliseconds. */
  get state(): { readonly state: string; readonly ms: number } {
    return { state: this.#state, ms: performance.now() - this.#stateSince };
  }

  /** At work, or ready to take over. */
  get ready(): boolean {
    return this.#state === 'at work' || this.#state === 'standing by';
  }

  get ended(): Promise<void> {
    return this.#ended;
  }

  /** Resolves when it has ended after stop(). Throws when it is given up. */
  keepAlive(): Promise<void> {
    const keeping = this.#keepAlive();
    this.#ended = keeping.catch(() => undefined);
    return keeping;
  }

  stop(): void {
    this.#stopping.abort();
    this.#process?.kill('SIGTERM');
  }

  kill(cause = 'it did not end in time'): void {
    if (!this.#process) return;
    this.#options.log.error(`${this.name} is killed: ${cause}`);
    this.#process.kill('SIGKILL');
  }

  /** Asks over NATS whether it is there; kills one that has answered before and doesn't any more. */
  async ping(bus: Bus): Promise<void> {
    const instance = this.#instance;
    if (!this.#process || this.#isStopping()) return;
    const before = this.#heartbeats;
    try {
      const client = new ProtocolClient(bus, actorPing, [actorPing.name, instance]);
      await client.request('PING', {}, { timeoutMs: PING_TIMEOUT_MS });
      this.#missedPings = 0;
      this.#hasAnsweredPing = true;
    } catch {
      const slow = this.#heartbeats - before < MIN_HEARTBEATS_PER_PING;
      if (slow || !this.#hasAnsweredPing || instance !== this.#instance) return;
      this.#missedPings += 1;
      if (this.#missedPings >= MAX_MISSED_PINGS) this.kill('it does not answer over NATS');
    }
  }

  async #keepAlive(): Promise<void> {
    const stopped = new Promise<undefined>((resolve) => {
      this.#stopping.signal.addEventListener(
        'abort',
        () => {
          resolve(undefined);
        },
        { once: true },
      );
    });
    while (!this.#isStopping()) {
      this.#setState('queued');
      const acquiring = this.#options.startSemaphore.acquire();
      const release = await Promise.race([acquiring, stopped]);
      if (!release || this.#isStopping()) {
        void acquiring.then((late) => {
          late();
        });
        return;
      }
      this.#onFirstHeartbeat = release;
      const end = await this.#run();
      release();
      if (this.#isStopping()) return;
      this.#setState('waiting');
      const pauseMs = this.#restartDelayMs(end);
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([new Promise((resolve) => (timer = setTimeout(resolve, pauseMs))), stopped]);
      clearTimeout(timer);
    }
  }

  /** Runs it once, to its end. */
  async #run(): Promise<ChildExit> {
    const { spec, env, checkIntervalMs } = this.#options;
    this.#instance = randomUUID();
    [this.#heartbeats, this.#healthyChecks, this.#missedPings] = [0, 0, 0];
    this.#hasAnsweredPing = false;
    this.#reportedFailure = undefined;
    this.#setState('starting');
    const child = spawn(spec.command, spec.args, {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...env, PIW_INSTANCE: this.#instance },
      // A session of its own: Ctrl+C reaches the master alone, which stops everything in its order.
      detached: true,
    });
    this.#process = child;
    this.#silence = new SilenceMeter(child.pid);
    child.on('message', (message) => {
      this.#onMessage(message as ChildMessage);
    });
    const disconnected = new Promise<void>((resolve) => child.once('disconnect', resolve));
    const checks = setInterval(() => {
      this.#check(checkIntervalMs);
    }, checkIntervalMs);
    const end = await new Promise<Omit<ChildExit, 'failure'>>((resolve) => {
      child.once('error', (error) => {
        if (child.pid === undefined)
          resolve({ description: `could not be started: ${errorMessage(error)}`, code: null });
      });
      child.once('exit', (code, signal) => {
        resolve({
          description: signal ? `was ended by ${signal}` : `ended with exit code ${String(code)}`,
          code,
        });
      });
    });
    clearInterval(checks);
    // Why it ended may still be on its way.
    if (child.connected) {
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([
        disconnected,
        new Promise((resolve) => (timer = setTimeout(resolve, LAST_MESSAGES_TIMEOUT_MS))),
      ]);
      clearTimeout(timer);
    }
    this.#process = undefined;
    return { ...end, failure: this.#reportedFailure };
  }

  #onMessage(message: ChildMessage): void {
    if ('failure' in message) {
      this.#reportedFailure = PiwError.fromAnswer(message.failure.code, message.failure.text);
      return;
    }
    this.#heartbeats += 1;
    this.#silence.reset();
    this.#onFirstHeartbeat();
    const state = message.state ?? 'at work';
    if (state !== this.#state) this.#setState(state);
  }

  #check(elapsedMs: number): void {
    if (this.ready) this.#healthyChecks += 1;
    const silentMs = this.#silence.add(elapsedMs);
    if (this.#heartbeats > 0) {
      if (silentMs > STUCK_CHECKS.working * elapsedMs) this.kill('its event loop is stuck');
      return;
    }
    const late = performance.now() - this.#stateSince > STUCK_CHECKS.startingTotal * elapsedMs;
    if (late || silentMs > STUCK_CHECKS.starting * elapsedMs) this.kill('it did not get to work in time');
  }

  /** Returns the pause before the next start, milliseconds; throws if there is none. */
  #restartDelayMs({ description, code, failure }: ChildExit): number {
    const { log, backOffMs } = this.#options;
    if (code === LEASE_LOST_EXIT_CODE) return backOffMs.initial;
    const text = failure ? `${description}: ${failure.message}` : description;
    if (PERMANENT_EXIT_CODES.has(code))
      throw failure ?? new PiwError('PIW_ACTOR_FAILING', `${this.name} ${description}`);
    if (this.#healthyChecks >= HEALTHY_CHECKS) [this.#failures, this.#unreachableExits] = [0, 0];
    if (code === UNREACHABLE_EXIT_CODE) this.#unreachableExits += 1;
    else this.#failures += 1;
    if (this.#failures > MAX_FAILURES) {
      const times = `${String(this.#failures)} times in a row`;
      throw new PiwError(
        'PIW_ACTOR_FAILING',
        `${this.name} ${description}, ${times}${failure ? `: ${failure.message}` : ''}`,
      );
    }
    const doublings = this.#failures + this.#unreachableExits - 1;
    const pauseMs = Math.min(backOffMs.initial * 2 ** doublings, backOffMs.max) * (1 + Math.random() / 4);
    log.warning(`${this.name} ${text}; starting it again in ${(pauseMs / 1000).toFixed(1)} s`);
    return pauseMs;
  }

  #setState(state: ActorState | 'starting' | 'queued' | 'waiting'): void {
    this.#state = state;
    this.#stateSince = performance.now();
  }

  /** A method's answer, which the compiler would otherwise believe to stay the same. */
  #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }
}
