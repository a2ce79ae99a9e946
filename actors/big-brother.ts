import { Actor, type ActorContext } from '../src/actor/actor.js';
import { Client } from '../src/actor/client.js';
import { slaveControl, status } from '../src/protocols/control.js';
import { PiwError } from '../src/errors.js';
import { fileSystem } from '../src/protocols/file-juggler.js';
import { oracle } from '../src/protocols/oracle.js';
import type { Statistics } from '../src/protocols/statistics.js';
import { secretary } from '../src/protocols/web.js';

export interface BigBrotherSettings {
  readonly intervalS: number;
}

/**
 * Puts the statistics together, from the database, the file system and the slaves, and sends them to
 * the home page and to whoever watches.
 */
export class BigBrother extends Actor {
  readonly #settings: BigBrotherSettings;
  readonly #database: Client<typeof oracle.verbs>;
  readonly #files: Client<typeof fileSystem.verbs>;
  readonly #slaves: Client<typeof slaveControl.verbs>;
  readonly #secretary: Client<typeof secretary.verbs>;
  readonly #status: Client<typeof status.verbs>;

  constructor(context: ActorContext, settings: BigBrotherSettings) {
    super(context);
    this.#settings = settings;
    this.#database = new Client(this.bus, oracle, undefined, { timeoutMs: 30_000 });
    this.#files = new Client(this.bus, fileSystem);
    this.#slaves = new Client(this.bus, slaveControl);
    this.#secretary = new Client(this.bus, secretary);
    this.#status = new Client(this.bus, status);
  }

  override start(): void {
    this.every(this.#settings.intervalS, () => this.#gather());
  }

  async #gather(): Promise<void> {
    const { statistics: counted } = await this.#database.ask('GETSTATS', {});
    const space = await this.#files.ask('STATVFS', {}).catch(unavailable);
    const seen = await this.#slaves.ask('HELLO', {}).catch(unavailable);
    const states = new Map<string, number>();
    for (const { state } of seen?.slaves ?? []) states.set(state, (states.get(state) ?? 0) + 1);
    const statistics: Statistics = {
      ...counted,
      slaves: [...states],
      disk_total: space?.total ?? 0,
      disk_free: space?.free ?? 0,
    };
    await this.#status.publish('STATISTICS', { statistics });
    await this.#secretary.ask('HOME', { statistics });
  }
}

/** A task that doesn't answer now costs its own figures, not all of them. */
function unavailable(error: unknown): undefined {
  if (!(error instanceof PiwError)) throw error;
  return undefined;
}
