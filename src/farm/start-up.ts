import { Client } from '../actor/client.js';
import type { Progress } from '../actor/supervisor.js';
import type { Bus } from '../bus/bus.js';
import { PiwError } from '../errors.js';
import { oracle } from '../protocols/oracle.js';

/** A start in which nothing has changed for so long has failed, milliseconds. */
const STALLED_MS = 5 * 60_000;
/** When the user is told how far it is: not before, and then no more often than that, milliseconds. */
const TOLD_MS = { first: 5000, every: 10_000 };
const ASK = { timeoutMs: 2000, patienceMs: 4000 };

export interface StartUpOptions {
  readonly stalledMs?: number;
  readonly toldMs?: { readonly first: number; readonly every: number };
}

/** The start of a master, as the farm sees it: how far it is, and whether it still gets on. */
export class StartUp {
  readonly #say: (text: string) => void;
  readonly #stalledMs: number;
  readonly #toldMs: { readonly first: number; readonly every: number };
  #progress: Progress | undefined;
  #state = '';
  #changedAt = performance.now();
  #toldAt: number | undefined;
  #told = '';

  constructor(say: (text: string) => void, options: StartUpOptions = {}) {
    this.#say = say;
    this.#stalledMs = options.stalledMs ?? STALLED_MS;
    this.#toldMs = options.toldMs ?? TOLD_MS;
  }

  /** What the master says over IPC. */
  heard(message: unknown): void {
    const progress = (message as { readonly starting?: Progress } | null)?.starting;
    if (!progress) return;
    this.#progress = progress;
    const { ready, missing } = progress;
    // Without the seconds, which always change.
    const state = `${String(ready)} ${missing.join().replace(/\d+ s/g, '')}`;
    const now = performance.now();
    if (state !== this.#state) this.#changedAt = now;
    this.#state = state;
    this.#toldAt ??= now + this.#toldMs.first - this.#toldMs.every;
    if (ready < progress.of && now - this.#toldAt >= this.#toldMs.every) this.#tell(now, progress);
  }

  /**
   * Resolves when the database answers through the cast. However long that takes on a busy machine: throws PIW_TIMEOUT
   * only when nothing has changed for STALLED_MS, and PIW_INTERRUPTED when the signal is aborted.
   */
  async finished(bus: Bus, signal: AbortSignal): Promise<void> {
    this.#changedAt = performance.now();
    const database = new Client(bus, oracle, undefined, { ...ASK, signal });
    for (;;) {
      try {
        await database.ask('GETABIS', {});
        return;
      } catch (error) {
        if (!(error instanceof PiwError) || !AGAIN.has(error.code)) throw error;
      }
      if (performance.now() - this.#changedAt < this.#stalledMs) continue;
      const missing = this.#progress?.missing ?? [];
      const what =
        missing.length === 0 ? 'the database does not answer' : `waiting for ${missing.join(', ')}`;
      const minutes = String(Math.round(this.#stalledMs / 60_000));
      throw new PiwError('PIW_TIMEOUT', `the tasks have got no further for ${minutes} minutes: ${what}`);
    }
  }

  #tell(now: number, { ready, of }: Progress): void {
    const text = `Starting the tasks: ${String(ready)} of ${String(of)} are ready…`;
    if (text === this.#told) return;
    this.#told = text;
    this.#toldAt = now;
    this.#say(text);
  }
}

const AGAIN: ReadonlySet<string> = new Set(['PIW_TIMEOUT', 'PIW_NO_RESPONDERS', 'PIW_DISCONNECTED']);
