import { HOUR_MS } from '../src/units.js';
import { randomBytes } from 'node:crypto';
import { Actor, type ActorContext, type MessageOrigin } from '../src/actor/actor.js';
import { ProtocolClient } from '../src/actor/client.js';
import { PiwError, isDiskError, hasCode } from '../src/errors.js';
import { bigBrother } from '../src/protocols/big-brother.js';
import { chase, type SitePart } from '../src/protocols/chase.js';
import type { CoreMetadata } from '../src/model/fields.js';
import { NO_DETAILS } from '../src/model/build-details.js';
import { fileJuggler, parseTransferId, type FileStamp } from '../src/protocols/file-juggler.js';
import { PRIORITY } from '../src/model/release.js';
import { oracle } from '../src/protocols/oracle.js';
import type { LoggedBuild } from '../src/model/build.js';
import type { Answer, Body } from '../src/protocols/protocol.js';
import type { Statistics } from '../src/protocols/statistics.js';
import { secretary } from '../src/protocols/web.js';
import { fileFromMessage, fileToMessage, type FileState } from '../src/model/file-state.js';
import { importRefusal } from '../src/wheels/accept.js';
import { compareTargets } from '../src/wheels/tags.js';

type ImportRequest = Body<typeof chase.verbs, 'IMPORT'>;
type ImportAnswer = Answer<typeof chase.verbs, 'SENT'>;

/** Pages marked as due per request. */
const REBUILD_BATCH_SIZE = 1000;
/** The NATS user of importers; their files travel in its bucket. */
export const IMPORT_USER = 'importer';
/** Times that one file may arrive damaged before the import fails. */
const MAX_DAMAGED_TRANSFERS = 5;
/** Seconds after which an importer asks again whether its file can be taken. */
const RETRY_AFTER_S = 5;
const IMPORT_EXPIRY_MS = HOUR_MS;

interface ChaseSettings {
  /** Seconds for which wheels are kept after their version was removed from the index; null: forever. */
  readonly removalGraceS: number | null;
}

/** Files that are removed at once. */
const UNLISTED_LIMIT = 1000;
/** Versions removed per sweep, and seconds between sweeps. */
const REMOVAL_SWEEP = { limit: 100, intervalS: 600 };

interface ImportSession {
  readonly request: ImportRequest;
  readonly abi: string;
  readonly platform: string;
  readonly files: {
    readonly file: FileState;
    id: string;
    metadata: string | undefined;
    coreMetadata: CoreMetadata | null;
    /** The filename under which it was published; its build tag may differ from the announced one. */
    published: string;
    damaged: number;
  }[];
  readonly since: number;
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
 * An impossible request is answered with an ERROR and changes nothing. An import whose session is unknown,
 * because this process was restarted, is answered PIW_UNKNOWN_TRANSFER, and begins again; the parts of its
 * files that have arrived are not sent twice.
 */
export class MrChase extends Actor {
  readonly #settings: ChaseSettings;
  readonly #imports = new Map<string, ImportSession>();
  readonly #oracle: ProtocolClient<typeof oracle.verbs>;
  readonly #files: ProtocolClient<typeof fileJuggler.verbs>;
  readonly #secretary: ProtocolClient<typeof secretary.verbs>;
  readonly #bigBrother: ProtocolClient<typeof bigBrother.verbs>;

  constructor(context: ActorContext, settings: ChaseSettings) {
    super(context);
    this.#settings = settings;
    const askOptions = { timeoutMs: 10_000, patienceMs: 30_000 };
    this.#oracle = new ProtocolClient(this.bus, oracle, undefined, askOptions);
    this.#files = new ProtocolClient(this.bus, fileJuggler, undefined, askOptions);
    this.#secretary = new ProtocolClient(this.bus, secretary, undefined, askOptions);
    this.#bigBrother = new ProtocolClient(this.bus, bigBrother, undefined, { timeoutMs: 10_000, once: true });
  }

  override start(): void {
    this.serve(
      chase,
      {
        IMPORT: this.#unlessPaused((request, from) => this.#import(request, sessionOf(from))),
        // Completes an import that began before the pause.
        SENT: ({ filename }, from) => this.#sent(filename, sessionOf(from)),
        ADDPKG: this.#unlessPaused((added) => this.#addPackage(added)),
        ADDVER: this.#unlessPaused((added) => this.#addVersion(added)),
        REMPKG: this.#unlessPaused(({ package: name, skip }) => this.#removePackage(name, skip)),
        REMVER: this.#unlessPaused((removed) => this.#removeVersion(removed)),
        REBUILD: this.#unlessPaused(({ part, package: name }) => this.#rebuild(part, name)),
        RETRY: this.#unlessPaused((request) => this.#retry(request)),
      },
      { tokens: [chase.name, '*'] },
    );
    this.every(
      REMOVAL_SWEEP.intervalS,
      async () => {
        if (!this.paused) await this.#sweepRemoved();
      },
      60,
    );
    this.every(600, () => {
      const cutoff = this.clock.monotonicMs() - IMPORT_EXPIRY_MS;
      for (const [session, { since }] of this.#imports) if (since < cutoff) this.#imports.delete(session);
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

  async #import(request: ImportRequest, session: string): Promise<ImportAnswer> {
    const files = request.files.map(fileFromMessage);
    if (request.status && files.length === 0) {
      throw new PiwError('PIW_REFUSED', 'an import of a successful build needs at least one file');
    }
    for (const file of files) {
      const reason = importRefusal(file);
      if (reason !== undefined) throw new PiwError('PIW_FILE_REFUSED', reason);
    }
    const { abi, platform } = await this.#importTarget(request.abi, files);
    const published = request.status
      ? await this.#findPublished(request, files, { abi, platform })
      : undefined;
    if (published) return { verb: 'DONE', filenames: published };
    const origin = 'import' as const;
    const release = {
      version: request.version,
      released: null,
      yanked: null,
      has_sdist: false,
      sdist_url: null,
      sdist_sha256: null,
      requires_python: null,
      priority: PRIORITY.backlog,
    };
    await this.#oracle.request('NEWPKG', {
      package: request.package,
      description: null,
      origin,
      aliases: [],
    });
    // For an existing version, only its origin changes.
    await this.#oracle.request('NEWVER', { package: request.package, origin, releases: [release] });
    const importing: ImportSession = {
      request,
      abi,
      platform,
      // The digest is part of the transfer's id: a restarted import finds what has already arrived.
      files: files.map((file) => ({
        file,
        id: `import-${file.filehash.slice(0, 40)}`,
        metadata: undefined,
        coreMetadata: null,
        published: file.filename,
        damaged: 0,
      })),
      since: this.clock.monotonicMs(),
    };
    try {
      for (const transfer of importing.files) {
        const { id, file } = transfer;
        const message = { transfer_id: id, sender: IMPORT_USER, file_state: fileToMessage(file) };
        transfer.id = (await this.#files.request('EXPECT', message)).transfer_id;
      }
    } catch (error) {
      return waitIfDiskTrouble(error);
    }
    this.#imports.set(session, importing);
    const { package: name, version } = request;
    this.log.info('import started', { package: name, version, files: files.length });
    return this.#next(session, importing);
  }

  /**
   * Returns the names under which all files of an import are published and serve its target, as when a command is
   * repeated that was interrupted after its build had been logged; undefined if one of them is not.
   */
  async #findPublished(
    { package: name, version }: ImportRequest,
    files: readonly FileState[],
    target: { readonly abi: string; readonly platform: string },
  ): Promise<string[] | undefined> {
    const { project } = await this.#oracle.request('PROJECT', { package: name });
    const serving = project?.files.filter(
      (file) =>
        file.version === version &&
        file.serves.some(([abi, platform]) => abi === target.abi && platform === target.platform),
    );
    const filenames: string[] = [];
    for (const { filehash } of files) {
      const filename = serving?.find(({ sha256 }) => sha256 === filehash)?.filename;
      if (filename === undefined) return undefined;
      const { file_stamp: stamp } = await this.#files.request('GETSTAMP', { package: name, filename });
      if (!stamp) return undefined;
      filenames.push(filename);
    }
    return filenames;
  }

  async #sent(filename: string, session: string): Promise<ImportAnswer> {
    const importing = this.#imports.get(session);
    const transfer = importing?.files.find(({ file }) => file.filename === filename);
    if (!importing || !transfer) {
      throw new PiwError('PIW_UNKNOWN_TRANSFER', `no import of ${filename} is in progress here`);
    }
    const { files: past } = await this.#oracle.request('PUBLISHED', { filename });
    const message = {
      transfer_id: transfer.id,
      package: importing.request.package,
      // If the name is taken, the configuration decides between a build tag and a refusal.
      rebuilt: true,
      past,
    };
    const verdict = await this.#files.request('VERIFY', message).catch(waitIfDiskTrouble);
    switch (verdict.verb) {
      case 'WAIT':
        return verdict;
      case 'LATER':
        return { verb: 'WAIT', seconds: RETRY_AFTER_S, reason: verdict.reason };
      case 'VERIFIED':
        transfer.metadata = verdict.metadata_sha256;
        transfer.coreMetadata = verdict.core_metadata;
        transfer.published = verdict.filename;
        return this.#next(session, importing);
      case 'AGAIN':
        transfer.damaged += 1;
        if (transfer.damaged < MAX_DAMAGED_TRANSFERS) return this.#next(session, importing);
        break;
      case 'REFUSED':
      case 'TAKEN':
        await this.#files.request('FORGET', { transfer_id: transfer.id });
    }
    this.#imports.delete(session);
    throw PiwError.fromAnswer('code' in verdict ? verdict.code : 'PIW_FILE_REFUSED', verdict.reason);
  }

  async #next(session: string, importing: ImportSession): Promise<ImportAnswer> {
    let nextFile = importing.files.find(({ metadata }) => metadata === undefined);
    // The first of many files may have been published long ago. Reserving all of them again keeps them until
    // they are logged.
    if (!nextFile && importing.files.length > 1) nextFile = await this.#reserveFiles(importing);
    if (nextFile) {
      return { verb: 'SEND', filename: nextFile.file.filename, transfer_id: nextFile.id };
    }
    const { request, abi, platform } = importing;
    const build: LoggedBuild = {
      lease: null,
      slave_id: null,
      package: request.package,
      version: request.version,
      abi,
      platform,
      status: request.status,
      failure_class: request.status ? null : 'other',
      duration_s: request.duration_s,
      output: request.output,
      details: NO_DETAILS,
      files: importing.files.map(({ file, metadata, coreMetadata, published: filename }) => [
        fileToMessage({ ...file, filename, transferred: true }),
        metadata ?? '',
        coreMetadata,
      ]),
      served: [],
    };
    await this.#oracle.request('LOGBUILD', { builds: [build] });
    this.#imports.delete(session);
    return { verb: 'DONE', filenames: importing.files.map(({ published }) => published) };
  }

  /**
   * Reserves all files of an import. Returns one that is gone and must be sent again; undefined if all are
   * there.
   */
  async #reserveFiles({
    request,
    files,
  }: ImportSession): Promise<ImportSession['files'][number] | undefined> {
    for (const transfer of files) {
      const { published: filename } = transfer;
      const { file_stamp: fileStamp } = await this.#files.request('RESERVE', {
        package: request.package,
        filename,
      });
      if (fileStamp) continue;
      const announcement = { sender: IMPORT_USER, file_state: fileToMessage(transfer.file) };
      const { transfer_id } = await this.#files.request('EXPECT', {
        transfer_id: parseTransferId(transfer.id).id,
        ...announcement,
      });
      Object.assign(transfer, { id: transfer_id, metadata: undefined });
      return transfer;
    }
    return undefined;
  }

  /**
   * Returns the target for which an import is logged: the requested one, else the first file's, else the
   * lowest. Throws PIW_UNKNOWN_TARGET.
   */
  async #importTarget(
    requestedAbi: string | null,
    files: readonly FileState[],
  ): Promise<{ abi: string; platform: string }> {
    const { targets } = await this.#oracle.request('GETABIS', {});
    const sorted = [...targets].sort(compareTargets);
    const taggedAbi = files.map((file) => file.abi_tag).find((tag) => tag !== 'none');
    const wantedAbi = requestedAbi ?? (sorted.some(({ abi }) => abi === taggedAbi) ? taggedAbi : undefined);
    const target = wantedAbi === undefined ? sorted[0] : sorted.find(({ abi }) => abi === wantedAbi);
    if (target) return target;
    throw new PiwError(
      'PIW_UNKNOWN_TARGET',
      wantedAbi === undefined ? 'no ABI is registered' : `the ABI ${wantedAbi} is not registered`,
    );
  }

  async #addPackage(request: Body<typeof chase.verbs, 'ADDPKG'>): Promise<{ verb: 'DONE' }> {
    const { package: name, description, skip, unskip, aliases } = request;
    await this.#oracle.request('NEWPKG', { package: name, description, origin: 'add', aliases });
    if (skip !== null || unskip)
      await this.#oracle.request('SKIPPKG', { package: name, skip: unskip ? null : skip });
    await this.#secretary.request('PROJECT', { package: name });
    return { verb: 'DONE' };
  }

  async #addVersion(request: Body<typeof chase.verbs, 'ADDVER'>): Promise<{ verb: 'DONE' }> {
    const { package: name, version, released, skip, unskip, yanked, unyank, aliases } = request;
    await this.#requireExists(name, null);
    if (aliases.length > 0)
      await this.#oracle.request('NEWPKG', { package: name, description: null, origin: 'add', aliases });
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
    await this.#oracle.request('NEWVER', { package: name, origin: 'add', releases: [release] });
    if (yanked !== null) await this.#oracle.request('YANKVER', { package: name, version, yanked });
    else if (unyank) await this.#oracle.request('UNYANKVER', { package: name, version });
    if (skip !== null || unskip)
      await this.#oracle.request('SKIPVER', { package: name, version, skip: unskip ? null : skip });
    await this.#secretary.request('PKG', { package: name });
    return { verb: 'DONE' };
  }

  async #removePackage(name: string, skip: string | null): Promise<{ verb: 'DONE' }> {
    // A removal that was interrupted has deleted the package, and left files.
    if ((await this.#unlistedFiles(name)).length === 0) await this.#requireExists(name, null);
    const stamps = await this.#stamps(name);
    if (skip === null) await this.#oracle.request('DELPKG', { package: name });
    else {
      await this.#oracle.request('SKIPPKG', { package: name, skip });
      const { versions } = await this.#oracle.request('PKGFILES', { package: name });
      for (const version of versions) await this.#oracle.request('DELBUILD', { package: name, version });
    }
    await this.#secretary.request('DELPKG', { package: name });
    await this.#removeUnlisted(name, stamps);
    return { verb: 'DONE' };
  }

  async #removeVersion(request: Body<typeof chase.verbs, 'REMVER'>): Promise<{ verb: 'DONE' }> {
    const { package: name, version, skip, yank } = request;
    await this.#requireExists(name, version);
    if (yank) {
      await this.#oracle.request('YANKVER', { package: name, version, yanked: skip ?? '' });
      await this.#secretary.request('PKG', { package: name });
      return { verb: 'DONE' };
    }
    // Skipped first, otherwise it could be granted again in between.
    if (skip !== null) await this.#oracle.request('SKIPVER', { package: name, version, skip });
    const stamps = await this.#stamps(name, version);
    await this.#oracle.request('DELBUILD', { package: name, version });
    await this.#secretary.request('DELVER', { package: name, version });
    await this.#removeUnlisted(name, stamps);
    return { verb: 'DONE' };
  }

  /**
   * Removes what interrupted removals have left, and the wheels of versions that were removed from the index longer than
   * the grace period ago.
   */
  async #sweepRemoved(): Promise<void> {
    await this.#removeUnlisted(null);
    const { removalGraceS } = this.#settings;
    if (removalGraceS === null) return;
    const { versions } = await this.#oracle.request('REMOVED', {
      grace_s: removalGraceS,
      limit: REMOVAL_SWEEP.limit,
    });
    for (const [name, version] of versions) {
      if (this.isStopping()) return;
      this.log.info('version removed: it is gone from the index', { package: name, version });
      await this.#removeVersion({ package: name, version, skip: null, yank: false });
    }
  }

  /** Returns the stamps of a package's listed files. */
  async #stamps(name: string, version?: string): Promise<ReadonlyMap<string, string>> {
    const stamps = new Map<string, string>();
    const { files } = await this.#oracle.request('PKGFILES', { package: name });
    for (const { filename, version: fileVersion } of files) {
      if (version !== undefined && fileVersion !== version) continue;
      const { file_stamp: fileStamp } = await this.#files.request('GETSTAMP', { package: name, filename });
      if (fileStamp) stamps.set(filename, fileStamp.stamp);
    }
    return stamps;
  }

  /** Returns files that are not listed any more and may still be published: of one package, or of all (null). */
  async #unlistedFiles(name: string | null) {
    const { files } = await this.#oracle.request('UNLISTED', { package: name, limit: UNLISTED_LIMIT });
    return files;
  }

  /**
   * Removes files that are not listed any more, of one package or of all (null). The index no longer names them, so that
   * a reader never follows a broken link. `listedStamps` are the stamps of files while they were listed. A file that was
   * published or reserved since then belongs to another build, and is kept.
   */
  async #removeUnlisted(
    name: string | null,
    listedStamps: ReadonlyMap<string, string> = new Map(),
  ): Promise<void> {
    for (;;) {
      const pending = await this.#unlistedFiles(name);
      const stamps = new Map<string, FileStamp>();
      for (const [packageName, filename] of pending) {
        const { file_stamp: fileStamp } = await this.#files.request('GETSTAMP', {
          package: packageName,
          filename,
        });
        if (fileStamp) stamps.set(filename, fileStamp);
      }
      // Asked again, so that the time since a file was listed is not measured before the age of the file: else one that
      // was published in between would look old.
      for (const [packageName, filename, unlistedS] of stamps.size > 0
        ? await this.#unlistedFiles(name)
        : []) {
        const fileStamp = stamps.get(filename);
        if (!fileStamp) continue;
        const { stamp, age_s: ageS } = fileStamp;
        if (stamp !== listedStamps.get(filename) && ageS < unlistedS) continue;
        const { origin } = await this.#oracle.request('FILEORIGIN', { filename });
        if (!origin) await this.#files.request('REMOVE', { package: packageName, filename, stamp });
      }
      if (pending.length > 0)
        await this.#oracle.request('FILESGONE', { filenames: pending.map(([, filename]) => filename) });
      if (pending.length < UNLISTED_LIMIT) return;
    }
  }

  async #rebuild(part: SitePart, name: string | null): Promise<{ verb: 'DONE' }> {
    if (name !== null) await this.#requireExists(name, null);
    const names = name === null ? (await this.#oracle.request('ALLPKGS', {})).names : [name];
    if (part === 'SEARCH' || part === 'ALL') await this.#secretary.request('SEARCH', {});
    if (part === 'SITEMAP' || part === 'ALL') await this.#secretary.request('SITEMAP', {});
    if (name === null && (part === 'INDEX' || part === 'ALL')) await this.#secretary.request('ROOT', {});
    // The Secretary finds them in the database: requesting the pages of a whole index one by one would take
    // hours.
    const kind = part === 'PROJECT' ? 'PROJECT' : part === 'INDEX' || part === 'ALL' ? 'PKG' : undefined;
    for (let offset = 0; kind !== undefined && offset < names.length; offset += REBUILD_BATCH_SIZE) {
      const pages = names
        .slice(offset, offset + REBUILD_BATCH_SIZE)
        .map((each): [string, string] => [kind, each]);
      await this.#oracle.request('SAVEPAGES', { fence: null, pages, written: [], listed: [] });
    }
    if (part === 'LOG') for (const each of names) await this.#rewriteLogs(each);
    if (part === 'HOME' || part === 'ALL')
      await this.#secretary.request('HOME', { statistics: await this.#statistics() });
    return { verb: 'DONE' };
  }

  /** Returns Big Brother's statistics; the database's own while Big Brother is not running. */
  async #statistics(): Promise<Statistics> {
    try {
      return (await this.#bigBrother.request('GATHER', {})).statistics;
    } catch (error) {
      if (!hasCode(error, 'PIW_NO_RESPONDERS')) throw error;
      return (await this.#oracle.request('GETSTATS', {})).statistics;
    }
  }

  async #rewriteLogs(name: string): Promise<void> {
    const { project } = await this.#oracle.request('PROJECT', { package: name });
    const builds = (project?.versions ?? []).flatMap(({ targets }) =>
      targets.map(({ build_id }) => build_id),
    );
    for (const build_id of new Set(builds))
      if (build_id !== null) await this.#secretary.request('LOG', { build_id });
  }

  /**
   * Requeues one page of failures. The command requests page after page, so that it can be interrupted and
   * repeated.
   */
  async #retry(request: Body<typeof chase.verbs, 'RETRY'>): Promise<Answer<typeof chase.verbs, 'RETRY'>> {
    const { package: name, version } = request.filter;
    if (name !== null) await this.#requireExists(name, version);
    const page = await this.#oracle.request('RETRY', request);
    const count = page.classes.reduce((sum, [, failures]) => sum + failures, 0);
    if (!request.dry_run && count > 0) this.log.info('failures requeued by an administrator', { count });
    return page;
  }

  async #requireExists(name: string, version: string | null): Promise<void> {
    const { exists } = await this.#oracle.request('PKGEXISTS', { package: name });
    if (!exists) throw new PiwError('PIW_UNKNOWN_PACKAGE', `there is no package ${name}`);
    if (version === null) return;
    const answer = await this.#oracle.request('VEREXISTS', { package: name, version });
    if (!answer.exists)
      throw new PiwError('PIW_UNKNOWN_VERSION', `there is no version ${version} of ${name}`);
  }
}

/** Returns WAIT for an importer if one of the farm's disks has a problem. Throws any other error. */
function waitIfDiskTrouble(error: unknown): { verb: 'WAIT'; seconds: number; reason: string } {
  if (!isDiskError(error)) throw error;
  return { verb: 'WAIT', seconds: RETRY_AFTER_S, reason: error.message };
}

const sessionOf = (from: MessageOrigin): string => from.tokens[1] ?? randomBytes(8).toString('hex');
