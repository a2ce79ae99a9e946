import type { Verdict } from './sql-states.js';

/** A state of the server in which requests fail that are right. */
export type ServerTrouble = Exclude<Verdict, 'fault'>;

/** Where conditions are told: of an actor, its own (src/actor/conditions.ts). */
export interface Teller {
  raise(kind: string, subject: string, text: string): void;
  clear(kind: string, subject: string): void;
}

/** What each is called in an error, and which condition it is. `retry` lasts for no longer than a transaction. */
export const TROUBLES: Readonly<
  Record<ServerTrouble, { readonly text: string; readonly condition: string | null }>
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
const CALM_MS: Partial<Record<ServerTrouble, number>> = {
  busy: 5000,
  full: 10_000,
  slow: 10_000,
  damaged: 60_000,
};

/**
 * Follows what the server suffers from. Each failed request begins a trouble, or shows that it lasts; from then on
 * the server is probed until all are over, also when nobody asks for anything.
 */
export class TroubleWatch {
  readonly #subject: string;
  /** Resolves to whether the server takes writes; rejects while it doesn't answer. */
  readonly #probe: () => Promise<boolean>;
  readonly #lasting = new Map<ServerTrouble, number>();
  #teller: Teller | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(subject: string, probe: () => Promise<boolean>) {
    this.#subject = subject;
    this.#probe = probe;
  }

  tellTo(teller: Teller): void {
    this.#teller = teller;
  }

  failed(trouble: ServerTrouble, text: string): void {
    const { condition } = TROUBLES[trouble];
    if (!this.#teller || condition === null) return;
    this.#lasting.set(trouble, performance.now());
    this.#teller.raise(condition, this.#subject, text);
    this.#later();
  }

  close(): void {
    this.#teller = undefined;
    clearTimeout(this.#timer);
  }

  #later(): void {
    this.#timer ??= setTimeout(() => void this.#look(), PROBE_INTERVAL_MS).unref();
  }

  async #look(): Promise<void> {
    try {
      const began = performance.now();
      const writes = await this.#probe();
      for (const [trouble, at] of this.#lasting) {
        const over = trouble === 'read-only' ? writes : began - at >= (CALM_MS[trouble] ?? 0);
        const { condition } = TROUBLES[trouble];
        if (!over || condition === null) continue;
        this.#lasting.delete(trouble);
        this.#teller?.clear(condition, this.#subject);
      }
    } catch {
      // It lasts, which has been told.
    }
    this.#timer = undefined;
    if (this.#teller && this.#lasting.size > 0) this.#later();
  }
}
