import { PassThrough } from 'node:stream';
import type { Settings } from '../../config.js';
import { PiwError, reason } from '../../errors.js';
import type { Answered } from '../../farm/web-server.js';
import type { Log } from '../../log.js';
import type { LoggerContext } from '../logger/context.js';
import { dropPipe, keepPipe } from '../logger/pipe.js';
import { openSpool, setUp } from '../logger/set-up.js';
import { Summary } from '../logger/summary.js';

/** Lines that may wait for the spool, bytes; those beyond are dropped, and the log says how many. */
const WAITING_BYTES = 8 * 1024 * 1024;

/**
 * Has the farm count what our own web server answers, as `piw logger` has it count what a web server writes to a pipe:
 * what comes while the farm is away is kept in the spool, or dropped (`drop`). The web server never waits for it.
 */
export class AnswerCounter {
  readonly #log: Log;
  readonly #lines = new PassThrough();
  readonly #ending = new AbortController();
  readonly #summary = new Summary();
  readonly #counting: Promise<void>;
  #counts = true;
  #dropped = 0;

  private constructor(
    log: Log,
    count: (input: PassThrough, summary: Summary, signal: AbortSignal) => Promise<void>,
  ) {
    this.#log = log;
    this.#counting = count(this.#lines, this.#summary, this.#ending.signal).catch((error: unknown) => {
      this.#counts = false;
      const advice = error instanceof PiwError ? `. ${error.advice}` : '';
      log.error(`downloads are not counted from now on: ${reason(error)}${advice}`);
    });
  }

  /** Begins counting by these settings. Throws PIW_CONFIG, PIW_NOT_WRITABLE. */
  static async start(
    settings: Settings,
    said: Log,
    connect: LoggerContext['connect'],
  ): Promise<AnswerCounter> {
    // Our own server has the site at its root, whatever path a proxy before it has.
    const own = { ...settings, 'path-prefix': '' };
    const spool = settings.drop ? undefined : openSpool(settings);
    const { context, close } = await setUp(own, 'json', { said, connect });
    return new AnswerCounter(said, async (input, summary, signal) => {
      const whole: LoggerContext = { ...context, signal };
      try {
        if (spool) await keepPipe(input, whole, summary, spool);
        else await dropPipe(input, whole, summary);
      } finally {
        close();
      }
    });
  }

  /** Counts one answer. */
  add({ time, host, method, url, status, agent }: Answered): void {
    if (!this.#counts) return;
    if (this.#lines.writableLength > WAITING_BYTES) {
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
    this.#ending.abort();
    await this.#counting;
    const dropped = this.#dropped + this.#summary.dropped;
    if (dropped > 0) this.#log.warning(`${String(dropped)} answers were not counted`);
  }
}
