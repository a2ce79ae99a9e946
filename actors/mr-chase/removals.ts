import type { Log } from '../../src/log.js';
import type { chase } from '../../src/protocols/chase.js';
import type { FileStamp } from '../../src/protocols/file-juggler.js';
import type { Body } from '../../src/protocols/protocol.js';
import type { FarmClients } from './farm-clients.js';

/** Files that are removed at once. */
const UNLISTED_LIMIT = 1000;
/** Versions removed per sweep. */
const SWEEP_LIMIT = 100;

/** Removes packages and versions from the database and the index, then their files. */
export class Removals {
  readonly #farm: FarmClients;
  readonly #log: Log;

  constructor(farm: FarmClients, log: Log) {
    this.#farm = farm;
    this.#log = log;
  }

  async removePackage(name: string, skip: string | null): Promise<void> {
    // A removal that was interrupted has deleted the package, and left files.
    if ((await this.#unlistedFiles(name)).length === 0) await this.#farm.requireExists(name, null);
    const stamps = await this.#stamps(name);
    if (skip === null) await this.#farm.oracle.request('DELPKG', { package: name });
    else {
      await this.#farm.oracle.request('SKIPPKG', { package: name, skip });
      const { versions } = await this.#farm.oracle.request('PKGFILES', { package: name });
      for (const version of versions) await this.#farm.oracle.request('DELBUILD', { package: name, version });
    }
    await this.#farm.secretary.request('DELPKG', { package: name });
    await this.#removeUnlisted(name, stamps);
  }

  async removeVersion(request: Body<typeof chase.verbs, 'REMVER'>): Promise<void> {
    const { package: name, version, skip, yank } = request;
    await this.#farm.requireExists(name, version);
    if (yank) {
      await this.#farm.oracle.request('YANKVER', { package: name, version, yanked: skip ?? '' });
      await this.#farm.secretary.request('PKG', { package: name });
      return;
    }
    // Skipped first, otherwise it could be granted again in between.
    if (skip !== null) await this.#farm.oracle.request('SKIPVER', { package: name, version, skip });
    const stamps = await this.#stamps(name, version);
    await this.#farm.oracle.request('DELBUILD', { package: name, version });
    await this.#farm.secretary.request('DELVER', { package: name, version });
    await this.#removeUnlisted(name, stamps);
  }

  /**
   * Removes what interrupted removals have left, and the wheels of versions that were removed from the index longer than
   * the grace period ago.
   */
  async sweep(removalGraceS: number | null, isStopping: () => boolean): Promise<void> {
    await this.#removeUnlisted(null);
    if (removalGraceS === null) return;
    const { versions } = await this.#farm.oracle.request('REMOVED', {
      grace_s: removalGraceS,
      limit: SWEEP_LIMIT,
    });
    for (const [name, version] of versions) {
      if (isStopping()) return;
      this.#log.info('version removed: it is gone from the index', { package: name, version });
      await this.removeVersion({ package: name, version, skip: null, yank: false });
    }
  }

  /** Returns the stamps of a package's listed files. */
  async #stamps(name: string, version?: string): Promise<ReadonlyMap<string, string>> {
    const stamps = new Map<string, string>();
    const { files } = await this.#farm.oracle.request('PKGFILES', { package: name });
    for (const { filename, version: fileVersion } of files) {
      if (version !== undefined && fileVersion !== version) continue;
      const { file_stamp: fileStamp } = await this.#farm.files.request('GETSTAMP', {
        package: name,
        filename,
      });
      if (fileStamp) stamps.set(filename, fileStamp.stamp);
    }
    return stamps;
  }

  /** Returns files that are not listed any more and may still be published: of one package, or of all (null). */
  async #unlistedFiles(name: string | null) {
    const { files } = await this.#farm.oracle.request('UNLISTED', { package: name, limit: UNLISTED_LIMIT });
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
        const { file_stamp: fileStamp } = await this.#farm.files.request('GETSTAMP', {
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
        const { origin } = await this.#farm.oracle.request('FILEORIGIN', { filename });
        if (!origin) await this.#farm.files.request('REMOVE', { package: packageName, filename, stamp });
      }
      if (pending.length > 0)
        await this.#farm.oracle.request('FILESGONE', { filenames: pending.map(([, filename]) => filename) });
      if (pending.length < UNLISTED_LIMIT) return;
    }
  }
}
