import { ProtocolClient } from '../../actor/client.js';
import type { RequestOptions, Bus } from '../../bus/bus.js';
import { backOffMs } from '../../concurrency/back-off.js';
import { retry } from '../../concurrency/retry.js';
import { PiwError } from '../../errors.js';
import { lumberjack } from '../../protocols/logger.js';
import type { Answer } from '../../protocols/protocol.js';
import type { LogPosition, LogStretch } from '../../protocols/weblog.js';
import type { LogCollector } from '../../weblog/counting.js';

interface FarmConnectionOptions {
  readonly connect: () => Promise<Bus>;
  /** Timeout of one request, milliseconds. */
  readonly timeoutMs: number;
  /** How long an unanswered request is retried, milliseconds; Infinity: until the signal is aborted. */
  readonly patienceMs: number;
  readonly signal: AbortSignal;
  /** Called with the reason when the farm stops answering, and with undefined when it answers again. */
  readonly onAvailabilityChange: (reason: string | undefined) => void;
}

const RETRY_BACK_OFF = { firstMs: 100, maxMs: 2000 };

type LumberjackVerbs = typeof lumberjack.verbs;

/**
 * The logger's connection to a farm that may be down for a while: NATS, Lumberjack, the Oracle or the database. Requests
 * are retried until they are answered; all of them are idempotent.
 */
export class FarmConnection implements LogCollector {
  readonly #options: FarmConnectionOptions;
  #client: Promise<ProtocolClient<LumberjackVerbs>> | undefined;
  #bus: Bus | undefined;
  #unavailableSince: number | undefined;

  constructor(options: FarmConnectionOptions) {
    this.#options = options;
  }

  /** How long the farm has not answered, milliseconds; 0 if it answered the last request. */
  get unavailableMs(): number {
    return this.#unavailableSince === undefined ? 0 : performance.now() - this.#unavailableSince;
  }

  async findPositions(head: string, fresh: boolean): Promise<readonly LogPosition[]> {
    return await this.#request(async (client, options) => {
      return (await client.request('LOGS', { head, fresh }, options)).positions;
    });
  }

  async submit(stretch: LogStretch): Promise<Answer<LumberjackVerbs, 'LOGENTRIES'>> {
    return await this.#request((client, options) => client.request('LOGENTRIES', stretch, options));
  }

  async close(): Promise<void> {
    await this.#bus?.drain();
  }

  async #request<T>(
    send: (client: ProtocolClient<LumberjackVerbs>, options: RequestOptions) => Promise<T>,
  ): Promise<T> {
    const { timeoutMs, patienceMs, signal, onAvailabilityChange } = this.#options;
    const deadline = performance.now() + patienceMs;
    const attempt = async (): Promise<T> => {
      const client = await (this.#client ??= this.#connect());
      const answer = await send(client, { timeoutMs, once: true, signal });
      if (this.#unavailableSince !== undefined) onAvailabilityChange(undefined);
      this.#unavailableSince = undefined;
      return answer;
    };
    const pauseOrGiveUp = (error: unknown, failures: number): number => {
      // The farm would refuse a retry, too, and an error of our own is not an outage of the farm.
      if (!(error instanceof PiwError) || NON_RETRYABLE_CODES.has(error.code)) throw error;
      if (this.#unavailableSince === undefined) onAvailabilityChange(error.message);
      this.#unavailableSince ??= performance.now();
      const pauseMs = backOffMs(RETRY_BACK_OFF, failures);
      if (performance.now() + pauseMs > deadline) throw error;
      return pauseMs;
    };
    return await retry(attempt, pauseOrGiveUp, { signal });
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
