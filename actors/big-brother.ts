import { Actor, type ActorContext } from '../src/actor/actor.js';
import { systemClock, type Clock } from '../src/concurrency/clock.js';
import { ConditionBoard } from '../src/actor/conditions.js';
import { ANNOUNCE_INTERVAL_S, TaskWatch, type WatchedTask } from '../src/actor/task-watch.js';
import { ProtocolClient } from '../src/actor/client.js';
import type { RequestOptions } from '../src/bus/bus.js';
import { bigBrother } from '../src/protocols/big-brother.js';
import { conditionReports } from '../src/protocols/conditions.js';
import { slaveControl, status } from '../src/protocols/control.js';
import { PiwError, rethrowUnexpected } from '../src/errors.js';
import { fileJuggler } from '../src/protocols/file-juggler.js';
import { oracle } from '../src/protocols/oracle.js';
import type { Statistics } from '../src/protocols/statistics.js';
import { secretary } from '../src/protocols/web.js';

interface BigBrotherSettings {
  readonly intervalS: number;
  /** The tasks that must be running. */
  readonly tasks: readonly WatchedTask[];
}

/** Request options on shutdown: how long each actor that is asked may take. */
const SHUTDOWN_ASK_OPTIONS = { timeoutMs: 2000, once: true } as const;
/** Milliseconds for which a task's last answer is used while it doesn't answer. */
const LAST_VALUE_TTL_MS = 300_000;

/**
 * Gathers the statistics from the database, the file system and the slaves, and sends them to the home page
 * and to monitors. It also has the database sum up the history behind them. After an outage there is more to
 * sum up, and nothing is missing.
 *
 * Big Brother also keeps the conditions that all processes report, and adds them to the statistics. While the
 * database is down he sends the last figures, which carry the time when they were counted, with the current
 * conditions.
 */
export class BigBrother extends Actor {
  readonly #settings: BigBrotherSettings;
  readonly #oracle: ProtocolClient<typeof oracle.verbs>;
  readonly #secretary: ProtocolClient<typeof secretary.verbs>;
  readonly #status: ProtocolClient<typeof status.verbs>;
  readonly #diskSpace: LastKnownValue<{ readonly total: number; readonly free: number }>;
  readonly #slaveCounts: LastKnownValue<Statistics['slaves']>;
  readonly #conditionBoard: ConditionBoard;
  readonly #taskWatch: TaskWatch;
  #lastStatistics: Statistics | undefined;

  constructor(context: ActorContext, settings: BigBrotherSettings) {
    super(context);
    this.#settings = settings;
    this.#conditionBoard = new ConditionBoard(this.clock);
    this.#taskWatch = new TaskWatch(systemClock, settings.tasks);
    this.#oracle = new ProtocolClient(this.bus, oracle, undefined, { timeoutMs: 30_000 });
    this.#secretary = new ProtocolClient(this.bus, secretary);
    this.#status = new ProtocolClient(this.bus, status);
    // Both answer from memory, or not at all: the other figures don't wait for them.
    const files = new ProtocolClient(this.bus, fileJuggler, undefined, { timeoutMs: 2000 });
    const slaves = new ProtocolClient(this.bus, slaveControl, undefined, { timeoutMs: 2000 });
    this.#diskSpace = new LastKnownValue(this.clock, () => files.request('STATVFS', {}));
    this.#slaveCounts = new LastKnownValue(this.clock, async () => {
      const states = new Map<string, number>();
      for (const { state } of (await slaves.request('HELLO', {})).slaves)
        states.set(state, (states.get(state) ?? 0) + 1);
      return [...states].sort();
    });
  }

  override start(): void {
    this.serve(
      bigBrother,
      {
        GATHER: async () => ({ verb: 'STATISTICS', statistics: await this.#gather() }),
        CONDITIONS: () => ({ verb: 'CONDITIONS', conditions: [...this.#conditionBoard.list()] }),
      },
      // Somebody who asks how a paused farm is needs an answer most of all.
      { whilePaused: true },
    );
    this.serve(
      conditionReports,
      {
        REPORT: ({ source, conditions }) => {
          if (this.#conditionBoard.report(source, conditions))
            void this.runInBackground(() => this.#publish());
        },
      },
      { queue: null, whilePaused: true },
    );
    this.serve(
      status,
      {
        ACTOR: ({ task, working }) => {
          this.#taskWatch.onAnnouncement(task, working);
        },
      },
      { verb: 'ACTOR', queue: null, whilePaused: true },
    );
    this.every(ANNOUNCE_INTERVAL_S, () => {
      this.#taskWatch.updateConditions(this.conditions, (task) => task !== this.context.task);
    });
    this.every(this.#settings.intervalS, async () => {
      await this.#sumUp();
      await this.#publish();
    });
  }

  /** Sends the final figures, so that a farm that builds something and then exits leaves them complete. */
  protected override async onStopped(): Promise<void> {
    try {
      // Another process may already have the lease.
      this.context.assertLeader();
      await this.#secretary.request(
        'HOME',
        { statistics: await this.#gather(SHUTDOWN_ASK_OPTIONS) },
        SHUTDOWN_ASK_OPTIONS,
      );
    } catch (error) {
      rethrowUnexpected(error);
    }
  }

  async #publish(): Promise<void> {
    const statistics = await this.#gather();
    await this.#status.publish('STATISTICS', { statistics });
    await this.#secretary.request('HOME', { statistics });
  }

  /** Sums up all that there is, but no longer than until the figures are due again. */
  async #sumUp(): Promise<void> {
    const deadline = this.clock.monotonicMs() + this.#settings.intervalS * 1000;
    for (let more = true; more && this.clock.monotonicMs() < deadline && !this.isStopping();)
      ({ more } = await this.#oracle
        .request('SUMUP', { fence: this.context.assertLeader() })
        .catch(doneIfUnavailable));
  }

  /** Returns short timeouts once there are figures to fall back on, so that conditions are not delayed. */
  #askOptions(): RequestOptions {
    return this.#lastStatistics ? { timeoutMs: 5000, once: true } : {};
  }

  /** Returns the database's figures; while it is down, the last ones. */
  async #loadStatistics(options?: RequestOptions): Promise<Statistics> {
    try {
      this.#lastStatistics = (
        await this.#oracle.request('GETSTATS', {}, options ?? this.#askOptions())
      ).statistics;
    } catch (error) {
      doneIfUnavailable(error);
      if (!this.#lastStatistics) throw error;
    }
    return this.#lastStatistics;
  }

  async #gather(options?: RequestOptions): Promise<Statistics> {
    const [databaseStatistics, space, slaves] = await Promise.all([
      this.#loadStatistics(options),
      this.#diskSpace.get(),
      this.#slaveCounts.get(),
    ]);
    return {
      ...databaseStatistics,
      slaves: slaves ?? [],
      disk_total: space?.total ?? 0,
      disk_free: space?.free ?? 0,
      conditions: [...this.#conditionBoard.list()],
    };
  }
}

/**
 * Answers "nothing more" if the database or the Oracle is unavailable; the Oracle reports that. Throws any
 * other error.
 */
function doneIfUnavailable(error: unknown): { more: false } {
  if (!(error instanceof PiwError) || error.code === 'PIW_FENCED') throw error;
  return { more: false };
}

/**
 * Keeps a task's last answer for a while, so that a task that stops answering costs only its own figures, and
 * those only after `LAST_VALUE_TTL_MS`.
 */
class LastKnownValue<T> {
  readonly #clock: Clock;
  readonly #fetch: () => Promise<T>;
  #last: { readonly value: T; readonly receivedAtMs: number } | undefined;

  constructor(clock: Clock, fetch: () => Promise<T>) {
    this.#clock = clock;
    this.#fetch = fetch;
  }

  async get(): Promise<T | undefined> {
    try {
      const value = await this.#fetch();
      this.#last = { value, receivedAtMs: this.#clock.monotonicMs() };
    } catch (error) {
      rethrowUnexpected(error);
      if (this.#last && this.#clock.monotonicMs() - this.#last.receivedAtMs > LAST_VALUE_TTL_MS)
        this.#last = undefined;
    }
    return this.#last?.value;
  }
}
