import { randomUUID } from 'node:crypto';
import type { Bus, BusMessage, BusSubscription } from '../bus/bus.js';
import { PiwError, errorMessage } from '../errors.js';
import type { Log } from '../log.js';
import {
  packError,
  type Answer,
  type Protocol,
  type VerbMessage,
  type VerbSpecs,
} from '../protocols/protocol.js';
import { PROTOCOL_VERSION, VERSION } from '../version.js';
import type { Clock } from './clock.js';
import { Conditions } from './conditions.js';
import { SenderRateLimiter } from './fair-share.js';

/**
 * What PAUSE means for a task. `ignores`: it goes on (Oracle, File Juggler). `stops`: it takes no new
 * work; whoever asks is told that nobody answers. `answers`: it goes on answering, and says "not now"
 * itself (Slave Driver).
 */
export type PauseMode = 'ignores' | 'stops' | 'answers';

export interface ActorContext {
  readonly task: string;
  readonly bus: Bus;
  readonly log: Log;
  readonly clock: Clock;
  readonly pausing: PauseMode;
  /** The fencing number of a single's lease; 0 for pools. Raises PIW_NOT_LEADER when it is not held. */
  readonly fence: () => number;
  /** The error that the actor must not survive. */
  readonly crash: (error: unknown) => void;
}

/** Where a message came from: its subject's tokens after the prefix. */
export interface MessageOrigin {
  readonly tokens: readonly string[];
}

/** What nobody is answered to may give anything; undefined: it is for another to answer. */
type HandlerResult<A> = [A] extends [never] ? unknown : Promise<A> | A | undefined;
type Handler<V extends VerbSpecs, K extends keyof V & string> = (
  message: Extract<VerbMessage<V>, { verb: K }>,
  from: MessageOrigin,
) => HandlerResult<Answer<V, K>>;
export type Handlers<V extends VerbSpecs> = { readonly [K in keyof V & string]: Handler<V, K> };

export interface ServeOptions {
  /** The tokens between prefix and verb, `*` for any; the protocol's name if left out. */
  readonly tokens?: readonly string[];
  /** Only this verb is served here. */
  readonly verb?: string;
  /** The group of which one gets each message; the task's name if left out; null: everyone gets all. */
  readonly queue?: string | null;
  /** How many messages are handled at once; more wait. 256 if left out. */
  readonly concurrency?: number;
  /** Who says it, where senders are not trusted: none of them gets more than its share of what is heard. */
  readonly senderOf?: (from: MessageOrigin) => string;
  /** Where the sender may have put a large body. */
  readonly bucketOf?: (from: MessageOrigin) => string;
  /** It goes on while the actor is paused. */
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
 * The base of every task. An actor serves conversations and calls itself at intervals; it has no
 * other entrance, and shares nothing with another one.
 *
 * Every subscription is read by one loop: decode, validate, handle, answer. What isn't a message of
 * the conversation gets an ERROR, and a line in the log. A PiwError that a handler raises is the
 * answer. Any other error is answered as PIW_INTERNAL, and then the actor crashes: its supervisor
 * starts it again, and state that may be wrong is not kept.
 */
export abstract class Actor {
  protected readonly bus: Bus;
  protected readonly log: Log;
  protected readonly clock: Clock;
  readonly context: ActorContext;
  /** What keeps this actor from its work, for the log, the site, the monitor and the statistics. */
  readonly conditions: Conditions;
  readonly #endpoints = new Set<Endpoint>();
  readonly #timers = new Map<symbol, () => void>();
  readonly #inFlight = new Set<Promise<void>>();
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

  /** Opens its conversations and starts its timers. For a single: once it holds the lease. */
  abstract start(): Promise<void> | void;

  /** Whatever is to be done after the last message was handled. */
  protected onStopped(): Promise<void> | void {
    return undefined;
  }

  /** For tasks that answer while they are paused. */
  protected onPauseChanged(): Promise<void> | void {
    return undefined;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** It was told to end: what can wait isn't begun any more. */
  protected isStopping(): boolean {
    return this.#stopping;
  }

  /** Messages handled since the start. */
  get served(): number {
    return this.#handledCount;
  }

  /** Asking for it twice is harmless, and so is asking a task that ignores it. */
  async pause(paused: boolean): Promise<void> {
    if (this.context.pausing === 'ignores' || this.#paused === paused || this.#stopping) return;
    this.#paused = paused;
    this.log.info(paused ? 'paused' : 'resumed');
    if (this.context.pausing === 'stops') {
      const pausableEndpoints = [...this.#endpoints].filter((served) => !served.whilePaused);
      if (paused) await Promise.all(pausableEndpoints.map((served) => this.#close(served)));
      else for (const served of pausableEndpoints) this.#open(served);
    }
    await this.onPauseChanged();
  }

  /** Takes no more, finishes what it has, and ends. Limited by whoever calls it. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const cancel of this.#timers.values()) cancel();
    await Promise.all([...this.#endpoints].map((served) => this.#close(served)));
    await Promise.all(this.#inFlight);
    await this.onStopped();
    this.conditions.close();
  }

  /** Opens a conversation; the function that is given back closes it again. */
  protected serve<V extends VerbSpecs>(
    protocol: Protocol<V>,
    handlers: Partial<Handlers<V>>,
    options: ServeOptions = {},
  ): () => Promise<void> {
    const subject = this.bus.subject(...(options.tokens ?? [protocol.name]), options.verb ?? '*');
    const queue = options.queue === null ? {} : { queue: options.queue ?? this.context.task };
    const prefixLength = this.bus.prefix.split('.').length;
    const originOf = (of: string): MessageOrigin => ({ tokens: of.split('.').slice(prefixLength) });
    const bucket = options.bucketOf;
    const semaphore = new HandlerSemaphore(options.concurrency ?? 256);
    const read = async (subscription: BusSubscription): Promise<void> => {
      for await (const incoming of subscription) {
        const origin = originOf(incoming.subject);
        const sender = options.senderOf?.(origin);
        if (sender !== undefined && !this.#rateLimiter.take(sender, incoming.size)) {
          this.#logRefusal(`${sender} says more than is heard of it`, true);
          continue;
        }
        await semaphore.acquire();
        const handling = this.#handle(protocol, handlers, incoming, origin, sender).finally(() => {
          semaphore.release();
          this.#inFlight.delete(handling);
        });
        this.#inFlight.add(handling);
      }
    };
    const endpoint: Endpoint = {
      open: () =>
        this.bus.subscribe(subject, {
          ...queue,
          ...(bucket ? { bucketOf: (of) => bucket(originOf(of)) } : {}),
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
   * Calls `what` every `seconds`, the first time after `first` (default: at once), never while the
   * last call is under way, and not while a task that stops is paused. A PiwError is logged and the
   * next call tries again; any other error crashes the actor.
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

  /** Does something in the background, under the rules of a handler; stop() waits for it. */
  protected async runInBackground(action: () => Promise<void> | void): Promise<void> {
    const running = (async () => {
      try {
        await action();
      } catch (error) {
        if (error instanceof PiwError) this.#warn(error.message);
        else this.context.crash(error);
      }
    })();
    this.#inFlight.add(running);
    await running;
    this.#inFlight.delete(running);
  }

  /** What fails again at each interval is logged once a minute: what lasts is a condition, and tells when it ends. */
  #warn(text: string): void {
    const now = this.clock.monotonicMs();
    for (const [known, at] of this.#warnedAt)
      if (now - at >= WARNING_INTERVAL_MS) this.#warnedAt.delete(known);
    if (this.#warnedAt.has(text)) return;
    this.#warnedAt.set(text, now);
    this.log.warning(text);
  }

  /** Whoever sends nonsense all day long is not to fill the disk with what is said of it. */
  #logRefusal(text: string, once = false): void {
    const now = this.clock.monotonicMs();
    const { since, count } = this.#refusals;
    if (now - since >= REFUSAL_LOG_LIMIT.ms) {
      if (count > REFUSAL_LOG_LIMIT.lines)
        this.log.warning(`${String(count - REFUSAL_LOG_LIMIT.lines)} more messages were refused`);
      this.#refusals = { since: now, count: 0, logged: new Set() };
    }
    this.#refusals.count += 1;
    const alreadyLogged = once && this.#refusals.logged.has(text);
    if (once) this.#refusals.logged.add(text);
    if (!alreadyLogged && this.#refusals.count <= REFUSAL_LOG_LIMIT.lines) this.log.warning(text);
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
    try {
      const message = protocol.unpack(await incoming.body());
      verb = message.verb;
      if (origin.tokens.at(-1) !== verb) {
        throw new PiwError(
          'PIW_MESSAGE_INVALID',
          `${verb} was said on the subject of ${String(origin.tokens.at(-1))}`,
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
      if (!isExpected) fatal = error;
      else if (error.code === 'PIW_MESSAGE_INVALID') {
        if (sender !== undefined) this.#rateLimiter.penalize(sender);
        this.#logRefusal(`on ${incoming.subject}: ${error.message}`);
      } else if (error.exitCode === 70)
        // A fault, or a process that was replaced and doesn't know it: whoever asked may not say so anywhere.
        this.#logRefusal(`on ${incoming.subject}: ${verb}: ${error.code}: ${error.message}`, true);
      else this.log.debug(`on ${incoming.subject}: ${verb}: ${error.message}`);
      answer = isExpected
        ? packError(error.code, `${error.message}${error.code === 'PIW_MESSAGE_INVALID' ? VERSION_HINT : ''}`)
        : packError('PIW_INTERNAL', `${verb} failed: ${errorMessage(error)}`);
    }
    try {
      if (incoming.expectsReply && answer !== undefined) await incoming.respond(answer);
    } catch (error) {
      // The connection went; whoever asked will ask again.
      this.log.warning(`an answer to ${verb} could not be sent: ${errorMessage(error)}`);
    }
    if (fatal !== undefined) this.context.crash(fatal);
  }
}

/** A message that makes no sense is most often one of another version. */
const VERSION_HINT = `; this is piw ${VERSION} with protocol ${String(PROTOCOL_VERSION)}`;
/** How long the same warning of something that is done at intervals is not logged again, milliseconds. */
const WARNING_INTERVAL_MS = 60_000;
/** How many lines of messages that were refused are logged in so many milliseconds. */
const REFUSAL_LOG_LIMIT = { lines: 100, ms: 10_000 };

/** Lets in no more than so many at once. */
class HandlerSemaphore {
  #freePermits: number;
  readonly #waiters: (() => void)[] = [];

  constructor(permits: number) {
    this.#freePermits = permits;
  }

  acquire(): Promise<void> | void {
    if (this.#freePermits > 0) {
      this.#freePermits -= 1;
      return undefined;
    }
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  release(): void {
    const next = this.#waiters.shift();
    if (next) next();
    else this.#freePermits += 1;
  }
}
