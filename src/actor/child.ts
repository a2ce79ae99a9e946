import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import type { Bus } from '../bus/bus.js';
import { PiwError, errorMessage } from '../errors.js';
import type { Log } from '../log.js';
import { actorPing } from '../protocols/control.js';
import { SilenceMeter } from './activity.js';
import { ProtocolClient } from './client.js';
import { LEASE_LOST_EXIT_CODE, type ActorState, type ChildMessage } from './process.js';
import { aborted } from '../concurrency/abort.js';
import type { BackOff } from '../concurrency/back-off.js';
import { systemClock } from '../concurrency/clock.js';
import { pause } from '../concurrency/pause.js';
import { RestartPolicy } from '../concurrency/restart-policy.js';
import type { Semaphore } from '../concurrency/semaphore.js';
import { withTimeLimit } from '../concurrency/time-limit.js';
import type { Stoppable } from './waves.js';

/** A process that the supervisor keeps alive. */
export interface ChildSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** The wave in which it is stopped, see src/actor/waves.ts; by default children are stopped in reverse order. */
  readonly wave?: number;
}

interface ChildOptions {
  readonly spec: ChildSpec;
  readonly env: NodeJS.ProcessEnv;
  readonly log: Log;
  /** Held from the start of a process until its first heartbeat. */
  readonly startSemaphore: Semaphore;
  /** Milliseconds between checks for a heartbeat. */
  readonly checkIntervalMs: number;
  /** The pauses before restarts. */
  readonly backOff: BackOff;
}

/** How a process ended. */
interface ChildExit {
  readonly description: string;
  readonly code: number | null;
  readonly failure: PiwError | undefined;
}

/**
 * The number of checks without a heartbeat after which a process counts as stuck, in time as SilenceMeter measures
 * it: `working` after its first heartbeat, `starting` before that. `startingTotal` limits the start by elapsed time,
 * a quarter of an hour, however little CPU time the process got.
 */
const STUCK_CHECKS = { working: 15, starting: 120, startingTotal: 900 };
/** After this many checks with the actor at work, its earlier failures no longer count. */
const HEALTHY_CHECKS = 60;
/** How many pings in a row a process that sends heartbeats may miss before its connection counts as broken. */
const MAX_MISSED_PINGS = 4;
const PING_TIMEOUT_MS = 8000;
/** A process that sent fewer heartbeats than this during a ping had no time to answer it. */
const MIN_HEARTBEATS_PER_PING = 5;
/**
 * The exit codes that a restart would not change: the configuration is wrong, another farm is in the way, or
 * something is of another version.
 */
const PERMANENT_EXIT_CODES: ReadonlySet<number | null> = new Set([2, 4, 6]);
/** The exit code for a server that is out of reach, which is not the child's fault. */
const UNREACHABLE_EXIT_CODE = 5;
/** How long to wait for the last messages of a process that has ended, milliseconds. */
const LAST_MESSAGES_TIMEOUT_MS = 1000;

/**
 * A process that the supervisor keeps alive. Its states:
 *
 *   queued    it waits for a permit to start, because only a few processes start at once
 *   starting  from spawn to its first heartbeat, which shows that its code is loaded
 *   running   it sends a heartbeat once a second over IPC, and answers pings over NATS
 *   waiting   it has ended; it is restarted after a pause that grows with each failure in a row (RestartPolicy)
 *   stopping  it was told to end
 *
 * A process that is silent for too long while it could have run, or that doesn't answer over NATS while the
 * supervisor's own connection works, is killed, which leads to `waiting` like any other exit. A single that lost its
 * lease is restarted after the first pause, and that is not a failure. Neither is a server out of reach, but it makes
 * the pauses longer. Failures are in a row if the process was not at work for HEALTHY_CHECKS between them; after too
 * many of them keepAlive() throws PIW_ACTOR_FAILING. A process that ended because of its configuration
 * is not restarted: keepAlive() throws the error that it reported.
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
  readonly #restartPolicy: RestartPolicy;
  #missedPings = 0;
  #hasAnsweredPing = false;
  #reportedFailure: PiwError | undefined;
  #onFirstHeartbeat = (): void => undefined;

  constructor(options: ChildOptions, wave: number) {
    this.#options = options;
    this.#restartPolicy = new RestartPolicy(options.backOff);
    this.wave = options.spec.wave ?? wave;
  }

  get name(): string {
    return this.#options.spec.name;
  }

  /** The child's state, and for how many milliseconds it has been in it. */
  get state(): { readonly state: string; readonly ms: number } {
    return { state: this.#state, ms: performance.now() - this.#stateSince };
  }

  /** Whether the actor is at work, or standing by to take over. */
  get ready(): boolean {
    return this.#state === 'at work' || this.#state === 'standing by';
  }

  get ended(): Promise<void> {
    return this.#ended;
  }

  /**
   * Starts the process and restarts it when it ends. Resolves when it has ended after stop(); throws when it gives
   * up.
   */
  keepAlive(): Promise<void> {
    const keeping = this.#keepAlive();
    this.#ended = keeping.catch(() => undefined);
    return keeping;
  }

  stop(): void {
    this.#stopping.abort();
    this.#process?.kill('SIGTERM');
  }

  kill(reason = 'it did not end in time'): void {
    if (!this.#process) return;
    this.#options.log.error('task killed', { task: this.name, reason });
    this.#process.kill('SIGKILL');
  }

  /** Pings the process over NATS; kills one that has answered before and has now missed MAX_MISSED_PINGS in a row. */
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
    const stopped = aborted(this.#stopping.signal);
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
      const exit = await this.#run();
      release();
      if (this.#isStopping()) return;
      this.#setState('waiting');
      await pause(systemClock, this.#restartDelayMs(exit), this.#stopping.signal);
    }
  }

  /** Runs the process once, until it exits. */
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
      // In a session of its own, so that Ctrl+C reaches only the master, which stops everything in order.
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
    const exit = await new Promise<Omit<ChildExit, 'failure'>>((resolve) => {
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
    // The message with the reason may still be on its way.
    if (child.connected) await withTimeLimit(systemClock, LAST_MESSAGES_TIMEOUT_MS, disconnected);
    this.#process = undefined;
    return { ...exit, failure: this.#reportedFailure };
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
    if (late || silentMs > STUCK_CHECKS.starting * elapsedMs) this.kill('it did not start in time');
  }

  /** Returns the pause before the next start, milliseconds; throws if there is to be no next start. */
  #restartDelayMs({ description, code, failure }: ChildExit): number {
    const { log, backOff } = this.#options;
    if (code === LEASE_LOST_EXIT_CODE) return backOff.firstMs;
    if (PERMANENT_EXIT_CODES.has(code))
      throw failure ?? new PiwError('PIW_ACTOR_FAILING', `${this.name} ${description}`);
    const pauseMs = this.#restartPolicy.recordExit({
      healthy: this.#healthyChecks >= HEALTHY_CHECKS,
      excused: code === UNREACHABLE_EXIT_CODE,
    });
    if (pauseMs === undefined) {
      const times = `${this.#restartPolicy.failures} times in a row`;
      throw new PiwError(
        'PIW_ACTOR_FAILING',
        `${this.name} ${description}, ${times}${failure ? `: ${failure.message}` : ''}`,
      );
    }
    const fields = { task: this.name, reason: description, delay_s: Number((pauseMs / 1000).toFixed(1)) };
    log.warning('task ended, starting it again', fields, failure);
    return pauseMs;
  }

  #setState(state: ActorState | 'starting' | 'queued' | 'waiting'): void {
    this.#state = state;
    this.#stateSince = performance.now();
  }

  /** Whether stop() was called. A method, because the compiler would assume that a property has not changed. */
  #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }
}
