import { randomBytes } from 'node:crypto';
import { Actor, type ActorContext, type MessageOrigin } from '../src/actor/actor.js';
import { ProtocolClient } from '../src/actor/client.js';
import { PiwError, hasCode } from '../src/errors.js';
import { PRIORITY } from '../src/model/release.js';
import { bigBrother } from '../src/protocols/big-brother.js';
import { chase, type SitePart } from '../src/protocols/chase.js';
import type { Answer, Body } from '../src/protocols/protocol.js';
import type { Statistics } from '../src/protocols/statistics.js';
import { FarmClients } from './mr-chase/farm-clients.js';
import { Imports } from './mr-chase/imports.js';
import { Removals } from './mr-chase/removals.js';

/** Pages marked as due per request. */
const REBUILD_BATCH_SIZE = 1000;
/** Seconds between sweeps of removed versions and files, and before the first one. */
const REMOVAL_SWEEP_S = { interval: 600, first: 60 };
/** Seconds between searches for imports that were given up. */
const IMPORT_SWEEP_S = 600;

interface ChaseSettings {
  /** Seconds for which wheels are kept after their version was removed from the index; null: forever. */
  readonly removalGraceS: number | null;
}

/**
 * Serves the administrator's commands.
 *
 *   IMPORT   checks the announcement; answers SEND for each file in turn, as for a slave
 *   SENT     has the File Juggler verify the file; answers the next SEND or, when all are published, logs the
 *            build, which marks its pages as due, and answers DONE
 *   others   are carried out, their pages are marked as due, and DONE is the answer
 *
 * While paused, Mr Chase answers every new request with PIW_PAUSED; imports that have begun are completed.
 * An impossible request is answered with an ERROR and changes nothing.
 */
export class MrChase extends Actor {
  readonly #settings: ChaseSettings;
  readonly #farm: FarmClients;
  readonly #imports: Imports;
  readonly #removals: Removals;
  readonly #bigBrother: ProtocolClient<typeof bigBrother.verbs>;

  constructor(context: ActorContext, settings: ChaseSettings) {
    super(context);
    this.#settings = settings;
    this.#farm = new FarmClients(this.bus);
    this.#imports = new Imports(this.#farm, this.clock, this.log);
    this.#removals = new Removals(this.#farm, this.log);
    this.#bigBrother = new ProtocolClient(this.bus, bigBrother, undefined, { timeoutMs: 10_000, once: true });
  }

  override start(): void {
    this.serve(
      chase,
      {
        IMPORT: this.#unlessPaused((request, from) => this.#imports.begin(request, sessionOf(from))),
        // Completes an import that began before the pause.
        SENT: ({ filename }, from) => this.#imports.sent(filename, sessionOf(from)),
        ADDPKG: this.#order((added) => this.#addPackage(added)),
        ADDVER: this.#order((added) => this.#addVersion(added)),
        REMPKG: this.#order(({ package: name, skip }) => this.#removals.removePackage(name, skip)),
        REMVER: this.#order((removed) => this.#removals.removeVersion(removed)),
        REBUILD: this.#order(({ part, package: name }) => this.#rebuild(part, name)),
        RETRY: this.#unlessPaused((request) => this.#retry(request)),
      },
      { tokens: [chase.name, '*'] },
    );
    this.every(
      REMOVAL_SWEEP_S.interval,
      async () => {
        if (!this.paused) await this.#removals.sweep(this.#settings.removalGraceS, () => this.isStopping());
      },
      REMOVAL_SWEEP_S.first,
    );
    this.every(IMPORT_SWEEP_S, () => {
      this.#imports.forgetOld();
    });
  }

  /** Returns a handler that throws PIW_PAUSED while Mr Chase is paused, so that the administrator need not wait. */
  #unlessPaused<R, A>(
    handle: (request: R, from: MessageOrigin) => Promise<A>,
  ): (request: R, from: MessageOrigin) => Promise<A> {
    return async (request, from) => {
      if (this.paused) throw new PiwError('PIW_PAUSED', 'the farm is paused and takes no orders');
      return await handle(request, from);
    };
  }

  /** Returns a handler that carries out an order unless Mr Chase is paused, and answers DONE. */
  #order<R>(carryOut: (request: R) => Promise<void>) {
    return this.#unlessPaused(async (request: R) => {
      await carryOut(request);
      return { verb: 'DONE' as const };
    });
  }

  async #addPackage(request: Body<typeof chase.verbs, 'ADDPKG'>): Promise<void> {
    const { package: name, description, skip, unskip, aliases } = request;
    await this.#farm.oracle.request('NEWPKG', { package: name, description, origin: 'add', aliases });
    if (skip !== null || unskip)
      await this.#farm.oracle.request('SKIPPKG', { package: name, skip: unskip ? null : skip });
    await this.#farm.secretary.request('PROJECT', { package: name });
  }

  async #addVersion(request: Body<typeof chase.verbs, 'ADDVER'>): Promise<void> {
    const { package: name, version, released, skip, unskip, yanked, unyank, aliases } = request;
    const { exists } = await this.#farm.oracle.request('PKGEXISTS', { package: name });
    if (!exists)
      throw new PiwError('PIW_UNKNOWN_PACKAGE', `there is no package ${name} yet; piw add ${name} adds it`);
    if (aliases.length > 0)
      await this.#farm.oracle.request('NEWPKG', { package: name, description: null, origin: 'add', aliases });
    const release = {
      version,
      released: released ?? this.clock.now(),
      yanked,
      has_sdist: true,
      sdist_url: null,
      sdist_sha256: null,
      requires_python: null,
      priority: PRIORITY.request,
    };
    await this.#farm.oracle.request('NEWVER', { package: name, origin: 'add', releases: [release] });
    if (yanked !== null) await this.#farm.oracle.request('YANKVER', { package: name, version, yanked });
    else if (unyank) await this.#farm.oracle.request('UNYANKVER', { package: name, version });
    if (skip !== null || unskip)
      await this.#farm.oracle.request('SKIPVER', { package: name, version, skip: unskip ? null : skip });
    await this.#farm.secretary.request('PKG', { package: name });
  }

  async #rebuild(part: SitePart, name: string | null): Promise<void> {
    if (name !== null) await this.#farm.requireExists(name, null);
    const names = name === null ? (await this.#farm.oracle.request('ALLPKGS', {})).names : [name];
    if (part === 'SEARCH' || part === 'ALL') await this.#farm.secretary.request('SEARCH', {});
    if (part === 'SITEMAP' || part === 'ALL') await this.#farm.secretary.request('SITEMAP', {});
    if (name === null && (part === 'INDEX' || part === 'ALL')) await this.#farm.secretary.request('ROOT', {});
    // The Secretary finds them in the database: requesting the pages of a whole index one by one would take
    // hours.
    const kind = part === 'PROJECT' ? 'PROJECT' : part === 'INDEX' || part === 'ALL' ? 'PKG' : undefined;
    for (let offset = 0; kind !== undefined && offset < names.length; offset += REBUILD_BATCH_SIZE) {
      const pages = names
        .slice(offset, offset + REBUILD_BATCH_SIZE)
        .map((each): [string, string] => [kind, each]);
      await this.#farm.oracle.request('SAVEPAGES', { fence: null, pages, written: [], listed: [] });
    }
    if (part === 'LOG') for (const each of names) await this.#rewriteLogs(each);
    if (part === 'HOME' || part === 'ALL')
      await this.#farm.secretary.request('HOME', { statistics: await this.#statistics() });
  }

  /** Returns Big Brother's statistics; the database's own while Big Brother is not running. */
  async #statistics(): Promise<Statistics> {
    try {
      return (await this.#bigBrother.request('GATHER', {})).statistics;
    } catch (error) {
      if (!hasCode(error, 'PIW_NO_RESPONDERS')) throw error;
      return (await this.#farm.oracle.request('GETSTATS', {})).statistics;
    }
  }

  async #rewriteLogs(name: string): Promise<void> {
    const { project } = await this.#farm.oracle.request('PROJECT', { package: name });
    const builds = (project?.versions ?? []).flatMap(({ targets }) =>
      targets.map(({ build_id }) => build_id),
    );
    for (const build_id of new Set(builds))
      if (build_id !== null) await this.#farm.secretary.request('LOG', { build_id });
  }

  /**
   * Requeues one page of failures. The command requests page after page, so that it can be interrupted and
   * repeated.
   */
  async #retry(request: Body<typeof chase.verbs, 'RETRY'>): Promise<Answer<typeof chase.verbs, 'RETRY'>> {
    const { package: name, version } = request.filter;
    if (name !== null) await this.#farm.requireExists(name, version);
    const page = await this.#farm.oracle.request('RETRY', request);
    const count = page.classes.reduce((sum, [, failures]) => sum + failures, 0);
    if (!request.dry_run && count > 0) this.log.info('failures requeued by an administrator', { count });
    return page;
  }
}

const sessionOf = (from: MessageOrigin): string => from.tokens[1] ?? randomBytes(8).toString('hex');
