import type { DatabaseErrorKind } from './sql-states.js';

/** A state of the server in which valid requests fail. */
type ServerProblem = Exclude<DatabaseErrorKind, 'fault'>;

/** Receives conditions that begin and end; an actor passes its own (src/actor/conditions.ts). */
export interface ConditionSink {
  raise(kind: string, subject: string, text: string): void;
  clear(kind: string, subject: string): void;
}

/**
 * The text of the error and the kind of the condition for each problem. `retry` is not a condition, because it lasts no
 * longer than a transaction.
 */
export const SERVER_PROBLEMS: Readonly<
  Record<ServerProblem, { readonly text: string; readonly condition: string | null }>
> = {
  away: { text: 'the database is unreachable', condition: 'database-away' },
  'read-only': { text: 'the database is read-only', condition: 'database-read-only' },
  full: { text: "the database's disk is full", condition: 'database-full' },
  busy: { text: 'the database is out of connections or memory', condition: 'database-busy' },
  slow: { text: 'a database query took too long', condition: 'database-slow' },
  denied: { text: 'the database denies access to this role', condition: 'database-denied' },
  damaged: { text: 'the database reports corruption', condition: 'database-damaged' },
  retry: { text: 'the transaction conflicted with another one at every attempt', condition: null },
};

const PROBE_INTERVAL_MS = 2000;
/** Time without a failure after which a problem counts as over. The others are over once a probe succeeds. */
const QUIET_PERIOD_MS: Partial<Record<ServerProblem, number>> = {
  busy: 5000,
  full: 10_000,
  slow: 10_000,
  damaged: 60_000,
};

/**
 * Tracks the problems of a server. Each failed request begins a problem, or shows that it persists; the monitor then
 * probes the server every PROBE_INTERVAL_MS until all problems are over, even if nobody sends requests.
 */
export class ServerProblemMonitor {
  readonly #subject: string;
  /** Resolves to whether the server accepts writes; rejects while it doesn't answer. */
  readonly #probe: () => Promise<boolean>;
  readonly #activeSince = new Map<ServerProblem, number>();
  #sink: ConditionSink | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(subject: string, probe: () => Promise<boolean>) {
    this.#subject = subject;
    this.#probe = probe;
  }

  reportTo(sink: ConditionSink): void {
    this.#sink = sink;
  }

  recordFailure(problem: ServerProblem, text: string): void {
    const { condition } = SERVER_PROBLEMS[problem];
    if (!this.#sink || condition === null) return;
    this.#activeSince.set(problem, performance.now());
    this.#sink.raise(condition, this.#subject, text);
    this.#scheduleProbe();
  }

  close(): void {
    this.#sink = undefined;
    clearTimeout(this.#timer);
  }

  #scheduleProbe(): void {
    this.#timer ??= setTimeout(() => void this.#runProbe(), PROBE_INTERVAL_MS).unref();
  }

  async #runProbe(): Promise<void> {
    try {
      const startedAt = performance.now();
      const isWritable = await this.#probe();
      for (const [problem, lastFailedAt] of this.#activeSince) {
        const hasEnded =
          problem === 'read-only' ? isWritable : startedAt - lastFailedAt >= (QUIET_PERIOD_MS[problem] ?? 0);
        const { condition } = SERVER_PROBLEMS[problem];
        if (!hasEnded || condition === null) continue;
        this.#activeSince.delete(problem);
        this.#sink?.clear(condition, this.#subject);
      }
    } catch {
      // The problem persists and has been reported already.
    }
    this.#timer = undefined;
    if (this.#sink && this.#activeSince.size > 0) this.#scheduleProbe();
  }
}
