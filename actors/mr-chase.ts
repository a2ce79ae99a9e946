import { randomBytes } from 'node:crypto';
import { Actor, type ActorContext, type From } from '../src/actor/actor.js';
import { Client } from '../src/actor/client.js';
import { PiwError, isDiskTrouble } from '../src/errors.js';
import { bigBrother } from '../src/protocols/big-brother.js';
import { chase, type Part } from '../src/protocols/chase.js';
import type { CoreMetadata } from '../src/protocols/fields.js';
import { NO_DETAILS } from '../src/states/build-details.js';
import { fileSystem, partsOf } from '../src/protocols/file-juggler.js';
import { PRIORITY, oracle, type LoggedBuild } from '../src/protocols/oracle.js';
import type { Answer, Body } from '../src/protocols/protocol.js';
import type { Statistics } from '../src/protocols/statistics.js';
import { secretary } from '../src/protocols/web.js';
import { fileFromMessage, fileToMessage, type FileState } from '../src/states/file-state.js';
import { refuseImport } from '../src/wheels/accept.js';
import { compareTargets } from '../src/wheels/tags.js';

type Import = Body<typeof chase.verbs, 'IMPORT'>;
type Told = Answer<typeof chase.verbs, 'SENT'>;

/** How many pages are noted as due at once. */
const DUE_AT_ONCE = 1000;
/** The NATS user of importers, in whose bucket their files travel. */
export const IMPORTER = 'importer';
/** How often one file may arrive damaged before the import counts as failed. */
const MAX_DAMAGED = 5;
/** Seconds after which an importer asks again whether its file can be taken. */
const WAIT_S = 5;
const FORGET_MS = 3_600_000;

export interface ChaseSettings {
  /** How long the wheels of what the index has no more are kept, seconds; null: for ever. */
  readonly removalGraceS: number | null;
}

/** How many versions are removed at a time, and how often it is looked for more, seconds. */
const SWEEP = { most: 100, everyS: 600 };

interface Importing {
  readonly request: Import;
  readonly abi: string;
  readonly platform: string;
  readonly files: {
    readonly file: FileState;
    id: string;
    metadata: string | undefined;
    coreMetadata: CoreMetadata | null;
    /** Under which name it was published: with another build tag than announced, maybe. */
    published: string;
    damaged: number;
  }[];
  readonly since: number;
}

/**
 * Serves the administrator's commands.
 *
 *   IMPORT   what is announced is checked; SEND for each file in turn, as with a slave
 *   SENT     the File Juggler verifies; the next SEND, or, when all are in place, the build is logged
 *            and its pages are due: DONE
 *   others   are done, and their pages are due: DONE
 *
 * Whatever isn't possible is answered with an ERROR, and nothing is changed. An import whose session
 * this process doesn't know (it was started anew) is told PIW_UNKNOWN_TRANSFER, and begins again;
 * what has arrived of its files is not sent twice.
 */
export class MrChase extends Actor {
  readonly #settings: ChaseSettings;
  readonly #imports = new Map<string, Importing>();
  readonly #database: Client<typeof oracle.verbs>;
  readonly #files: Client<typeof fileSystem.verbs>;
  readonly #secretary: Client<typeof secretary.verbs>;
  readonly #bigBrother: Client<typeof bigBrother.verbs>;

  constructor(context: ActorContext, settings: ChaseSettings) {
    super(context);
    this.#settings = settings;
    const patient = { timeoutMs: 10_000, patienceMs: 30_000 };
    this.#database = new Client(this.bus, oracle, undefined, patient);
    this.#files = new Client(this.bus, fileSystem, undefined, patient);
    this.#secretary = new Client(this.bus, secretary, undefined, patient);
    this.#bigBrother = new Client(this.bus, bigBrother, undefined, { timeoutMs: 10_000, once: true });
  }

  override start(): void {
    this.serve(
      chase,
      {
        IMPORT: (request, from) => this.#import(request, sessionOf(from)),
        SENT: ({ filename }, from) => this.#sent(filename, sessionOf(from)),
        ADDPKG: (added) => this.#addPackage(added),
        ADDVER: (added) => this.#addVersion(added),
        REMPKG: ({ package: name, skip }) => this.#removePackage(name, skip),
        REMVER: (removed) => this.#removeVersion(removed),
        REBUILD: ({ part, package: name }) => this.#rebuild(part, name),
        RETRY: (request) => this.#retry(request),
      },
      { tokens: [chase.name, '*'] },
    );
    this.every(SWEEP.everyS, () => this.#sweep(), 60);
    this.every(600, () => {
      const before = this.clock.monotonicMs() - FORGET_MS;
      for (const [session, { since }] of this.#imports) if (since < before) this.#imports.delete(session);
    });
  }

  async #import(request: Import, session: string): Promise<Told> {
    const files = request.files.map(fileFromMessage);
    if (request.status && files.length === 0) {
      throw new PiwError('PIW_REFUSED', 'an import of a build that worked has at least one file');
    }
    for (const file of files) {
      const why = refuseImport(file);
      if (why !== undefined) throw new PiwError('PIW_FILE_REFUSED', why);
    }
    const { abi, platform } = await this.#target(request.abi, files);
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
    await this.#database.ask('NEWPKG', { package: request.package, description: null, origin, aliases: [] });
    // Of one that is known, only whose it is changes.
    await this.#database.ask('NEWVER', { package: request.package, origin, releases: [release] });
    const importing: Importing = {
      request,
      abi,
      platform,
      // The digest names the transfer: an import that begins again finds what has arrived of it.
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
        const its = { transfer_id: id, sender: IMPORTER, file_state: fileToMessage(file) };
        transfer.id = (await this.#files.ask('EXPECT', its)).transfer_id;
      }
    } catch (error) {
      return laterIfDisk(error);
    }
    this.#imports.set(session, importing);
    this.log.info(`import of ${request.package} ${request.version}, ${String(files.length)} files`);
    return this.#next(session, importing);
  }

  async #sent(filename: string, session: string): Promise<Told> {
    const importing = this.#imports.get(session);
    const transfer = importing?.files.find(({ file }) => file.filename === filename);
    if (!importing || !transfer) {
      throw new PiwError('PIW_UNKNOWN_TRANSFER', `no import of ${filename} is under way here`);
    }
    const { files: past } = await this.#database.ask('PUBLISHED', { filename });
    const its = {
      transfer_id: transfer.id,
      package: importing.request.package,
      // An administrator's own is newer than whatever is there.
      rebuilt: true,
      past,
    };
    const verdict = await this.#files.ask('VERIFY', its).catch(laterIfDisk);
    switch (verdict.verb) {
      case 'WAIT':
        return verdict;
      case 'LATER':
        return { verb: 'WAIT', seconds: WAIT_S, reason: verdict.reason };
      case 'VERIFIED':
        transfer.metadata = verdict.metadata_sha256;
        transfer.coreMetadata = verdict.core_metadata;
        transfer.published = verdict.filename;
        return this.#next(session, importing);
      case 'AGAIN':
        transfer.damaged += 1;
        if (transfer.damaged < MAX_DAMAGED) return this.#next(session, importing);
        break;
      case 'REFUSED':
      case 'TAKEN':
        await this.#files.ask('FORGET', { transfer_id: transfer.id });
    }
    this.#imports.delete(session);
    throw PiwError.fromAnswer('code' in verdict ? verdict.code : 'PIW_FILE_REFUSED', verdict.reason);
  }

  async #next(session: string, importing: Importing): Promise<Told> {
    let next = importing.files.find(({ metadata }) => metadata === undefined);
    // The first of many may have been published long ago: claimed once more, they are nobody else's until they are logged.
    if (!next && importing.files.length > 1) next = await this.#claim(importing);
    if (next) {
      return { verb: 'SEND', filename: next.file.filename, transfer_id: next.id };
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
    await this.#database.ask('LOGBUILD', { builds: [build] });
    this.#imports.delete(session);
    await this.#secretary.ask('PKG', { package: request.package });
    return { verb: 'DONE', filenames: importing.files.map(({ published }) => published) };
  }

  /** Claims all files of an import. Returns one that is gone, to be sent again. */
  async #claim({ request, files }: Importing): Promise<Importing['files'][number] | undefined> {
    for (const transfer of files) {
      const { published: filename } = transfer;
      const { standing } = await this.#files.ask('CLAIM', { package: request.package, filename });
      if (standing) continue;
      const its = { sender: IMPORTER, file_state: fileToMessage(transfer.file) };
      const { transfer_id } = await this.#files.ask('EXPECT', {
        transfer_id: partsOf(transfer.id).id,
        ...its,
      });
      Object.assign(transfer, { id: transfer_id, metadata: undefined });
      return transfer;
    }
    return undefined;
  }

  /** The target that an import is logged for: the one given, else the first file's, else the lowest. */
  async #target(
    given: string | null,
    files: readonly FileState[],
  ): Promise<{ abi: string; platform: string }> {
    const { targets } = await this.#database.ask('GETABIS', {});
    const sorted = [...targets].sort(compareTargets);
    const tagged = files.map((file) => file.abi_tag).find((tag) => tag !== 'none');
    const wanted = given ?? (sorted.some(({ abi }) => abi === tagged) ? tagged : undefined);
    const found = wanted === undefined ? sorted[0] : sorted.find(({ abi }) => abi === wanted);
    if (found) return found;
    throw new PiwError(
      'PIW_UNKNOWN_TARGET',
      wanted === undefined ? 'no ABI is registered' : `the ABI ${wanted} is not registered`,
    );
  }

  async #addPackage(added: Body<typeof chase.verbs, 'ADDPKG'>): Promise<{ verb: 'DONE' }> {
    const { package: name, description, skip, unskip, aliases } = added;
    await this.#database.ask('NEWPKG', { package: name, description, origin: 'add', aliases });
    if (skip !== null || unskip)
      await this.#database.ask('SKIPPKG', { package: name, skip: unskip ? null : skip });
    await this.#secretary.ask('PROJECT', { package: name });
    return { verb: 'DONE' };
  }

  async #addVersion(added: Body<typeof chase.verbs, 'ADDVER'>): Promise<{ verb: 'DONE' }> {
    const { package: name, version, released, skip, unskip, yanked, unyank } = added;
    await this.#mustExist(name, null);
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
    await this.#database.ask('NEWVER', { package: name, origin: 'add', releases: [release] });
    if (yanked !== null) await this.#database.ask('YANKVER', { package: name, version, yanked });
    else if (unyank) await this.#database.ask('UNYANKVER', { package: name, version });
    if (skip !== null || unskip)
      await this.#database.ask('SKIPVER', { package: name, version, skip: unskip ? null : skip });
    await this.#secretary.ask('PKG', { package: name });
    return { verb: 'DONE' };
  }

  async #removePackage(name: string, skip: string | null): Promise<{ verb: 'DONE' }> {
    await this.#mustExist(name, null);
    const stamps = await this.#stamps(name);
    const files = await this.#database.ask('PKGFILES', { package: name });
    if (skip !== null) await this.#database.ask('SKIPPKG', { package: name, skip });
    const freed: string[] = [];
    if (skip === null) freed.push(...(await this.#database.ask('DELPKG', { package: name })).filenames);
    else {
      for (const version of files.versions) {
        freed.push(...(await this.#database.ask('DELBUILD', { package: name, version })).filenames);
      }
    }
    await this.#secretary.ask('DELPKG', { package: name });
    await this.#withdraw(name, freed, stamps);
    return { verb: 'DONE' };
  }

  async #removeVersion(removed: Body<typeof chase.verbs, 'REMVER'>): Promise<{ verb: 'DONE' }> {
    const { package: name, version, skip, yank } = removed;
    await this.#mustExist(name, version);
    if (yank) {
      await this.#database.ask('YANKVER', { package: name, version, yanked: skip ?? '' });
      await this.#secretary.ask('PKG', { package: name });
      return { verb: 'DONE' };
    }
    // Skipped first, or it would be given out again between the two.
    if (skip !== null) await this.#database.ask('SKIPVER', { package: name, version, skip });
    const stamps = await this.#stamps(name, version);
    const { filenames } = await this.#database.ask('DELBUILD', { package: name, version });
    await this.#secretary.ask('DELVER', { package: name, version });
    await this.#withdraw(name, filenames, stamps);
    return { verb: 'DONE' };
  }

  /** Removes the wheels of what the index has had no more for longer than the grace time. */
  async #sweep(): Promise<void> {
    const { removalGraceS } = this.#settings;
    if (removalGraceS === null) return;
    const { versions } = await this.#database.ask('GONE', { grace_s: removalGraceS, limit: SWEEP.most });
    for (const [name, version] of versions) {
      if (this.isStopping()) return;
      this.log.info(`${name} ${version} is removed: the index has it no more`);
      await this.#removeVersion({ package: name, version, skip: null, yank: false });
    }
  }

  /** How the files of a package stand, before the database forgets them. */
  async #stamps(name: string, version?: string): Promise<ReadonlyMap<string, string>> {
    const stamps = new Map<string, string>();
    const { files } = await this.#database.ask('PKGFILES', { package: name });
    for (const { filename, version: its } of files) {
      if (version !== undefined && its !== version) continue;
      const { standing } = await this.#files.ask('STANDING', { package: name, filename });
      if (standing) stamps.set(filename, standing.stamp);
    }
    return stamps;
  }

  /**
   * Removes files that the index no longer names: a reader never follows a link to nothing. One that was published again
   * since the database forgot it is another build's, and stays.
   */
  async #withdraw(
    name: string,
    filenames: readonly string[],
    stamps: ReadonlyMap<string, string>,
  ): Promise<void> {
    for (const filename of filenames) {
      const stamp = stamps.get(filename) ?? (await this.#unlisted(name, filename));
      if (stamp !== undefined) await this.#files.ask('REMOVE', { package: name, filename, stamp });
    }
  }

  /** The stamp of a file that came too late to have one, and that nothing lists; undefined: it stays, or is gone. */
  async #unlisted(name: string, filename: string): Promise<string | undefined> {
    const { standing } = await this.#files.ask('STANDING', { package: name, filename });
    const { origin } = await this.#database.ask('FILEORIGIN', { filename });
    return origin ? undefined : standing?.stamp;
  }

  async #rebuild(part: Part, name: string | null): Promise<{ verb: 'DONE' }> {
    if (name !== null) await this.#mustExist(name, null);
    const names = name === null ? (await this.#database.ask('ALLPKGS', {})).names : [name];
    if (part === 'SEARCH' || part === 'ALL') await this.#secretary.ask('SEARCH', {});
    if (part === 'SITEMAP' || part === 'ALL') await this.#secretary.ask('SITEMAP', {});
    if (name === null && (part === 'INDEX' || part === 'ALL')) await this.#secretary.ask('ROOT', {});
    // The Secretary finds them in the database: of a whole index, one by one would take hours.
    const kind = part === 'PROJECT' ? 'PROJECT' : part === 'INDEX' || part === 'ALL' ? 'PKG' : undefined;
    for (let at = 0; kind !== undefined && at < names.length; at += DUE_AT_ONCE) {
      const pages = names.slice(at, at + DUE_AT_ONCE).map((each): [string, string] => [kind, each]);
      await this.#database.ask('SAVEPAGES', { fence: null, pages, written: [], listed: [] });
    }
    if (part === 'LOG') for (const each of names) await this.#logs(each);
    if (part === 'HOME' || part === 'ALL')
      await this.#secretary.ask('HOME', { statistics: await this.#statistics() });
    return { verb: 'DONE' };
  }

  /** Those of Big Brother; while there is none, what the database has of them. */
  async #statistics(): Promise<Statistics> {
    try {
      return (await this.#bigBrother.ask('GATHER', {})).statistics;
    } catch (error) {
      if (!(error instanceof PiwError) || error.code !== 'PIW_NO_RESPONDERS') throw error;
      return (await this.#database.ask('GETSTATS', {})).statistics;
    }
  }

  async #logs(name: string): Promise<void> {
    const { project } = await this.#database.ask('PROJECT', { package: name });
    const builds = (project?.versions ?? []).flatMap(({ targets }) =>
      targets.map(({ build_id }) => build_id),
    );
    for (const build_id of new Set(builds))
      if (build_id !== null) await this.#secretary.ask('LOG', { build_id });
  }

  /** One page of a run, which the command asks for page by page: so it can be interrupted and repeated. */
  async #retry(request: Body<typeof chase.verbs, 'RETRY'>): Promise<Answer<typeof chase.verbs, 'RETRY'>> {
    const { package: name, version } = request.filter;
    if (name !== null) await this.#mustExist(name, version);
    const page = await this.#database.ask('RETRY', request);
    const count = page.classes.reduce((sum, [, failures]) => sum + failures, 0);
    if (!request.dry_run && count > 0)
      this.log.info(`${String(count)} failures are back in the queue: an administrator asked for it`);
    return page;
  }

  async #mustExist(name: string, version: string | null): Promise<void> {
    const { exists } = await this.#database.ask('PKGEXISTS', { package: name });
    if (!exists) throw new PiwError('PIW_UNKNOWN_PACKAGE', `there is no package ${name}`);
    if (version === null) return;
    const known = await this.#database.ask('VEREXISTS', { package: name, version });
    if (!known.exists) throw new PiwError('PIW_UNKNOWN_VERSION', `there is no version ${version} of ${name}`);
  }
}

/** The answer to an importer if a disk of the farm's is in the way. Throws any other error. */
function laterIfDisk(error: unknown): { verb: 'WAIT'; seconds: number; reason: string } {
  if (!isDiskTrouble(error)) throw error;
  return { verb: 'WAIT', seconds: WAIT_S, reason: error.message };
}

const sessionOf = (from: From): string => from.tokens[1] ?? randomBytes(8).toString('hex');
