import { Actor, type ActorContext } from '../src/actor/actor.js';
import { Client } from '../src/actor/client.js';
import { PiwError } from '../src/errors.js';
import { slaveControl } from '../src/protocols/control.js';
import { oracle, type SearchRow } from '../src/protocols/oracle.js';
import type { Statistics } from '../src/protocols/statistics.js';
import { scribe } from '../src/protocols/web.js';
import type { SimpleIndex } from '../src/site/simple-index.js';
import type { Site } from '../src/site/site.js';

const DONE = { verb: 'DONE' } as const;
/** Names that are asked for at once, of all that the root names. */
const NAMES = 2000;
/**
 * Who took longer than this from what the database said to the last file, milliseconds, may have been overtaken:
 * the Secretary has given the page to another by then. It is less than the Secretary's patience.
 */
const LATE_MS = 15_000;

/** Nobody is there to answer; a fault of ours is one still. */
function nobody(error: unknown): null {
  if (!(error instanceof PiwError)) throw error;
  return null;
}

/**
 * Writes the pages that the Secretary hands out, from what the database says at that moment. Any
 * number of Scribes share the work; no page is in two of their hands at once.
 *
 * A Scribe that was stopped in the middle, for longer than the Secretary waits for it, would write what is old by
 * then: it doesn't. Should it have been stopped between the last look and the last file, it has the page written again.
 */
export class TheScribe extends Actor {
  readonly #index: SimpleIndex;
  readonly #site: Site;
  readonly #database: Client<typeof oracle.verbs>;
  /** The same, and the Slave Driver, for what is shown only if it is there now. */
  readonly #now: Client<typeof oracle.verbs>;
  readonly #slaves: Client<typeof slaveControl.verbs>;

  constructor(context: ActorContext, index: SimpleIndex, site: Site) {
    super(context);
    this.#index = index;
    this.#site = site;
    this.#database = new Client(this.bus, oracle, undefined, { timeoutMs: 20_000, patienceMs: 50_000 });
    this.#now = new Client(this.bus, oracle, undefined, { timeoutMs: 5000 });
    this.#slaves = new Client(this.bus, slaveControl, undefined, { timeoutMs: 5000 });
  }

  override start(): void {
    this.#index.setUp();
    this.#site.setUp();
    this.serve(
      scribe,
      {
        HOME: async ({ statistics }) => {
          await this.#writeFront(statistics);
          return DONE;
        },
        PKG: async ({ package: name, serial, leave }) => {
          const written = await this.#writeIndex(name, serial, leave);
          await this.#writeProject(name, serial);
          return { verb: 'WRITTEN', ...written };
        },
        PROJECT: async ({ package: name, serial }) => {
          await this.#writeProject(name, serial);
          return DONE;
        },
        LOG: async ({ build_id }) => {
          await this.#writeLog(build_id);
          return DONE;
        },
        SEARCH: async () => {
          await this.#site.writeSearch(this.#packages());
          return DONE;
        },
        SITEMAP: async () => {
          await this.#site.writeSitemap(this.#packages());
          return DONE;
        },
        ROOT: async ({ serial }) => {
          await this.#index.writeRoot(this.#listed(), serial);
          return DONE;
        },
        PACK: async ({ package: name }) => {
          await this.#site.pack(name);
          return DONE;
        },
      },
      { concurrency: 8 },
    );
  }

  /** The simple index first, which people install from. */
  async #writeIndex(
    name: string,
    serial: number,
    leave: boolean,
  ): Promise<{ serial: number | null; stands: boolean }> {
    const asked = performance.now();
    const { status, versions, files, metadata, listed } = await this.#database.ask('PKGFILES', {
      package: name,
    });
    this.#inTime(asked);
    if (files.length > 0) {
      const its = this.#index.write({ name, status, versions, files, metadata }, serial, listed);
      await this.#unlessLate(asked, 'PKG', name);
      return { serial: its, stands: true };
    }
    if (!this.#index.has(name)) return { serial: null, stands: false };
    // A page that says that the project is quarantined tells more than none.
    if (leave && status !== 'quarantined') return { serial: null, stands: !this.#index.remove(name, serial) };
    this.#index.write({ name, status, versions, files, metadata }, serial, null);
    await this.#unlessLate(asked, 'PKG', name);
    return { serial: null, stands: status !== 'quarantined' };
  }

  async #writeProject(name: string, serial: number): Promise<void> {
    const asked = performance.now();
    const { project } = await this.#database.ask('PROJECT', { package: name });
    this.#inTime(asked);
    if (project) this.#site.writeProject(project, serial);
    else this.#site.removeProject(name, serial);
    await this.#unlessLate(asked, 'PROJECT', name);
  }

  /** The home page, and the farm's: whoever doesn't answer at once is left out of it. */
  async #writeFront(statistics: Statistics): Promise<void> {
    const [queue, slaves] = await Promise.all([
      this.#now.ask('QUEUE', {}).catch(nobody),
      this.#slaves.ask('HELLO', {}).catch(nobody),
    ]);
    this.#site.writeFarm(statistics, queue, slaves?.slaves ?? null, this.clock.now());
    // Last, and only with the database: what is wrong with the farm is told without it.
    const { front } = await this.#now.ask('GETHOME', {});
    this.#site.writeHome(statistics, front);
  }

  /** All packages, for the search and the sitemap. */
  async *#packages(): AsyncGenerator<readonly SearchRow[]> {
    let page: readonly SearchRow[] = [];
    do {
      const after = page.at(-1)?.[0] ?? '';
      page = (await this.#database.ask('SEARCHINDEX', { after, limit: 5000 })).packages;
      yield page;
    } while (page.length > 0);
  }

  async #writeLog(buildId: number): Promise<void> {
    try {
      const build = await this.#database.ask('GETBUILD', { build_id: buildId });
      await this.#site.writeLog({ ...build, build_id: buildId });
    } catch (error) {
      if (!(error instanceof PiwError) || error.code !== 'PIW_REFUSED') throw error;
      // The build was deleted, and its log with it.
      this.#site.removeLog(buildId);
    }
  }

  async *#listed(): AsyncGenerator<readonly (readonly [string, number])[]> {
    let last: readonly [string, number] | undefined = ['', 0];
    while (last) {
      const page: readonly (readonly [string, number])[] = (
        await this.#database.ask('LISTED', { after: last[0], limit: NAMES })
      ).projects;
      yield page;
      last = page.at(-1);
    }
  }

  #inTime(asked: number): void {
    if (performance.now() - asked > LATE_MS)
      throw new PiwError('PIW_TIMEOUT', 'what the database said is too old by now');
  }

  async #unlessLate(asked: number, kind: 'PKG' | 'PROJECT', name: string): Promise<void> {
    if (performance.now() - asked <= LATE_MS) return;
    await this.#database.ask('SAVEPAGES', { fence: null, pages: [[kind, name]], written: [], listed: [] });
    throw new PiwError('PIW_TIMEOUT', `the page of ${name} took too long, and is due again`);
  }
}
