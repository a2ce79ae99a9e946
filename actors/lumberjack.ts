import { Actor, type ActorContext } from '../src/actor/actor.js';
import { ProtocolClient } from '../src/actor/client.js';
import { lumberjack } from '../src/protocols/logger.js';
import { oracle } from '../src/protocols/oracle.js';

interface LumberjackSettings {
  /** Months for which single downloads and visits are kept, including the current one; 0: forever. */
  readonly keepMonths: number;
}

const HOUR_S = 3600;

/**
 * Stores the entries of the web server's log, which piw logger sends, in the database. It answers once they
 * are stored; until then piw logger keeps and retries them. Any number of Lumberjacks share the work.
 */
export class Lumberjack extends Actor {
  readonly #oracle: ProtocolClient<typeof oracle.verbs>;
  readonly #settings: LumberjackSettings;

  constructor(context: ActorContext, settings: LumberjackSettings) {
    super(context);
    this.#settings = settings;
    this.#oracle = new ProtocolClient(this.bus, oracle, undefined, {
      timeoutMs: 30_000,
      patienceMs: 60_000,
    });
  }

  override start(): void {
    this.serve(lumberjack, {
      LOGS: (message) => this.#oracle.request('LOGS', message),
      LOGENTRIES: (message) => this.#oracle.request('LOGENTRIES', message),
    });
    const { keepMonths } = this.#settings;
    if (keepMonths > 0)
      this.every(HOUR_S, async () => {
        await this.#oracle.request('DROPLOGS', { months: keepMonths });
      });
  }
}
