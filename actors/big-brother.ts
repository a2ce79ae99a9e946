import { Actor, type ActorContext } from '../src/actor/actor.js';
import { systemClock, type Clock } from '../src/actor/clock.js';
import { ConditionBoard } from '../src/actor/conditions.js';
import { ANNOUNCE_INTERVAL_S, TaskWatch, type WatchedTask } from '../src/actor/task-watch.js';
import { Client } from '../src/actor/client.js';
import type { AskOptions } from '../src/bus/bus.js';
import { bigBrother } from '../src/protocols/big-brother.js';
import { conditionReports } from '../src/protocols/conditions.js';
import { slaveControl, status } from '../src/protocols/control.js';
import { PiwError } from '../src/errors.js';
import { fileSystem } from '../src/protocols/file-juggler.js';
import { oracle } from '../src/protocols/oracle.js';
import type { Statistics } from '../src/protocols/statistics.js';
import { secretary } from '../src/protocols/web.js';

export interface BigBrotherSettings {
  readonly intervalS: number;
  /** Those that have to be at work. */
  readonly tasks: readonly WatchedTask[];
}

/** How long each of those that it asks may take when it is told to end. */
const LAST = { timeoutMs: 2000, once: true } as const;
/** What a task has said holds for so long if it doesn't answer any more, milliseconds. */
const HOLDS_MS = 300_000;

/**
 * Puts the statistics together, from the database, the file system and the slaves, and sends them to
 * the home page and to whoever watches. It also has the database sum up what they and their history consist of.
 * After a time away there is more to sum up, and nothing is missing.
 *
 * He keeps what all processes report as their conditions, and puts it with the statistics. While the database is
 * away he sends the figures that he has, which say when they were counted, with the conditions of now.
 */
export class BigBrother extends Actor {
  readonly #settings: BigBrotherSettings;
  readonly #database: Client<typeof oracle.verbs>;
  readonly #secretary: Client<typeof secretary.verbs>;
  readonly #status: Client<typeof status.verbs>;
  readonly #space: LastSaid<{ readonly total: number; readonly free: number }>;
  readonly #slaves: LastSaid<Statistics['slaves']>;
  readonly #board: ConditionBoard;
  readonly #tasks: TaskWatch;
  #counted: Statistics | undefined;

  constructor(context: ActorContext, settings: BigBrotherSettings) {
    super(context);
    this.#settings = settings;
    this.#board = new ConditionBoard(this.clock);
    this.#tasks = new TaskWatch(systemClock, settings.tasks);
    this.#database = new Client(this.bus, oracle, undefined, { timeoutMs: 30_000 });
    this.#secretary = new Client(this.bus, secretary);
    this.#status = new Client(this.bus, status);
    // They answer from memory, or not at all: the other figures don't wait for them.
    const files = new Client(this.bus, fileSystem, undefined, { timeoutMs: 2000 });
    const slaves = new Client(this.bus, slaveControl, undefined, { timeoutMs: 2000 });
    this.#space = new LastSaid(this.clock, () => files.ask('STATVFS', {}));
    this.#slaves = new LastSaid(this.clock, async () => {
      const states = new Map<string, number>();
      for (const { state } of (await slaves.ask('HELLO', {})).slaves)
        states.set(state, (states.get(state) ?? 0) + 1);
      return [...states].sort();
    });
  }

  override start(): void {
    this.serve(bigBrother, {
      GATHER: async () => ({ verb: 'STATISTICS', statistics: await this.#gather() }),
      CONDITIONS: () => ({ verb: 'CONDITIONS', conditions: [...this.#board.list()] }),
    });
    this.serve(
      conditionReports,
      {
        REPORT: ({ source, conditions }) => {
          if (this.#board.report(source, conditions)) void this.track(() => this.#send());
        },
      },
      { queue: null, always: true },
    );
    this.serve(
      status,
      {
        ACTOR: ({ task, working }) => {
          this.#tasks.heard(task, working);
        },
      },
      { verb: 'ACTOR', queue: null, always: true },
    );
    this.every(ANNOUNCE_INTERVAL_S, () => {
      this.#tasks.tell(this.conditions, (task) => task !== this.context.task);
    });
    this.every(this.#settings.intervalS, async () => {
      await this.#sumUp();
      await this.#send();
    });
  }

  /** A farm that was told to build something, and to end then, leaves figures that have all of it. */
  protected override async stopped(): Promise<void> {
    try {
      // Another one may be at work by now.
      this.context.fence();
      await this.#secretary.ask('HOME', { statistics: await this.#gather(LAST) }, LAST);
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
    }
  }

  async #send(): Promise<void> {
    const statistics = await this.#gather();
    await this.#status.publish('STATISTICS', { statistics });
    await this.#secretary.ask('HOME', { statistics });
  }

  /** As much as there is, but no longer than until the figures are due again. */
  async #sumUp(): Promise<void> {
    const end = this.clock.monotonicMs() + this.#settings.intervalS * 1000;
    for (let more = true; more && this.clock.monotonicMs() < end && !this.isStopping();)
      ({ more } = await this.#database.ask('SUMUP', { fence: this.context.fence() }).catch(unlessAway));
  }

  /** Those that wait for the conditions don't wait long for figures, where there are some. */
  #patience(): AskOptions {
    return this.#counted ? { timeoutMs: 5000, once: true } : {};
  }

  /** The database's figures; while it is away, those that it gave last. */
  async #count(options?: AskOptions): Promise<Statistics> {
    try {
      this.#counted = (await this.#database.ask('GETSTATS', {}, options ?? this.#patience())).statistics;
    } catch (error) {
      unlessAway(error);
      if (!this.#counted) throw error;
    }
    return this.#counted;
  }

  async #gather(options?: AskOptions): Promise<Statistics> {
    const [counted, space, slaves] = await Promise.all([
      this.#count(options),
      this.#space.get(),
      this.#slaves.get(),
    ]);
    return {
      ...counted,
      slaves: slaves ?? [],
      disk_total: space?.total ?? 0,
      disk_free: space?.free ?? 0,
      conditions: [...this.#board.list()],
    };
  }
}

/** Nothing more is to be summed up while the database, or the Oracle before it, is away; the Oracle tells of that. */
function unlessAway(error: unknown): { more: false } {
  if (!(error instanceof PiwError) || error.code === 'PIW_FENCED') throw error;
  return { more: false };
}

/** A task that doesn't answer now costs its own figures, not all of them, and those only after a while. */
class LastSaid<T> {
  readonly #clock: Clock;
  readonly #ask: () => Promise<T>;
  #said: { readonly what: T; readonly at: number } | undefined;

  constructor(clock: Clock, ask: () => Promise<T>) {
    this.#clock = clock;
    this.#ask = ask;
  }

  async get(): Promise<T | undefined> {
    try {
      const what = await this.#ask();
      this.#said = { what, at: this.#clock.monotonicMs() };
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      if (this.#said && this.#clock.monotonicMs() - this.#said.at > HOLDS_MS) this.#said = undefined;
    }
    return this.#said?.what;
  }
}
