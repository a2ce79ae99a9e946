import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '../../actor/client.js';
import type { AskOptions, Bus } from '../../bus/bus.js';
import { PiwError } from '../../errors.js';
import { lumberjack } from '../../protocols/logger.js';
import type { Answer } from '../../protocols/protocol.js';
import type { LogPosition, LogStretch } from '../../protocols/weblog.js';
import type { Farm } from '../../weblog/counting.js';

export interface FarmLinkOptions {
  readonly connect: () => Promise<Bus>;
  /** How long one question waits for its answer, milliseconds. */
  readonly timeoutMs: number;
  /** How long a farm that doesn't answer is asked again; Infinity: until the signal is aborted. */
  readonly patienceMs: number;
  readonly signal: AbortSignal;
  /** The farm is away now, and why; or (undefined) it answers again. */
  readonly onAway: (why: string | undefined) => void;
}

/** How long it waits before it asks again, milliseconds: at first, and at most. */
const PAUSE = { first: 100, most: 2000 };

type Verbs = typeof lumberjack.verbs;

/**
 * The farm as piw logger knows it, which comes and goes: NATS, Lumberjack, the Oracle and the database may each be
 * away for a while. What it is asked it is asked again until it answers; all of it may be repeated.
 */
export class FarmLink implements Farm {
  readonly #options: FarmLinkOptions;
  #client: Promise<Client<Verbs>> | undefined;
  #bus: Bus | undefined;
  #awaySince: number | undefined;

  constructor(options: FarmLinkOptions) {
    this.#options = options;
  }

  /** For how long it hasn't answered, milliseconds; 0: it did the last time. */
  get awayMs(): number {
    return this.#awaySince === undefined ? 0 : performance.now() - this.#awaySince;
  }

  async logs(head: string, fresh: boolean): Promise<readonly LogPosition[]> {
    return await this.#ask(async (client, options) => {
      return (await client.ask('LOGS', { head, fresh }, options)).positions;
    });
  }

  async count(stretch: LogStretch): Promise<Answer<Verbs, 'LOGENTRIES'>> {
    return await this.#ask((client, options) => client.ask('LOGENTRIES', stretch, options));
  }

  async close(): Promise<void> {
    await this.#bus?.drain();
  }

  async #ask<T>(question: (client: Client<Verbs>, options: AskOptions) => Promise<T>): Promise<T> {
    const { timeoutMs, patienceMs, signal, onAway } = this.#options;
    const deadline = performance.now() + patienceMs;
    for (let pause = PAUSE.first; ; pause = Math.min(2 * pause, PAUSE.most)) {
      try {
        const client = await (this.#client ??= this.#connect());
        const answer = await question(client, { timeoutMs, once: true, signal });
        if (this.#awaySince !== undefined) onAway(undefined);
        this.#awaySince = undefined;
        return answer;
      } catch (error) {
        // What it refuses it would refuse again; and a fault of our own isn't the farm's.
        if (!(error instanceof PiwError) || FINAL.has(error.code)) throw error;
        if (this.#awaySince === undefined) onAway(error.message);
        this.#awaySince ??= performance.now();
        if (signal.aborted || performance.now() + pause > deadline) throw error;
        await sleep(pause, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  async #connect(): Promise<Client<Verbs>> {
    try {
      this.#bus = await this.#options.connect();
      return new Client(this.#bus, lumberjack);
    } catch (error) {
      this.#client = undefined;
      throw error;
    }
  }
}

const FINAL: ReadonlySet<string> = new Set(['PIW_REFUSED', 'PIW_CONFIG', 'PIW_INTERRUPTED']);
