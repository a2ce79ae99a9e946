import { setTimeout as sleep } from 'node:timers/promises';
import { ProtocolClient } from '../../actor/client.js';
import type { RequestOptions, Bus } from '../../bus/bus.js';
import { PiwError } from '../../errors.js';
import { lumberjack } from '../../protocols/logger.js';
import type { Answer } from '../../protocols/protocol.js';
import type { LogPosition, LogStretch } from '../../protocols/weblog.js';
import type { LogCollector } from '../../weblog/counting.js';

export interface FarmConnectionOptions {
  readonly connect: () => Promise<Bus>;
  /** How long one question waits for its answer, milliseconds. */
  readonly timeoutMs: number;
  /** How long a farm that doesn't answer is asked again; Infinity: until the signal is aborted. */
  readonly patienceMs: number;
  readonly signal: AbortSignal;
  /** The farm is away now, and why; or (undefined) it answers again. */
  readonly onAvailabilityChange: (why: string | undefined) => void;
}

/** How long it waits before it asks again, milliseconds: at first, and at most. */
const RETRY_DELAY_MS = { initial: 100, max: 2000 };

type LumberjackVerbs = typeof lumberjack.verbs;

/**
 * The farm as piw logger knows it, which comes and goes: NATS, Lumberjack, the Oracle and the database may each be
 * away for a while. What it is asked it is asked again until it answers; all of it may be repeated.
 */
export class FarmConnection implements LogCollector {
  readonly #options: FarmConnectionOptions;
  #client: Promise<ProtocolClient<LumberjackVerbs>> | undefined;
  #bus: Bus | undefined;
  #unavailableSince: number | undefined;

  constructor(options: FarmConnectionOptions) {
    this.#options = options;
  }

  /** For how long it hasn't answered, milliseconds; 0: it did the last time. */
  get unavailableMs(): number {
    return this.#unavailableSince === undefined ? 0 : performance.now() - this.#unavailableSince;
  }

  async findPositions(head: string, fresh: boolean): Promise<readonly LogPosition[]> {
    return await this.#ask(async (client, options) => {
      return (await client.request('LOGS', { head, fresh }, options)).positions;
    });
  }

  async submit(stretch: LogStretch): Promise<Answer<LumberjackVerbs, 'LOGENTRIES'>> {
    return await this.#ask((client, options) => client.request('LOGENTRIES', stretch, options));
  }

  async close(): Promise<void> {
    await this.#bus?.drain();
  }

  async #ask<T>(
    question: (client: ProtocolClient<LumberjackVerbs>, options: RequestOptions) => Promise<T>,
  ): Promise<T> {
    const { timeoutMs, patienceMs, signal, onAvailabilityChange } = this.#options;
    const deadline = performance.now() + patienceMs;
    for (let pause = RETRY_DELAY_MS.initial; ; pause = Math.min(2 * pause, RETRY_DELAY_MS.max)) {
      try {
        const client = await (this.#client ??= this.#connect());
        const answer = await question(client, { timeoutMs, once: true, signal });
        if (this.#unavailableSince !== undefined) onAvailabilityChange(undefined);
        this.#unavailableSince = undefined;
        return answer;
      } catch (error) {
        // What it refuses it would refuse again; and a fault of our own isn't the farm's.
        if (!(error instanceof PiwError) || NON_RETRYABLE_CODES.has(error.code)) throw error;
        if (this.#unavailableSince === undefined) onAvailabilityChange(error.message);
        this.#unavailableSince ??= performance.now();
        if (signal.aborted || performance.now() + pause > deadline) throw error;
        await sleep(pause, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  async #connect(): Promise<ProtocolClient<LumberjackVerbs>> {
    try {
      this.#bus = await this.#options.connect();
      return new ProtocolClient(this.#bus, lumberjack);
    } catch (error) {
      this.#client = undefined;
      throw error;
    }
  }
}

const NON_RETRYABLE_CODES: ReadonlySet<string> = new Set(['PIW_REFUSED', 'PIW_CONFIG', 'PIW_INTERRUPTED']);
