import { Actor, type ActorContext } from '../src/actor/actor.js';
import { ProtocolClient } from '../src/actor/client.js';
import { lumberjack } from '../src/protocols/logger.js';
import { oracle } from '../src/protocols/oracle.js';

export interface LumberjackSettings {
  /** Single downloads and visits are kept for so many months, the present one included; 0: for good. */
  readonly keepMonths: number;
}

const HOUR_S = 3600;

/**
 * Takes what the web server's log said, from piw logger, to the database, and answers when it is there; until then
 * piw logger has it, and says it again. Any number share the work.
 */
export class Lumberjack extends Actor {
  readonly #database: ProtocolClient<typeof oracle.verbs>;
  readonly #settings: LumberjackSettings;

  constructor(context: ActorContext, settings: LumberjackSettings) {
    super(context);
    this.#settings = settings;
    this.#database = new ProtocolClient(this.bus, oracle, undefined, {
      timeoutMs: 30_000,
      patienceMs: 60_000,
    });
  }

  override start(): void {
    this.serve(lumberjack, {
      LOGS: (message) => this.#database.request('LOGS', message),
      LOGENTRIES: (message) => this.#database.request('LOGENTRIES', message),
    });
    const { keepMonths } = this.#settings;
    if (keepMonths > 0)
      this.every(HOUR_S, async () => {
        await this.#database.request('DROPLOGS', { months: keepMonths });
      });
  }
}
