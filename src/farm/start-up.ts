import { ProtocolClient } from '../actor/client.js';
import type { StartProgress } from '../actor/supervisor.js';
import type { Bus } from '../bus/bus.js';
import { PiwError } from '../errors.js';
import { oracle } from '../protocols/oracle.js';

/** The start fails when nothing has changed for this long, milliseconds. */
const STALL_TIMEOUT_MS = 5 * 60_000;
/** The delay before the first progress report, and the least interval between reports, milliseconds. */
const REPORT_DELAYS_MS = { first: 5000, every: 10_000 };
const REQUEST_TIMEOUTS = { timeoutMs: 2000, patienceMs: 4000 };

interface StartupMonitorOptions {
  readonly stallTimeoutMs?: number;
  readonly reportDelaysMs?: { readonly first: number; readonly every: number };
}

/** Follows the start of a master: how far it is, and whether it is still making progress. */
export class StartupMonitor {
  readonly #onProgress: (text: string) => void;
  readonly #stallTimeoutMs: number;
  readonly #reportDelaysMs: { readonly first: number; readonly every: number };
  #progress: StartProgress | undefined;
  #state = '';
  #changedAt = performance.now();
  #reportedAt: number | undefined;
  #reportedText = '';

  constructor(onProgress: (text: string) => void, options: StartupMonitorOptions = {}) {
    this.#onProgress = onProgress;
    this.#stallTimeoutMs = options.stallTimeoutMs ?? STALL_TIMEOUT_MS;
    this.#reportDelaysMs = options.reportDelaysMs ?? REPORT_DELAYS_MS;
  }

  /** Handles a message from the master over IPC. */
  handleMessage(message: unknown): void {
    const progress = (message as { readonly starting?: StartProgress } | null)?.starting;
    if (!progress) return;
    this.#progress = progress;
    const { ready, missing } = progress;
    // Without the elapsed seconds, which change all the time.
    const state = `${ready} ${missing.join().replace(/\d+ s/g, '')}`;
    const now = performance.now();
    if (state !== this.#state) this.#changedAt = now;
    this.#state = state;
    this.#reportedAt ??= now + this.#reportDelaysMs.first - this.#reportDelaysMs.every;
    if (ready < progress.of && now - this.#reportedAt >= this.#reportDelaysMs.every)
      this.#report(now, progress);
  }

  /**
   * Resolves when the tasks answer a question to the database, however long that takes on a busy machine. Throws
   * PIW_TIMEOUT only when nothing has changed for STALL_TIMEOUT_MS, and PIW_INTERRUPTED when the signal is aborted.
   */
  async waitUntilReady(bus: Bus, signal: AbortSignal): Promise<void> {
    this.#changedAt = performance.now();
    const database = new ProtocolClient(bus, oracle, undefined, { ...REQUEST_TIMEOUTS, signal });
    for (;;) {
      try {
        await database.request('GETABIS', {});
        return;
      } catch (error) {
        if (!(error instanceof PiwError) || !RETRYABLE_CODES.has(error.code)) throw error;
      }
      if (performance.now() - this.#changedAt < this.#stallTimeoutMs) continue;
      const missing = this.#progress?.missing ?? [];
      const detail =
        missing.length === 0 ? 'the database does not answer' : `waiting for ${missing.join(', ')}`;
      const minutes = String(Math.round(this.#stallTimeoutMs / 60_000));
      throw new PiwError('PIW_TIMEOUT', `the tasks have made no progress for ${minutes} minutes: ${detail}`);
    }
  }

  #report(now: number, { ready, of }: StartProgress): void {
    const text = `Starting the tasks: ${ready} of ${of} are ready…`;
    if (text === this.#reportedText) return;
    this.#reportedText = text;
    this.#reportedAt = now;
    this.#onProgress(text);
  }
}

const RETRYABLE_CODES: ReadonlySet<string> = new Set([
  'PIW_TIMEOUT',
  'PIW_NO_RESPONDERS',
  'PIW_DISCONNECTED',
]);
