import { Actor, type ActorContext } from '../src/actor/actor.js';
import { ProtocolClient } from '../src/actor/client.js';
import { PiwError, hasCode, rethrowUnexpected } from '../src/errors.js';
import { slaveControl } from '../src/protocols/control.js';
import { oracle } from '../src/protocols/oracle.js';
import type { SearchRow } from '../src/model/project.js';
import type { Statistics } from '../src/protocols/statistics.js';
import { scribe } from '../src/protocols/web.js';
import type { SimpleIndexWriter } from '../src/site/simple/index-writer.js';
import type { Site } from '../src/site/site.js';

const DONE = { verb: 'DONE' } as const;
/** Project names fetched per request for the root. */
const LISTED_PAGE_SIZE = 2000;
/**
 * A write that takes longer than this from the database's answer to the last file, milliseconds, may have
 * been overtaken: the Secretary has given the page to another Scribe. It is less than the Secretary's
 * patience.
 */
const MAX_SNAPSHOT_AGE_MS = 15_000;
/** Seconds between checks whether a full disk has space again. */
const DISK_PROBE_INTERVAL_S = 2;

/** Returns null if nobody answered; rethrows bugs of our own. */
function nullIfUnavailable(error: unknown): null {
  rethrowUnexpected(error);
  return null;
}

/**
 * Writes the pages that the Secretary hands out, from the database's state at that moment. Any number of
 * Scribes share the work; no page is with two of them at once.
 *
 * A Scribe that was suspended in the middle, for longer than the Secretary waits for it, would write an
 * outdated page, so it doesn't. If it was suspended between the last check and the last file, it has the page
 * written again.
 *
 * While the disk of the output path is full or read-only, every request fails with that error at once. The
 * Secretary keeps the pages, and retries.
 */
export class TheScribe extends Actor {
  readonly #simpleIndex: SimpleIndexWriter;
  readonly #site: Site;
  readonly #oracle: ProtocolClient<typeof oracle.verbs>;
  /**
   * Without retries, for data that is shown only if it is available now; the same applies to the Slave
   * Driver.
   */
  readonly #unretriedDatabase: ProtocolClient<typeof oracle.verbs>;
  readonly #slaveControl: ProtocolClient<typeof slaveControl.verbs>;
  readonly #diskWatch: ReturnType<Site['watchDisk']>;
  /** Whether the folders and the static files are in place. */
  #isSetUp = false;

  constructor(context: ActorContext, index: SimpleIndexWriter, site: Site) {
    super(context);
    this.#simpleIndex = index;
    this.#site = site;
    this.#diskWatch = site.watchDisk(
      ({ kind, text }) => {
        this.conditions.raise(kind, site.outputPath, text);
      },
      ({ kind }) => {
        this.conditions.clear(kind, site.outputPath);
      },
    );
    this.#oracle = new ProtocolClient(this.bus, oracle, undefined, {
      timeoutMs: 20_000,
      patienceMs: 50_000,
    });
    this.#unretriedDatabase = new ProtocolClient(this.bus, oracle, undefined, { timeoutMs: 5000 });
    this.#slaveControl = new ProtocolClient(this.bus, slaveControl, undefined, { timeoutMs: 5000 });
  }

  override start(): void {
    try {
      this.#setUp();
    } catch (error) {
      // A disk that is full at the start is waited for, as at any other time.
      this.#diskWatch.noteFailure(error);
      if (this.#diskWatch.trouble?.code !== 'PIW_DISK_FULL') throw error;
    }
    const onHealthyDisk =
      <M, A>(write: (message: M) => Promise<A>) =>
      (message: M): Promise<A> =>
        this.#diskWatch.during(() => {
          this.#diskWatch.throwIfTrouble();
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
        HOME: onHealthyDisk(({ statistics }: { statistics: Statistics }) =>
          done(this.#writeHomeAndFarm(statistics)),
        ),
        PKG: onHealthyDisk(async (page: { package: string; serial: number; remove_if_empty: boolean }) => {
          const { package: name, serial, remove_if_empty: removeIfEmpty } = page;
          const written = await this.#writeIndex(name, serial, removeIfEmpty);
          await this.#writeProject(name, serial);
          return { verb: 'WRITTEN', ...written } as const;
        }),
        PROJECT: onHealthyDisk((page: { package: string; serial: number }) =>
          done(this.#writeProject(page.package, page.serial)),
        ),
        LOG: onHealthyDisk(({ build_id }: { build_id: number }) => done(this.#writeLog(build_id))),
        SEARCH: onHealthyDisk(() => done(this.#site.writeSearch(this.#packages()))),
        SITEMAP: onHealthyDisk(() => done(this.#site.writeSitemap(this.#packages()))),
        ROOT: onHealthyDisk(({ serial }: { serial: number }) =>
          done(this.#simpleIndex.writeRoot(this.#listedProjects(), serial)),
        ),
        PACK: onHealthyDisk(({ package: name }: { package: string | null }) =>
          done(this.#site.compressPages(name)),
        ),
      },
      { concurrency: 8 },
    );
    this.every(DISK_PROBE_INTERVAL_S, () => this.#diskWatch.probe(), DISK_PROBE_INTERVAL_S);
  }

  #setUp(): void {
    if (this.#isSetUp) return;
    this.#simpleIndex.setUp();
    this.#site.setUp();
    this.#isSetUp = true;
  }

  /**
   * Writes a package's page of the simple index, which people install from. Returns the page's serial, null
   * if it lists nothing; with null, `empty_page_remains` means that the page is still to be removed.
   */
  async #writeIndex(
    name: string,
    serial: number,
    removeIfEmpty: boolean,
  ): Promise<{ serial: number | null; empty_page_remains: boolean }> {
    const requestedAt = performance.now();
    const { status, versions, files, metadata, listed } = await this.#oracle.request('PKGFILES', {
      package: name,
    });
    this.#throwIfLate(requestedAt);
    if (files.length > 0) {
      const pageSerial = this.#simpleIndex.write({ name, status, versions, files, metadata }, serial, listed);
      await this.#requeueIfLate(requestedAt, 'PKG', name);
      return { serial: pageSerial, empty_page_remains: true };
    }
    if (!this.#simpleIndex.has(name)) return { serial: null, empty_page_remains: false };
    // A page that says that the project is quarantined is better than none.
    if (removeIfEmpty && status !== 'quarantined')
      return { serial: null, empty_page_remains: !this.#simpleIndex.remove(name, serial) };
    this.#simpleIndex.write({ name, status, versions, files, metadata }, serial, null);
    await this.#requeueIfLate(requestedAt, 'PKG', name);
    return { serial: null, empty_page_remains: status !== 'quarantined' };
  }

  async #writeProject(name: string, serial: number): Promise<void> {
    const requestedAt = performance.now();
    const { project } = await this.#oracle.request('PROJECT', { package: name });
    this.#throwIfLate(requestedAt);
    if (project) this.#site.writeProject(project, serial);
    else this.#site.removeProject(name, serial);
    await this.#requeueIfLate(requestedAt, 'PROJECT', name);
  }

  /** Writes the home page and the farm's page. Actors that don't answer at once are left out. */
  async #writeHomeAndFarm(statistics: Statistics): Promise<void> {
    const [queue, slaves] = await Promise.all([
      this.#unretriedDatabase.request('QUEUE', {}).catch(nullIfUnavailable),
      this.#slaveControl.request('HELLO', {}).catch(nullIfUnavailable),
    ]);
    this.#site.writeFarm(statistics, queue, slaves?.slaves ?? null, this.clock.now());
    // Last, because only this needs the database: the farm's problems are shown without it.
    const { front } = await this.#unretriedDatabase.request('GETHOME', {});
    this.#site.writeHome(statistics, front);
  }

  /** Yields all packages, in batches, for the search and the sitemap. */
  async *#packages(): AsyncGenerator<readonly SearchRow[]> {
    let page: readonly SearchRow[] = [];
    do {
      const after = page.at(-1)?.[0] ?? '';
      page = (await this.#oracle.request('SEARCHINDEX', { after, limit: 5000 })).packages;
      yield page;
    } while (page.length > 0);
  }

  async #writeLog(buildId: number): Promise<void> {
    try {
      const build = await this.#oracle.request('GETBUILD', { build_id: buildId });
      await this.#site.writeLog({ ...build, build_id: buildId });
    } catch (error) {
      if (!hasCode(error, 'PIW_REFUSED')) throw error;
      // The build was deleted, and its log with it.
      this.#site.removeLog(buildId);
    }
  }

  async *#listedProjects(): AsyncGenerator<readonly (readonly [string, number])[]> {
    let last: readonly [string, number] | undefined = ['', 0];
    while (last) {
      const page: readonly (readonly [string, number])[] = (
        await this.#oracle.request('LISTED', { after: last[0], limit: LISTED_PAGE_SIZE })
      ).projects;
      yield page;
      last = page.at(-1);
    }
  }

  #throwIfLate(requestedAt: number): void {
    if (performance.now() - requestedAt > MAX_SNAPSHOT_AGE_MS)
      throw new PiwError('PIW_TIMEOUT', "the database's answer is too old to write the page from");
  }

  async #requeueIfLate(requestedAt: number, kind: 'PKG' | 'PROJECT', name: string): Promise<void> {
    if (performance.now() - requestedAt <= MAX_SNAPSHOT_AGE_MS) return;
    await this.#oracle.request('SAVEPAGES', {
      fence: null,
      pages: [[kind, name]],
      written: [],
      listed: [],
    });
    throw new PiwError('PIW_TIMEOUT', `writing the page of ${name} took too long; the page is due again`);
  }
}
