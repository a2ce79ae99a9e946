import { PassThrough } from 'node:stream';
import type { Settings } from '../../config.js';
import { PiwError, errorMessage } from '../../errors.js';
import type { AnsweredRequest } from '../../farm/web-server.js';
import type { Log } from '../../log.js';
import type { LoggerContext } from '../logger/context.js';
import { countPipeWithoutSpool, countPipeWithSpool } from '../logger/pipe.js';
import { openSpool, createLoggerContext } from '../logger/set-up.js';
import { LoggerSummary } from '../logger/summary.js';

/** Lines that may wait for the spool, bytes; those beyond are dropped, and the log says how many. */
const MAX_BUFFERED_BYTES = 8 * 1024 * 1024;

/**
 * Has the farm count what our own web server answers, as `piw logger` has it count what a web server writes to a pipe:
 * what comes while the farm is away is kept in the spool, or dropped (`drop`). The web server never waits for it.
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
      const advice = error instanceof PiwError ? `. ${error.advice}` : '';
      log.error(`downloads are not counted from now on: ${errorMessage(error)}${advice}`);
    });
  }

  /** Begins counting by these settings. Throws PIW_CONFIG, PIW_NOT_WRITABLE. */
  static async start(
    settings: Settings,
    log: Log,
    connect: LoggerContext['connect'],
  ): Promise<AnswerCounter> {
    // Our own server has the site at its root, whatever path a proxy before it has.
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
      ...{ host, request: `${method} ${url} HTTP/1.1`, status, agent },
    };
    this.#lines.write(`${JSON.stringify(line)}\n`, 'latin1');
  }

  /** Hands over what is left, as far as that takes no longer than a moment; the rest is in the spool. */
  async end(): Promise<void> {
    this.#lines.end();
    this.#shutdown.abort();
    await this.#counting;
    const dropped = this.#dropped + this.#summary.dropped;
    if (dropped > 0) this.#log.warning(`${String(dropped)} answers were not counted`);
  }
}
