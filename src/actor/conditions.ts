import type { Bus } from '../bus/bus.js';
import type { Log } from '../log.js';
import {
  MAX_CONDITIONS,
  REPORT_EXPIRY_S,
  REPORT_INTERVAL_S,
  conditionReports,
  type Condition,
} from '../protocols/conditions.js';
import { ProtocolClient } from './client.js';
import type { Clock } from '../concurrency/clock.js';

/** A condition that returns within this time, milliseconds, has not ended, so a flickering condition is logged once. */
const CLEAR_DELAY_MS = 2000;
const MAX_TEXT = 200;

interface ActiveCondition {
  readonly condition: Condition;
  readonly beganAtMs: number;
  cancelEnd: (() => void) | undefined;
}

/**
 * The conditions of one process. Each is logged once when it begins and once when it ends, and reported while it lasts.
 * Reports need NATS and nothing else; while NATS is down, conditions are only logged. A process that dies no longer
 * reports, and its conditions expire where they are shown.
 */
export class Conditions {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #source: string;
  readonly #reports: ProtocolClient<typeof conditionReports.verbs>;
  readonly #active = new Map<string, ActiveCondition>();
  #cancelReport: (() => void) | undefined;
  #closed = false;

  /** `source` must be unique to this process, or to this part of it. */
  constructor(bus: Bus, log: Log, clock: Clock, source: string) {
    this.#log = log;
    this.#clock = clock;
    this.#source = source;
    this.#reports = new ProtocolClient(bus, conditionReports);
  }

  /**
   * Begins a condition; for one that lasts already, only changes its text. `since` is when it began, if not now, in
   * milliseconds since 1970.
   */
  raise(kind: string, subject: string, text: string, since = this.#clock.now()): void {
    const key = keyOf({ kind, subject });
    const existing = this.#active.get(key);
    const condition = { kind, subject, since: existing?.condition.since ?? since, text: oneLine(text) };
    if (!existing && this.#active.size >= MAX_CONDITIONS) return;
    existing?.cancelEnd?.();
    const began = existing?.beganAtMs ?? this.#clock.monotonicMs() - Math.max(0, this.#clock.now() - since);
    this.#active.set(key, { condition, beganAtMs: began, cancelEnd: undefined });
    // A changed text is sent with the next report.
    if (existing) return;
    this.#log.warning('condition began', { kind, subject, text: condition.text });
    this.#report();
  }

  /** Ends a condition; harmless if there is none. */
  clear(kind: string, subject: string): void {
    const key = keyOf({ kind, subject });
    const existing = this.#active.get(key);
    if (!existing || existing.cancelEnd) return;
    existing.cancelEnd = this.#clock.after(CLEAR_DELAY_MS, () => {
      if (this.#active.get(key) !== existing) return;
      this.#active.delete(key);
      const lastedMs = this.#clock.monotonicMs() - existing.beganAtMs;
      this.#log.info('condition ended', { kind, subject, lasted_s: Math.round(lastedMs / 1000) });
      this.#report();
    });
  }

  /** The conditions that last, in the order in which they began. */
  get active(): readonly Condition[] {
    return [...this.#active.values()].map(({ condition }) => condition);
  }

  /** Ends all conditions when the process ends, because nobody would be left to end them later. */
  close(): void {
    for (const { cancelEnd } of this.#active.values()) cancelEnd?.();
    const hadActive = this.#active.size > 0;
    this.#active.clear();
    this.#cancelReport?.();
    if (hadActive) this.#publish();
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
        // Another report follows. Reporting a condition must never end the process.
        this.#log.debug('conditions could not be reported', {}, error);
      });
  }
}

/** The conditions of all processes, from their reports; a condition that is not reported again expires. */
export class ConditionBoard {
  readonly #clock: Clock;
  readonly #sources = new Map<
    string,
    { readonly reportedAtMs: number; readonly conditions: readonly Condition[] }
  >();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Records a report; returns whether it changes which conditions list() returns. */
  report(source: string, conditions: readonly Condition[]): boolean {
    const before = this.#keys();
    if (conditions.length === 0) this.#sources.delete(source);
    else this.#sources.set(source, { reportedAtMs: this.#clock.monotonicMs(), conditions });
    return before !== this.#keys();
  }

  /** Returns each condition once, the oldest first; one that several processes report has its earliest `since`. */
  list(): readonly Condition[] {
    const oldest = this.#clock.monotonicMs() - REPORT_EXPIRY_S * 1000;
    const merged = new Map<string, Condition>();
    for (const [source, { reportedAtMs, conditions }] of this.#sources) {
      if (reportedAtMs < oldest) this.#sources.delete(source);
      else
        for (const condition of conditions) {
          const earlier = merged.get(keyOf(condition));
          if (!earlier || condition.since < earlier.since) merged.set(keyOf(condition), condition);
        }
    }
    return [...merged.values()].sort((a, b) => a.since - b.since).slice(0, MAX_CONDITIONS);
  }

  #keys(): string {
    return this.list().map(keyOf).join('\n');
  }
}

const keyOf = ({ kind, subject }: Pick<Condition, 'kind' | 'subject'>): string => `${kind} ${subject}`;

/** Makes a text that may come from outside one line of bounded length. */
const oneLine = (text: string): string => text.replace(/\p{Cc}+/gu, ' ').slice(0, MAX_TEXT);
