import { Actor, type ActorContext } from '../src/actor/actor.js';
import { Client } from '../src/actor/client.js';
import { lumberjack } from '../src/protocols/logger.js';
import { oracle, type LogRow } from '../src/protocols/oracle.js';

/** Takes what the web server's log said, from piw logger, to the database. Any number share the work. */
export class Lumberjack extends Actor {
  readonly #database: Client<typeof oracle.verbs>;

  constructor(context: ActorContext) {
    super(context);
    this.#database = new Client(this.bus, oracle, undefined, { timeoutMs: 10_000, patienceMs: 30_000 });
  }

  override start(): void {
    const log =
      (verb: keyof typeof lumberjack.verbs) =>
      async ({ rows }: { readonly rows: readonly LogRow[] }) => {
        await this.#database.ask(verb, { rows: [...rows] });
        return { verb: 'DONE' } as const;
      };
    this.serve(lumberjack, {
      LOGDOWNLOAD: log('LOGDOWNLOAD'),
      LOGSEARCH: log('LOGSEARCH'),
      LOGPROJECT: log('LOGPROJECT'),
      LOGJSON: log('LOGJSON'),
      LOGPAGE: log('LOGPAGE'),
    });
  }
}
