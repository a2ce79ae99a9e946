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
/** How often it looks whether a full disk has room again, seconds. */
const PROBE_S = 2;

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
 *
 * While the disk of the output path is full or read-only, every request is answered with that, at once. The Secretary
 * keeps the pages, and asks again.
 */
export class TheScribe extends Actor {
  readonly #index: SimpleIndex;
  readonly #site: Site;
  readonly #database: Client<typeof oracle.verbs>;
  /** The same, and the Slave Driver, for what is shown only if it is there now. */
  readonly #now: Client<typeof oracle.verbs>;
  readonly #slaves: Client<typeof slaveControl.verbs>;
  readonly #disk: ReturnType<Site['watchDisk']>;
  /** The folders and what never changes are in their places. */
  #ready = false;

  constructor(context: ActorContext, index: SimpleIndex, site: Site) {
    super(context);
    this.#index = index;
    this.#site = site;
    this.#disk = site.watchDisk(
      ({ kind, text }) => {
        this.conditions.raise(kind, site.outputPath, text);
      },
      ({ kind }) => {
        this.conditions.clear(kind, site.outputPath);
      },
    );
    this.#database = new Client(this.bus, oracle, undefined, { timeoutMs: 20_000, patienceMs: 50_000 });
    this.#now = new Client(this.bus, oracle, undefined, { timeoutMs: 5000 });
    this.#slaves = new Client(this.bus, slaveControl, undefined, { timeoutMs: 5000 });
  }

  override start(): void {
    try {
      this.#setUp();
    } catch (error) {
      // A disk that is full at the start is waited for as at any other time.
      this.#disk.failed(error);
      if (this.#disk.trouble?.code !== 'PIW_DISK_FULL') throw error;
    }
    const writing =
      <M, A>(write: (message: M) => Promise<A>) =>
      (message: M): Promise<A> =>
        this.#disk.during(() => {
          this.#disk.check();
          this.#setUp();
          return write(message);
        });
    const done = async (written: Promise<void>): Promise<typeof DONE> => {
      await written;
      return DONE;
    };
    this.serve(
      scribe,
      {
        HOME: writing(({ statistics }: { statistics: Statistics }) => done(this.#writeFront(statistics))),
        PKG: writing(async (page: { package: string; serial: number; leave: boolean }) => {
          const { package: name, serial, leave } = page;
          const written = await this.#writeIndex(name, serial, leave);
          await this.#writeProject(name, serial);
          return { verb: 'WRITTEN', ...written } as const;
        }),
        PROJECT: writing((page: { package: string; serial: number }) =>
          done(this.#writeProject(page.package, page.serial)),
        ),
        LOG: writing(({ build_id }: { build_id: number }) => done(this.#writeLog(build_id))),
        SEARCH: writing(() => done(this.#site.writeSearch(this.#packages()))),
        SITEMAP: writing(() => done(this.#site.writeSitemap(this.#packages()))),
        ROOT: writing(({ serial }: { serial: number }) =>
          done(this.#index.writeRoot(this.#listed(), serial)),
        ),
        PACK: writing(({ package: name }: { package: string | null }) => done(this.#site.pack(name))),
      },
      { concurrency: 8 },
    );
    this.every(PROBE_S, () => this.#disk.probe(), PROBE_S);
  }

  #setUp(): void {
    if (this.#ready) return;
    this.#index.setUp();
    this.#site.setUp();
    this.#ready = true;
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
