import { randomUUID } from 'node:crypto';
import type { Bus, Incoming, Line } from '../bus/bus.js';
import { PiwError, reason } from '../errors.js';
import type { Log } from '../log.js';
import { packError, type Answer, type Protocol, type Said, type Verbs } from '../protocols/protocol.js';
import { PROTOCOL, VERSION } from '../version.js';
import type { Clock } from './clock.js';
import { Conditions } from './conditions.js';
import { FairShare } from './fair-share.js';

/**
 * What PAUSE means for a task. `ignores`: it goes on (Oracle, File Juggler). `stops`: it takes no new
 * work; whoever asks is told that nobody answers. `answers`: it goes on answering, and says "not now"
 * itself (Slave Driver).
 */
export type Pausing = 'ignores' | 'stops' | 'answers';

export interface ActorContext {
  readonly task: string;
  readonly bus: Bus;
  readonly log: Log;
  readonly clock: Clock;
  readonly pausing: Pausing;
  /** The fencing number of a single's lease; 0 for pools. Raises PIW_NOT_LEADER when it is not held. */
  readonly fence: () => number;
  /** The error that the actor must not survive. */
  readonly crash: (error: unknown) => void;
}

/** Where a message came from: its subject's tokens after the prefix. */
export interface From {
  readonly tokens: readonly string[];
}

/** What nobody is answered to may give anything; undefined: it is for another to answer. */
type Result<A> = [A] extends [never] ? unknown : Promise<A> | A | undefined;
type Handler<V extends Verbs, K extends keyof V & string> = (
  message: Extract<Said<V>, { verb: K }>,
  from: From,
) => Result<Answer<V, K>>;
export type Handlers<V extends Verbs> = { readonly [K in keyof V & string]: Handler<V, K> };

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
  readonly senderOf?: (from: From) => string;
  /** Where the sender may have put a large body. */
  readonly bucketOf?: (from: From) => string;
  /** It goes on while the actor is paused. */
  readonly always?: boolean;
}

interface Served {
  readonly open: () => Line;
  readonly read: (line: Line) => Promise<void>;
  readonly always: boolean;
  line: Line | undefined;
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
  readonly #served = new Set<Served>();
  readonly #timers = new Map<symbol, () => void>();
  readonly #running = new Set<Promise<void>>();
  #paused = false;
  #stopping = false;
  #count = 0;
  #refusals = { since: 0, count: 0, said: new Set<string>() };
  readonly #warned = new Map<string, number>();
  readonly #shares: FairShare;

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
    this.#shares = new FairShare(context.clock);
  }

  /** Opens its conversations and starts its timers. For a single: once it holds the lease. */
  abstract start(): Promise<void> | void;

  /** Whatever is to be done after the last message was handled. */
  protected stopped(): Promise<void> | void {
    return undefined;
  }

  /** For tasks that answer while they are paused. */
  protected pauseChanged(): Promise<void> | void {
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
    return this.#count;
  }

  /** Asking for it twice is harmless, and so is asking a task that ignores it. */
  async pause(paused: boolean): Promise<void> {
    if (this.context.pausing === 'ignores' || this.#paused === paused || this.#stopping) return;
    this.#paused = paused;
    this.log.info(paused ? 'paused' : 'resumed');
    if (this.context.pausing === 'stops') {
      const lines = [...this.#served].filter((served) => !served.always);
      if (paused) await Promise.all(lines.map((served) => this.#close(served)));
      else for (const served of lines) this.#open(served);
    }
    await this.pauseChanged();
  }

  /** Takes no more, finishes what it has, and ends. Limited by whoever calls it. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const cancel of this.#timers.values()) cancel();
    await Promise.all([...this.#served].map((served) => this.#close(served)));
    await Promise.all(this.#running);
    await this.stopped();
    this.conditions.close();
  }

  /** Opens a conversation; the function that is given back closes it again. */
  protected serve<V extends Verbs>(
    protocol: Protocol<V>,
    handlers: Partial<Handlers<V>>,
    options: ServeOptions = {},
  ): () => Promise<void> {
    const subject = this.bus.subject(...(options.tokens ?? [protocol.name]), options.verb ?? '*');
    const queue = options.queue === null ? {} : { queue: options.queue ?? this.context.task };
    const prefix = this.bus.prefix.split('.').length;
    const from = (of: string): From => ({ tokens: of.split('.').slice(prefix) });
    const bucket = options.bucketOf;
    const limit = new Gate(options.concurrency ?? 256);
    const read = async (line: Line): Promise<void> => {
      for await (const incoming of line) {
        const its = from(incoming.subject);
        const sender = options.senderOf?.(its);
        if (sender !== undefined && !this.#shares.take(sender, incoming.size)) {
          this.#refused(`${sender} says more than is heard of it`, true);
          continue;
        }
        await limit.enter();
        const handling = this.#handle(protocol, handlers, incoming, its, sender).finally(() => {
          limit.leave();
          this.#running.delete(handling);
        });
        this.#running.add(handling);
      }
    };
    const served: Served = {
      open: () =>
        this.bus.subscribe(subject, { ...queue, ...(bucket ? { bucketOf: (of) => bucket(from(of)) } : {}) }),
      read,
      always: options.always ?? false,
      line: undefined,
      reading: Promise.resolve(),
    };
    this.#served.add(served);
    if (!this.#paused || this.context.pausing !== 'stops' || served.always) this.#open(served);
    return async () => {
      this.#served.delete(served);
      await this.#close(served);
    };
  }

  /**
   * Calls `what` every `seconds`, the first time after `first` (default: at once), never while the
   * last call is under way, and not while a task that stops is paused. A PiwError is logged and the
   * next call tries again; any other error crashes the actor.
   */
  protected every(seconds: number, what: () => Promise<void> | void, first = 0): void {
    const key = Symbol();
    const later = (s: number) => {
      if (!this.#stopping)
        this.#timers.set(
          key,
          this.clock.after(s * 1000, () => void turn()),
        );
    };
    const turn = async (): Promise<void> => {
      const idle = this.#paused && this.context.pausing === 'stops';
      if (!idle && !this.#stopping) await this.track(what);
      later(seconds);
    };
    later(first);
  }

  /** Does something in the background, under the rules of a handler; stop() waits for it. */
  protected async track(what: () => Promise<void> | void): Promise<void> {
    const doing = (async () => {
      try {
        await what();
      } catch (error) {
        if (error instanceof PiwError) this.#warn(error.message);
        else this.context.crash(error);
      }
    })();
    this.#running.add(doing);
    await doing;
    this.#running.delete(doing);
  }

  /** What fails again at each interval is logged once a minute: what lasts is a condition, and tells when it ends. */
  #warn(text: string): void {
    const now = this.clock.monotonicMs();
    for (const [known, at] of this.#warned) if (now - at >= WARN_AGAIN_MS) this.#warned.delete(known);
    if (this.#warned.has(text)) return;
    this.#warned.set(text, now);
    this.log.warning(text);
  }

  /** Whoever sends nonsense all day long is not to fill the disk with what is said of it. */
  #refused(text: string, once = false): void {
    const now = this.clock.monotonicMs();
    const { since, count } = this.#refusals;
    if (now - since >= REFUSALS.ms) {
      if (count > REFUSALS.lines)
        this.log.warning(`${String(count - REFUSALS.lines)} more messages were refused`);
      this.#refusals = { since: now, count: 0, said: new Set() };
    }
    this.#refusals.count += 1;
    const again = once && this.#refusals.said.has(text);
    if (once) this.#refusals.said.add(text);
    if (!again && this.#refusals.count <= REFUSALS.lines) this.log.warning(text);
  }

  #open(served: Served): void {
    if (served.line || this.#stopping) return;
    const line = served.open();
    served.line = line;
    served.reading = served.read(line).catch(this.context.crash);
  }

  async #close(served: Served): Promise<void> {
    const line = served.line;
    served.line = undefined;
    await line?.stop();
    await served.reading;
  }

  async #handle<V extends Verbs>(
    protocol: Protocol<V>,
    handlers: Partial<Handlers<V>>,
    incoming: Incoming,
    from: From,
    sender: string | undefined,
  ): Promise<void> {
    let verb = '';
    let fatal: unknown;
    let answer: unknown;
    try {
      const message = protocol.unpack(await incoming.body());
      verb = message.verb;
      if (from.tokens.at(-1) !== verb) {
        throw new PiwError(
          'PIW_MESSAGE_INVALID',
          `${verb} was said on the subject of ${String(from.tokens.at(-1))}`,
        );
      }
      this.#count += 1;
      const handler = handlers[verb] as ((message: unknown, from: From) => unknown) | undefined;
      if (!handler) throw new PiwError('PIW_MESSAGE_INVALID', `${verb} is not served here`);
      const result = await handler(message, from);
      if (incoming.asked && result !== undefined)
        answer = protocol.packAnswer(verb, result as Answer<V, string>);
    } catch (error) {
      const known = error instanceof PiwError;
      if (!known) fatal = error;
      else if (error.code === 'PIW_MESSAGE_INVALID') {
        if (sender !== undefined) this.#shares.nonsense(sender);
        this.#refused(`on ${incoming.subject}: ${error.message}`);
      } else if (error.exit === 70)
        // A fault, or a process that was replaced and doesn't know it: whoever asked may not say so anywhere.
        this.#refused(`on ${incoming.subject}: ${verb}: ${error.code}: ${error.message}`, true);
      else this.log.debug(`on ${incoming.subject}: ${verb}: ${error.message}`);
      answer = known
        ? packError(error.code, `${error.message}${error.code === 'PIW_MESSAGE_INVALID' ? OURS : ''}`)
        : packError('PIW_INTERNAL', `${verb} failed: ${reason(error)}`);
    }
    try {
      if (incoming.asked && answer !== undefined) await incoming.answer(answer);
    } catch (error) {
      // The connection went; whoever asked will ask again.
      this.log.warning(`an answer to ${verb} could not be sent: ${reason(error)}`);
    }
    if (fatal !== undefined) this.context.crash(fatal);
  }
}

/** A message that makes no sense is most often one of another version. */
const OURS = `; this is piw ${VERSION} with protocol ${String(PROTOCOL)}`;
/** How long the same warning of something that is done at intervals is not logged again, milliseconds. */
const WARN_AGAIN_MS = 60_000;
/** How many lines of messages that were refused are logged in so many milliseconds. */
const REFUSALS = { lines: 100, ms: 10_000 };

/** Lets in no more than so many at once. */
class Gate {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(places: number) {
    this.#free = places;
  }

  enter(): Promise<void> | void {
    if (this.#free > 0) {
      this.#free -= 1;
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  leave(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free += 1;
  }
}
