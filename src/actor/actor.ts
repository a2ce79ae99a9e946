import { randomUUID } from 'node:crypto';
import type { Bus, BusMessage, BusSubscription } from '../bus/bus.js';
import { PiwError, errorMessage } from '../errors.js';
import type { Log, LogFields } from '../log.js';
import {
  packError,
  type Answer,
  type Protocol,
  type RequestMessage,
  type VerbSpecs,
} from '../protocols/protocol.js';
import { PROTOCOL_VERSION, VERSION } from '../version.js';
import type { Clock } from '../concurrency/clock.js';
import { Conditions } from './conditions.js';
import { RunningTasks } from '../concurrency/running-tasks.js';
import { Semaphore } from '../concurrency/semaphore.js';
import { SenderRateLimiter } from '../concurrency/sender-rate-limiter.js';

/**
 * How a task reacts to PAUSE. `ignores`: it goes on (Oracle, File Juggler). `stops`: it accepts no new work, and
 * requests to it fail with PIW_NO_RESPONDERS. `answers`: it goes on answering, and itself answers "not now" (Slave
 * Driver).
 */
export type PauseMode = 'ignores' | 'stops' | 'answers';

export interface ActorContext {
  readonly task: string;
  readonly bus: Bus;
  readonly log: Log;
  readonly clock: Clock;
  readonly pausing: PauseMode;
  /** Throws PIW_NOT_LEADER unless this single holds its lease. Returns the fence of the lease; 0 for pools. */
  readonly assertLeader: () => number;
  /** Ends the actor with an error that it must not survive. */
  readonly crash: (error: unknown) => void;
}

/** The origin of a message: the tokens of its subject after the prefix. */
export interface MessageOrigin {
  readonly tokens: readonly string[];
}

/** The handler of a message without an answer may return anything; undefined leaves the answer to another process. */
type HandlerResult<A> = [A] extends [never] ? unknown : Promise<A> | A | undefined;
type Handler<V extends VerbSpecs, K extends keyof V & string> = (
  message: Extract<RequestMessage<V>, { verb: K }>,
  from: MessageOrigin,
) => HandlerResult<Answer<V, K>>;
export type Handlers<V extends VerbSpecs> = { readonly [K in keyof V & string]: Handler<V, K> };

interface ServeOptions {
  /** The tokens between prefix and verb, `*` for any; by default the protocol's name. */
  readonly tokens?: readonly string[];
  /** Serves only this verb. */
  readonly verb?: string;
  /** The queue group; by default the task's name. With null every process gets every message. */
  readonly queue?: string | null;
  /** How many messages are handled at once, 256 by default; the others wait. */
  readonly concurrency?: number;
  /** Returns the sender, for senders that are not trusted: each of them is limited to a rate of its own. */
  readonly senderOf?: (from: MessageOrigin) => string;
  /** Returns the bucket in which the sender may have stored a large body. */
  readonly bucketOf?: (from: MessageOrigin) => string;
  /** Keeps serving while the actor is paused. */
  readonly whilePaused?: boolean;
}

interface Endpoint {
  readonly open: () => BusSubscription;
  readonly read: (subscription: BusSubscription) => Promise<void>;
  readonly whilePaused: boolean;
  subscription: BusSubscription | undefined;
  reading: Promise<void>;
}

/**
 * The base class of every task. An actor serves conversations and runs its own timers; it has no other entry point,
 * and shares nothing with other actors.
 *
 * One loop reads each subscription: decode, validate, handle, answer. A message that does not belong to the
 * conversation is answered with an ERROR and logged. A PiwError that a handler throws becomes the answer. Any other
 * error is answered as PIW_INTERNAL, and then the actor crashes: its supervisor restarts it, and state that may be
 * wrong is lost.
 */
export abstract class Actor {
  protected readonly bus: Bus;
  protected readonly log: Log;
  protected readonly clock: Clock;
  readonly context: ActorContext;
  /** The conditions that keep this actor from its work, for the log, the site, the monitor and the statistics. */
  readonly conditions: Conditions;
  readonly #endpoints = new Set<Endpoint>();
  readonly #timers = new Map<symbol, () => void>();
  readonly #runningTasks = new RunningTasks();
  #paused = false;
  #stopping = false;
  #handledCount = 0;
  #refusals = { since: 0, count: 0, logged: new Set<string>() };
  readonly #warnedAt = new Map<string, number>();
  readonly #rateLimiter: SenderRateLimiter;

  constructor(context: ActorContext) {
    this.context = context;
    this.bus = context.bus;
    this.log = context.log;
    this.clock = context.clock;
    this.conditions = new Conditions(
      context.bus,
      context.log,
      context.clock,
      `${context.task}/${randomUUID()}`,
    );
    this.#rateLimiter = new SenderRateLimiter(context.clock);
  }

  /** Opens the actor's conversations and starts its timers. For a single it is called once the lease is held. */
  abstract start(): Promise<void> | void;

  /** Called by stop() after the last message has been handled. */
  protected onStopped(): Promise<void> | void {
    return undefined;
  }

  /** Called when the actor is paused or resumed; for tasks that answer while they are paused. */
  protected onPauseChanged(): Promise<void> | void {
    return undefined;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** Whether the actor is stopping, and should not begin work that can wait. */
  protected isStopping(): boolean {
    return this.#stopping;
  }

  /** The number of messages handled since the start. */
  get served(): number {
    return this.#handledCount;
  }

  /** Pauses or resumes the actor. Idempotent; has no effect on a task that ignores PAUSE. */
  async pause(paused: boolean): Promise<void> {
    if (this.context.pausing === 'ignores' || this.#paused === paused || this.#stopping) return;
    this.#paused = paused;
    this.log.info(paused ? 'paused' : 'resumed');
    if (this.context.pausing === 'stops') {
      const pausableEndpoints = [...this.#endpoints].filter((endpoint) => !endpoint.whilePaused);
      if (paused) await Promise.all(pausableEndpoints.map((endpoint) => this.#close(endpoint)));
      else for (const endpoint of pausableEndpoints) this.#open(endpoint);
    }
    await this.onPauseChanged();
  }

  /** Accepts no more messages, finishes those it has, and ends. It has no time limit; the caller has to set one. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const cancel of this.#timers.values()) cancel();
    await Promise.all([...this.#endpoints].map((endpoint) => this.#close(endpoint)));
    await this.#runningTasks.drain();
    await this.onStopped();
    this.conditions.close();
  }

  /** Opens a conversation; returns a function that closes it. */
  protected serve<V extends VerbSpecs>(
    protocol: Protocol<V>,
    handlers: Partial<Handlers<V>>,
    options: ServeOptions = {},
  ): () => Promise<void> {
    const subject = this.bus.subject(...(options.tokens ?? [protocol.name]), options.verb ?? '*');
    const queue = options.queue === null ? {} : { queue: options.queue ?? this.context.task };
    const prefixLength = this.bus.prefix.split('.').length;
    const originOf = (messageSubject: string): MessageOrigin => ({
      tokens: messageSubject.split('.').slice(prefixLength),
    });
    const bucket = options.bucketOf;
    const semaphore = new Semaphore(options.concurrency ?? 256);
    const read = async (subscription: BusSubscription): Promise<void> => {
      for await (const incoming of subscription) {
        const origin = originOf(incoming.subject);
        const sender = options.senderOf?.(origin);
        if (sender !== undefined && !this.#rateLimiter.take(sender, incoming.size)) {
          this.#logRefusal('messages dropped: the sender exceeds its rate limit', { sender }, { once: true });
          continue;
        }
        const release = await semaphore.acquire();
        const handling = this.#handle(protocol, handlers, incoming, origin, sender);
        void this.#runningTasks.track(handling.finally(release));
      }
    };
    const endpoint: Endpoint = {
      open: () =>
        this.bus.subscribe(subject, {
          ...queue,
          ...(bucket ? { bucketOf: (messageSubject) => bucket(originOf(messageSubject)) } : {}),
        }),
      read,
      whilePaused: options.whilePaused ?? false,
      subscription: undefined,
      reading: Promise.resolve(),
    };
    this.#endpoints.add(endpoint);
    if (!this.#paused || this.context.pausing !== 'stops' || endpoint.whilePaused) this.#open(endpoint);
    return async () => {
      this.#endpoints.delete(endpoint);
      await this.#close(endpoint);
    };
  }

  /**
   * Calls `action`, first after `firstDelayS` seconds (by default at once), and then `seconds` after each call has
   * ended. Skips calls while a task that `stops` is paused. Logs a PiwError, after which the next call tries again;
   * any other error crashes the actor.
   */
  protected every(seconds: number, action: () => Promise<void> | void, firstDelayS = 0): void {
    const key = Symbol();
    const scheduleNext = (s: number) => {
      if (!this.#stopping)
        this.#timers.set(
          key,
          this.clock.after(s * 1000, () => void tick()),
        );
    };
    const tick = async (): Promise<void> => {
      const idle = this.#paused && this.context.pausing === 'stops';
      if (!idle && !this.#stopping) await this.runInBackground(action);
      scheduleNext(seconds);
    };
    scheduleNext(firstDelayS);
  }

  /** Runs `action`, for which stop() waits. Logs a PiwError; any other error crashes the actor. */
  protected runInBackground(action: () => Promise<void> | void): Promise<void> {
    const run = async (): Promise<void> => {
      try {
        await action();
      } catch (error) {
        if (error instanceof PiwError) this.#warn(error);
        else this.context.crash(error);
      }
    };
    return this.#runningTasks.track(run());
  }

  /**
   * Logs the same error at most once a minute, for actions that fail at each interval. A failure that lasts is a
   * condition, which also reports its end.
   */
  #warn(error: PiwError): void {
    const now = this.clock.monotonicMs();
    for (const [message, at] of this.#warnedAt)
      if (now - at >= WARNING_INTERVAL_MS) this.#warnedAt.delete(message);
    if (this.#warnedAt.has(error.message)) return;
    this.#warnedAt.set(error.message, now);
    this.log.warning('background action failed', {}, error);
  }

  /**
   * Logs that a message was refused, within REFUSAL_LOG_LIMIT: a sender of invalid messages must not fill the disk with
   * log lines. With `once`, the same event with the same fields is logged once within the limit's interval.
   */
  #logRefusal(
    event: string,
    fields: LogFields,
    { error, once = false }: { readonly error?: PiwError; readonly once?: boolean },
  ): void {
    const now = this.clock.monotonicMs();
    const { since, count } = this.#refusals;
    if (now - since >= REFUSAL_LOG_LIMIT.ms) {
      if (count > REFUSAL_LOG_LIMIT.lines)
        this.log.warning('more messages were refused', { count: count - REFUSAL_LOG_LIMIT.lines });
      this.#refusals = { since: now, count: 0, logged: new Set() };
    }
    this.#refusals.count += 1;
    const key = JSON.stringify([event, fields, error?.message]);
    const alreadyLogged = once && this.#refusals.logged.has(key);
    if (once) this.#refusals.logged.add(key);
    if (!alreadyLogged && this.#refusals.count <= REFUSAL_LOG_LIMIT.lines)
      this.log.warning(event, fields, error);
  }

  #open(endpoint: Endpoint): void {
    if (endpoint.subscription || this.#stopping) return;
    const subscription = endpoint.open();
    endpoint.subscription = subscription;
    endpoint.reading = endpoint.read(subscription).catch(this.context.crash);
  }

  async #close(endpoint: Endpoint): Promise<void> {
    const subscription = endpoint.subscription;
    endpoint.subscription = undefined;
    await subscription?.stop();
    await endpoint.reading;
  }

  async #handle<V extends VerbSpecs>(
    protocol: Protocol<V>,
    handlers: Partial<Handlers<V>>,
    incoming: BusMessage,
    origin: MessageOrigin,
    sender: string | undefined,
  ): Promise<void> {
    let verb = '';
    let fatal: unknown;
    let answer: unknown;
    const began = performance.now();
    try {
      const message = protocol.unpack(await incoming.body());
      verb = message.verb;
      if (origin.tokens.at(-1) !== verb) {
        throw new PiwError(
          'PIW_MESSAGE_INVALID',
          `${verb} was sent on the subject of ${String(origin.tokens.at(-1))}`,
        );
      }
      this.#handledCount += 1;
      const handler = handlers[verb] as ((message: unknown, from: MessageOrigin) => unknown) | undefined;
      if (!handler) throw new PiwError('PIW_MESSAGE_INVALID', `${verb} is not served here`);
      const result = await handler(message, origin);
      if (incoming.expectsReply && result !== undefined)
        answer = protocol.packAnswer(verb, result as Answer<V, string>);
    } catch (error) {
      const isExpected = error instanceof PiwError;
      const { subject } = incoming;
      if (!isExpected) fatal = error;
      else if (error.code === 'PIW_MESSAGE_INVALID') {
        if (sender !== undefined) this.#rateLimiter.penalize(sender);
        this.#logRefusal('message refused', { subject }, { error });
      } else if (error.exitCode === 70)
        // A bug, or a process that was replaced without noticing: the sender may not report it anywhere.
        this.#logRefusal('request failed', { subject, verb }, { error, once: true });
      else this.log.debug('request failed', { subject, verb }, error);
      answer = isExpected
        ? packError(error.code, `${error.message}${error.code === 'PIW_MESSAGE_INVALID' ? VERSION_HINT : ''}`)
        : packError('PIW_INTERNAL', `${verb} failed: ${errorMessage(error)}`);
    }
    this.log.trace('message handled', {
      subject: incoming.subject,
      answer: Array.isArray(answer) ? String(answer[0]) : undefined,
      ms: Math.round(performance.now() - began),
    });
    try {
      if (incoming.expectsReply && answer !== undefined) await incoming.respond(answer);
    } catch (error) {
      // The connection is down; the sender retries.
      this.log.warning('answer could not be sent', { verb }, error);
    }
    if (fatal !== undefined) this.context.crash(fatal);
  }
}

/** Appended to the answer to an invalid message, because most often its sender is of another version. */
const VERSION_HINT = `; this is piw ${VERSION} with protocol ${PROTOCOL_VERSION}`;
/** The interval within which the same warning is logged only once, milliseconds. */
const WARNING_INTERVAL_MS = 60_000;
/** How many lines about refused messages are logged per `ms` milliseconds. */
const REFUSAL_LOG_LIMIT = { lines: 100, ms: 10_000 };
