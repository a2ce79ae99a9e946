import type { Clock } from '../../src/concurrency/clock.js';
import { KeyedQueues } from '../../src/concurrency/keyed-queues.js';
import { RETRYABLE_CODES } from '../../src/bus/requests.js';
import { PiwError, isDiskError } from '../../src/errors.js';
import type { Log } from '../../src/log.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import type { LoggedBuild } from '../../src/model/build.js';
import type { CoreMetadata } from '../../src/model/fields.js';
import { fileFromMessage, fileToMessage, type FileState } from '../../src/model/file-state.js';
import { PRIORITY } from '../../src/model/release.js';
import type { chase } from '../../src/protocols/chase.js';
import { parseTransferId } from '../../src/protocols/file-juggler.js';
import type { Answer, Body } from '../../src/protocols/protocol.js';
import { HOUR_MS } from '../../src/units.js';
import { importRefusal } from '../../src/wheels/accept.js';
import { compareTargets } from '../../src/wheels/tags.js';
import type { FarmClients } from './farm-clients.js';

type ImportRequest = Body<typeof chase.verbs, 'IMPORT'>;
type ImportAnswer = Answer<typeof chase.verbs, 'SENT'>;

/** The NATS user of importers; their files travel in its bucket. */
export const IMPORT_USER = 'importer';
/** Times that one file may arrive damaged before the import fails. */
const MAX_DAMAGED_TRANSFERS = 5;
/** Attempts to log a build. The questions in between wait for NATS and the database. */
const MAX_LOG_ATTEMPTS = 3;
/** Seconds after which an importer asks again whether its file can be taken. */
const RETRY_AFTER_S = 5;
const IMPORT_EXPIRY_MS = HOUR_MS;

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
 * The imports that are in progress, by the importer's session. One whose session is unknown, because this process was
 * restarted, is answered PIW_UNKNOWN_TRANSFER, and begins again; the parts of its files that have arrived are not sent
 * twice.
 */
export class Imports {
  readonly #farm: FarmClients;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #sessions = new Map<string, ImportSession>();
  /** An importer repeats a request whose answer was lost, perhaps while the first one is still being carried out. */
  readonly #queues = new KeyedQueues<string>();

  constructor(farm: FarmClients, clock: Clock, log: Log) {
    this.#farm = farm;
    this.#clock = clock;
    this.#log = log;
  }

  /** Forgets imports that began long ago. */
  forgetOld(): void {
    const cutoff = this.#clock.monotonicMs() - IMPORT_EXPIRY_MS;
    for (const [session, { since }] of this.#sessions) if (since < cutoff) this.#sessions.delete(session);
  }

  /** Answers IMPORT: checks the announcement, and has the first file sent. */
  begin(request: ImportRequest, session: string): Promise<ImportAnswer> {
    return this.#queues.run(session, () => this.#begin(request, session));
  }

  /** Answers SENT: has the file verified, and the next one sent, or logs the build. */
  sent(filename: string, session: string): Promise<ImportAnswer> {
    return this.#queues.run(session, () => this.#sent(filename, session));
  }

  async #begin(request: ImportRequest, session: string): Promise<ImportAnswer> {
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
    await this.#farm.oracle.request('NEWPKG', {
      package: request.package,
      description: null,
      origin,
      aliases: [],
    });
    // For an existing version, only its origin changes.
    await this.#farm.oracle.request('NEWVER', { package: request.package, origin, releases: [release] });
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
      since: this.#clock.monotonicMs(),
    };
    try {
      for (const transfer of importing.files) {
        const { id, file } = transfer;
        const message = { transfer_id: id, sender: IMPORT_USER, file_state: fileToMessage(file) };
        transfer.id = (await this.#farm.files.request('EXPECT', message)).transfer_id;
      }
    } catch (error) {
      return waitIfDiskTrouble(error);
    }
    this.#sessions.set(session, importing);
    const { package: name, version } = request;
    this.#log.info('import started', { package: name, version, files: files.length });
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
    const { project } = await this.#farm.oracle.request('PROJECT', { package: name });
    const serving = project?.files.filter(
      (file) =>
        file.version === version &&
        file.serves.some(([abi, platform]) => abi === target.abi && platform === target.platform),
    );
    const filenames: string[] = [];
    for (const { filehash } of files) {
      const filename = serving?.find(({ sha256 }) => sha256 === filehash)?.filename;
      if (filename === undefined) return undefined;
      const { file_stamp: stamp } = await this.#farm.files.request('GETSTAMP', { package: name, filename });
      if (!stamp) return undefined;
      filenames.push(filename);
    }
    return filenames;
  }

  async #sent(filename: string, session: string): Promise<ImportAnswer> {
    const importing = this.#sessions.get(session);
    const transfer = importing?.files.find(({ file }) => file.filename === filename);
    if (!importing || !transfer) {
      throw new PiwError('PIW_UNKNOWN_TRANSFER', `no import of ${filename} is in progress here`);
    }
    const { files: past } = await this.#farm.oracle.request('PUBLISHED', { filename });
    const message = {
      transfer_id: transfer.id,
      package: importing.request.package,
      // If the name is taken, the configuration decides between a build tag and a refusal.
      rebuilt: true,
      past,
    };
    const verdict = await this.#farm.files.request('VERIFY', message).catch(waitIfDiskTrouble);
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
        await this.#farm.files.request('FORGET', { transfer_id: transfer.id });
    }
    this.#sessions.delete(session);
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
    await this.#logBuild(importing, build);
    this.#sessions.delete(session);
    return { verb: 'DONE', filenames: importing.files.map(({ published }) => published) };
  }

  /**
   * Logs the build. A request whose answer was lost may have been carried out, and would log a second build if it were
   * repeated at once.
   */
  async #logBuild({ request, files, abi, platform }: ImportSession, build: LoggedBuild): Promise<void> {
    for (let attempt = 1; ; attempt += 1)
      try {
        await this.#farm.oracle.request('LOGBUILD', { builds: [build] }, { once: true });
        return;
      } catch (error) {
        if (!(error instanceof PiwError) || !RETRYABLE_CODES.has(error.code)) throw error;
        if (attempt === MAX_LOG_ATTEMPTS) throw error;
        const announced = files.map(({ file }) => file);
        if (await this.#findPublished(request, announced, { abi, platform })) return;
      }
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
      const { file_stamp: fileStamp } = await this.#farm.files.request('RESERVE', {
        package: request.package,
        filename,
      });
      if (fileStamp) continue;
      const announcement = { sender: IMPORT_USER, file_state: fileToMessage(transfer.file) };
      const { transfer_id } = await this.#farm.files.request('EXPECT', {
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
    const { targets } = await this.#farm.oracle.request('GETABIS', {});
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
}

/** Returns WAIT for an importer if one of the farm's disks has a problem. Throws any other error. */
function waitIfDiskTrouble(error: unknown): { verb: 'WAIT'; seconds: number; reason: string } {
  if (!isDiskError(error)) throw error;
  return { verb: 'WAIT', seconds: RETRY_AFTER_S, reason: error.message };
}
