import type { Bus } from '../bus/bus.js';
import { PiwError } from '../errors.js';
import type { Log } from '../log.js';
import {
  MAX_CONDITIONS,
  REPORT_EXPIRY_S,
  REPORT_INTERVAL_S,
  conditionReports,
  type Condition,
} from '../protocols/conditions.js';
import { Client } from './client.js';
import type { Clock } from './clock.js';

/** A condition that returns within this time has not ended: one log line each, however much it flickers. */
const CALM_MS = 2000;
const MAX_TEXT = 200;

interface Active {
  readonly condition: Condition;
  readonly began: number;
  cancelEnd: (() => void) | undefined;
}

/**
 * The conditions of one process. Each is logged once when it begins and once when it ends, and reported while it
 * lasts. Reports need NATS and nothing else; while NATS is away, the log alone has them. A process that dies
 * reports nothing any more, and its conditions expire where they are shown.
 */
export class Conditions {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #source: string;
  readonly #reports: Client<typeof conditionReports.verbs>;
  readonly #active = new Map<string, Active>();
  #cancelReport: (() => void) | undefined;
  #closed = false;

  /** `source` is unique to this process, or to this part of it. */
  constructor(bus: Bus, log: Log, clock: Clock, source: string) {
    this.#log = log;
    this.#clock = clock;
    this.#source = source;
    this.#reports = new Client(bus, conditionReports);
  }

  /**
   * Says that a condition lasts; saying it again changes only its text. `since` is when it began, if not now,
   * in milliseconds since 1970.
   */
  raise(kind: string, subject: string, text: string, since = this.#clock.now()): void {
    const key = keyOf({ kind, subject });
    const known = this.#active.get(key);
    const condition = { kind, subject, since: known?.condition.since ?? since, text: line(text) };
    if (!known && this.#active.size >= MAX_CONDITIONS) return;
    known?.cancelEnd?.();
    const began = known?.began ?? this.#clock.monotonicMs() - Math.max(0, this.#clock.now() - since);
    this.#active.set(key, { condition, began, cancelEnd: undefined });
    // A new text goes with the next report.
    if (known) return;
    this.#log.warning(`condition began kind=${kind} subject=${subject}: ${condition.text}`);
    this.#report();
  }

  /** Says that a condition has ended, also where none was. */
  clear(kind: string, subject: string): void {
    const key = keyOf({ kind, subject });
    const known = this.#active.get(key);
    if (!known || known.cancelEnd) return;
    known.cancelEnd = this.#clock.after(CALM_MS, () => {
      if (this.#active.get(key) !== known) return;
      this.#active.delete(key);
      const seconds = Math.round((this.#clock.monotonicMs() - known.began) / 1000);
      this.#log.info(`condition ended kind=${kind} subject=${subject} lasted=${String(seconds)}s`);
      this.#report();
    });
  }

  /** Those that last, in the order in which they began. */
  get active(): readonly Condition[] {
    return [...this.#active.values()].map(({ condition }) => condition);
  }

  /** Ends all of them, with the process: nobody is left to say when they end. */
  close(): void {
    for (const { cancelEnd } of this.#active.values()) cancelEnd?.();
    const had = this.#active.size > 0;
    this.#active.clear();
    this.#cancelReport?.();
    if (had) this.#publish();
    this.#closed = true;
  }

  #report(): void {
    if (this.#closed) return;
    this.#cancelReport?.();
    this.#cancelReport = undefined;
    this.#publish();
    if (this.#active.size === 0) return;
    this.#cancelReport = this.#clock.after(REPORT_INTERVAL_S * 1000, () => {
      this.#report();
    });
  }

  #publish(): void {
    this.#reports
      .publish('REPORT', { source: this.#source, conditions: [...this.active] })
      .catch((error: unknown) => {
        // The next report follows; a condition never ends the process that has it.
        this.#log.debug(
          `conditions not reported: ${error instanceof PiwError ? error.message : String(error)}`,
        );
      });
  }
}

/** The conditions of all processes, as their reports have them; what is not reported again expires. */
export class ConditionBoard {
  readonly #clock: Clock;
  readonly #sources = new Map<string, { readonly at: number; readonly conditions: readonly Condition[] }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Returns whether the report changes what list() returns. */
  report(source: string, conditions: readonly Condition[]): boolean {
    const before = this.#keys();
    if (conditions.length === 0) this.#sources.delete(source);
    else this.#sources.set(source, { at: this.#clock.monotonicMs(), conditions });
    return before !== this.#keys();
  }

  /** Each condition once, the oldest first; of one that several report, since the first of them. */
  list(): readonly Condition[] {
    const oldest = this.#clock.monotonicMs() - REPORT_EXPIRY_S * 1000;
    const merged = new Map<string, Condition>();
    for (const [source, { at, conditions }] of this.#sources) {
      if (at < oldest) this.#sources.delete(source);
      else
        for (const condition of conditions) {
          const known = merged.get(keyOf(condition));
          if (!known || condition.since < known.since) merged.set(keyOf(condition), condition);
        }
    }
    return [...merged.values()].sort((a, b) => a.since - b.since).slice(0, MAX_CONDITIONS);
  }

  #keys(): string {
    return this.list().map(keyOf).join('\n');
  }
}

const keyOf = ({ kind, subject }: Pick<Condition, 'kind' | 'subject'>): string => `${kind} ${subject}`;

/** What came from outside is one line, and of bounded length. */
const line = (text: string): string => text.replace(/\p{Cc}+/gu, ' ').slice(0, MAX_TEXT);
