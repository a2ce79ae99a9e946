import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import type { Bus } from '../bus/bus.js';
import { PiwError, reason } from '../errors.js';
import type { Log } from '../log.js';
import { actorPing } from '../protocols/control.js';
import { SilenceMeter } from './activity.js';
import { Client } from './client.js';
import { STOOD_DOWN, type ActorState, type ChildMessage } from './process.js';
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
  readonly starts: Semaphore;
  /** Milliseconds between checks for a heartbeat. */
  readonly checkEveryMs: number;
  readonly backOffMs: BackOff;
}

/** The pause after the first failure, and the longest, milliseconds. */
export interface BackOff {
  readonly first: number;
  readonly most: number;
}

/** How a process ended. */
interface End {
  readonly why: string;
  readonly code: number | null;
  readonly failure: PiwError | undefined;
}

/** Failures in a row after which a child is given up. */
const MAX_FAILURES = 5;
/**
 * Checks without a beat after which a process is stuck, see SilenceMeter: while it works; until its first beat; and
 * until then however little of the processor it got, which is a quarter of an hour.
 */
const STUCK = { working: 15, starting: 120, startingInAll: 900 };
/** So many checks with the actor at work make up for all failures before. */
const HEALTHY_CHECKS = 60;
/** Unanswered pings in a row, of a process that beats, after which its connection is taken for broken. */
const PINGS_MISSED = 4;
const PING_TIMEOUT_MS = 8000;
/** A process that did not beat so often since the last ping had no time to answer. */
const BEATS_FOR_A_PING = 5;
/** What starting it again would not change: its configuration is wrong, another farm is in the way, or
 * something is of another version.
 */
const FINAL: ReadonlySet<number | null> = new Set([2, 4, 6]);
/** A server is out of reach: that is no fault of the child's. */
const OUT_OF_REACH = 5;
/** How long the last messages of a process that has ended may take, milliseconds. */
const LAST_MESSAGES_MS = 1000;

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
  #since = performance.now();
  #beats = 0;
  #healthy = 0;
  #failures = 0;
  #away = 0;
  #missed = 0;
  #answered = false;
  #failure: PiwError | undefined;
  #atFirstBeat = (): void => undefined;

  constructor(options: ChildOptions, wave: number) {
    this.#options = options;
    this.wave = options.spec.wave ?? wave;
  }

  get name(): string {
    return this.#options.spec.name;
  }

  /** What it does, and for how many milliseconds. */
  get state(): { readonly state: string; readonly ms: number } {
    return { state: this.#state, ms: performance.now() - this.#since };
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

  kill(why = 'it did not end in time'): void {
    if (!this.#process) return;
    this.#options.log.error(`${this.name} is killed: ${why}`);
    this.#process.kill('SIGKILL');
  }

  /** Asks over NATS whether it is there; kills one that has answered before and doesn't any more. */
  async ping(bus: Bus): Promise<void> {
    const instance = this.#instance;
    if (!this.#process || this.#isStopping()) return;
    const before = this.#beats;
    try {
      const client = new Client(bus, actorPing, [actorPing.name, instance]);
      await client.ask('PING', {}, { timeoutMs: PING_TIMEOUT_MS });
      this.#missed = 0;
      this.#answered = true;
    } catch {
      const slow = this.#beats - before < BEATS_FOR_A_PING;
      if (slow || !this.#answered || instance !== this.#instance) return;
      this.#missed += 1;
      if (this.#missed >= PINGS_MISSED) this.kill('it does not answer over NATS');
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
      this.#enter('queued');
      const entering = this.#options.starts.enter();
      const leave = await Promise.race([entering, stopped]);
      if (!leave || this.#isStopping()) {
        void entering.then((late) => {
          late();
        });
        return;
      }
      this.#atFirstBeat = leave;
      const end = await this.#run();
      leave();
      if (this.#isStopping()) return;
      this.#enter('waiting');
      const pauseMs = this.#judge(end);
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([new Promise((resolve) => (timer = setTimeout(resolve, pauseMs))), stopped]);
      clearTimeout(timer);
    }
  }

  /** Runs it once, to its end. */
  async #run(): Promise<End> {
    const { spec, env, checkEveryMs } = this.#options;
    this.#instance = randomUUID();
    [this.#beats, this.#healthy, this.#missed] = [0, 0, 0];
    this.#answered = false;
    this.#failure = undefined;
    this.#enter('starting');
    const child = spawn(spec.command, spec.args, {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...env, PIW_INSTANCE: this.#instance },
      // A session of its own: Ctrl+C reaches the master alone, which stops everything in its order.
      detached: true,
    });
    this.#process = child;
    this.#silence = new SilenceMeter(child.pid);
    child.on('message', (message) => {
      this.#heard(message as ChildMessage);
    });
    const disconnected = new Promise<void>((resolve) => child.once('disconnect', resolve));
    const checks = setInterval(() => {
      this.#check(checkEveryMs);
    }, checkEveryMs);
    const end = await new Promise<Omit<End, 'failure'>>((resolve) => {
      child.once('error', (error) => {
        if (child.pid === undefined) resolve({ why: `could not be started: ${reason(error)}`, code: null });
      });
      child.once('exit', (code, signal) => {
        resolve({ why: signal ? `was ended by ${signal}` : `ended with exit code ${String(code)}`, code });
      });
    });
    clearInterval(checks);
    // Why it ended may still be on its way.
    if (child.connected) {
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([
        disconnected,
        new Promise((resolve) => (timer = setTimeout(resolve, LAST_MESSAGES_MS))),
      ]);
      clearTimeout(timer);
    }
    this.#process = undefined;
    return { ...end, failure: this.#failure };
  }

  #heard(message: ChildMessage): void {
    if ('failure' in message) {
      this.#failure = PiwError.fromAnswer(message.failure.code, message.failure.text);
      return;
    }
    this.#beats += 1;
    this.#silence.reset();
    this.#atFirstBeat();
    const state = message.state ?? 'at work';
    if (state !== this.#state) this.#enter(state);
  }

  #check(elapsedMs: number): void {
    if (this.ready) this.#healthy += 1;
    const silentMs = this.#silence.add(elapsedMs);
    if (this.#beats > 0) {
      if (silentMs > STUCK.working * elapsedMs) this.kill('its event loop is stuck');
      return;
    }
    const late = performance.now() - this.#since > STUCK.startingInAll * elapsedMs;
    if (late || silentMs > STUCK.starting * elapsedMs) this.kill('it did not get to work in time');
  }

  /** Returns the pause before the next start, milliseconds; throws if there is none. */
  #judge({ why, code, failure }: End): number {
    const { log, backOffMs } = this.#options;
    if (code === STOOD_DOWN) return backOffMs.first;
    const text = failure ? `${why}: ${failure.message}` : why;
    if (FINAL.has(code)) throw failure ?? new PiwError('PIW_ACTOR_FAILING', `${this.name} ${why}`);
    if (this.#healthy >= HEALTHY_CHECKS) [this.#failures, this.#away] = [0, 0];
    if (code === OUT_OF_REACH) this.#away += 1;
    else this.#failures += 1;
    if (this.#failures > MAX_FAILURES) {
      const times = `${String(this.#failures)} times in a row`;
      throw new PiwError(
        'PIW_ACTOR_FAILING',
        `${this.name} ${why}, ${times}${failure ? `: ${failure.message}` : ''}`,
      );
    }
    const doublings = this.#failures + this.#away - 1;
    const pauseMs = Math.min(backOffMs.first * 2 ** doublings, backOffMs.most) * (1 + Math.random() / 4);
    log.warning(`${this.name} ${text}; starting it again in ${(pauseMs / 1000).toFixed(1)} s`);
    return pauseMs;
  }

  #enter(state: ActorState | 'starting' | 'queued' | 'waiting'): void {
    this.#state = state;
    this.#since = performance.now();
  }

  /** A method's answer, which the compiler would otherwise believe to stay the same. */
  #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }
}
