import type { DatabaseErrorKind } from './sql-states.js';

/** A state of the server in which requests fail that are right. */
export type ServerProblem = Exclude<DatabaseErrorKind, 'fault'>;

/** Where conditions are told: of an actor, its own (src/actor/conditions.ts). */
export interface ConditionSink {
  raise(kind: string, subject: string, text: string): void;
  clear(kind: string, subject: string): void;
}

/** What each is called in an error, and which condition it is. `retry` lasts for no longer than a transaction. */
export const SERVER_PROBLEMS: Readonly<
  Record<ServerProblem, { readonly text: string; readonly condition: string | null }>
> = {
  away: { text: 'the database is away', condition: 'database-away' },
  'read-only': { text: 'the database takes no writes', condition: 'database-read-only' },
  full: { text: "the database's disk is full", condition: 'database-full' },
  busy: { text: 'the database has no connection or memory left', condition: 'database-busy' },
  slow: { text: 'the database takes too long', condition: 'database-slow' },
  denied: { text: 'the database refuses this role', condition: 'database-denied' },
  damaged: { text: 'the database reports damage', condition: 'database-damaged' },
  retry: { text: 'other transactions were in the way each time', condition: null },
};

const PROBE_INTERVAL_MS = 2000;
/** Some are known to be over when a probe succeeds; others only when none of them came for this long. */
const QUIET_PERIOD_MS: Partial<Record<ServerProblem, number>> = {
  busy: 5000,
  full: 10_000,
  slow: 10_000,
  damaged: 60_000,
};

/**
 * Follows what the server suffers from. Each failed request begins a trouble, or shows that it lasts; from then on
 * the server is probed until all are over, also when nobody asks for anything.
 */
export class ServerProblemMonitor {
  readonly #subject: string;
  /** Resolves to whether the server takes writes; rejects while it doesn't answer. */
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
      // It lasts, which has been told.
    }
    this.#timer = undefined;
    if (this.#sink && this.#activeSince.size > 0) this.#scheduleProbe();
  }
}
