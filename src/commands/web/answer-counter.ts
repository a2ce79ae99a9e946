import { PassThrough } from 'node:stream';
import type { Settings } from '../../config.js';
import type { AnsweredRequest } from '../../web/web-server.js';
import type { Log } from '../../log.js';
import type { LoggerContext } from '../logger/context.js';
import { countPipeWithoutSpool, countPipeWithSpool } from '../logger/pipe.js';
import { openSpool, createLoggerContext } from '../logger/set-up.js';
import { LoggerSummary } from '../logger/summary.js';

/** Maximum of lines that wait for the spool, bytes; more are dropped, and the log says how many. */
const MAX_BUFFERED_BYTES = 8 * 1024 * 1024;

/**
 * Sends the answers of our own web server to the farm to be counted, as `piw logger` does with the log from a pipe: while
 * the farm is down, they are kept in the spool, or dropped (`drop`). The web server never waits for it.
 */
export class AnswerCounter {
  readonly #log: Log;
  readonly #lines = new PassThrough();
  readonly #shutdown = new AbortController();
  readonly #summary = new LoggerSummary();
  readonly #counting: Promise<void>;
  #active = true;
  #dropped = 0;

  private constructor(
    log: Log,
    count: (input: PassThrough, summary: LoggerSummary, signal: AbortSignal) => Promise<void>,
  ) {
    this.#log = log;
    this.#counting = count(this.#lines, this.#summary, this.#shutdown.signal).catch((error: unknown) => {
      this.#active = false;
      log.error('downloads are no longer counted', {}, error);
    });
  }

  /** Starts counting with these settings. Throws PIW_CONFIG, PIW_NOT_WRITABLE. */
  static async start(
    settings: Settings,
    log: Log,
    connect: LoggerContext['connect'],
  ): Promise<AnswerCounter> {
    // Our own server has the site at its root, whatever path a proxy in front of it uses.
    const rootedSettings = { ...settings, 'path-prefix': '' };
    const spool = settings.drop ? undefined : openSpool(settings);
    const { context, close } = await createLoggerContext(rootedSettings, 'json', { log, connect });
    return new AnswerCounter(log, async (input, summary, signal) => {
      const loggerContext: LoggerContext = { ...context, signal };
      try {
        if (spool) await countPipeWithSpool(input, loggerContext, summary, spool);
        else await countPipeWithoutSpool(input, loggerContext, summary);
      } finally {
        close();
      }
    });
  }

  /** Counts one answer. */
  add({ time, host, method, url, status, agent }: AnsweredRequest): void {
    if (!this.#active) return;
    if (this.#lines.writableLength > MAX_BUFFERED_BYTES) {
      this.#dropped += 1;
      return;
    }
    const line = {
      time: `${new Date(time).toISOString().slice(0, 19)}Z`,
      host,
      request: `${method} ${url} HTTP/1.1`,
      status,
      agent,
    };
    this.#lines.write(`${JSON.stringify(line)}\n`, 'latin1');
  }

  /** Sends what is left, for up to a few seconds; the rest stays in the spool. */
  async end(): Promise<void> {
    this.#lines.end();
    this.#shutdown.abort();
    await this.#counting;
    const dropped = this.#dropped + this.#summary.dropped;
    if (dropped > 0) this.#log.warning('answers were not counted', { count: dropped });
  }
}
