import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ProtocolClient } from '../actor/client.js';
import type { Bus } from '../bus/bus.js';
import { chase } from '../protocols/chase.js';
import { fileJuggler } from '../protocols/file-juggler.js';
import { oracle } from '../protocols/oracle.js';
import type { IndexedFile } from '../model/project.js';
import { hashFile } from '../wheels/wheel.js';
import type { DataFolder } from '../servers/data-folder.js';
import { runAs, type Account } from '../servers/privileges.js';
import { formatQuantity } from '../units.js';

interface OutputLocation {
  readonly folder: DataFolder;
  /** The output path. */
  readonly path: string;
  readonly account: Account | undefined;
  readonly log: (text: string) => void;
}

/** The file in the data folder that records where the site was when it was last complete. */
const OUTPUT_PATH_FILE = 'output-path';
const PATIENT_TIMEOUTS = { timeoutMs: 10_000, patienceMs: 30_000 };

/**
 * Restores the files in the output path to what the database lists. If the output path has changed, or was emptied,
 * restore() copies the wheels from the previous location. It deletes from the database the builds whose wheels are
 * missing or have other contents, so that they are built again, and then makes all pages due. A site that is still in
 * place costs one check, in the constructor: before the farm writes there.
 */
export class SiteOutput {
  readonly #location: OutputLocation;
  readonly #previousPath: string | undefined;
  readonly #isComplete: boolean;

  constructor(location: OutputLocation) {
    this.#location = location;
    this.#previousPath = location.folder.read(OUTPUT_PATH_FILE);
    this.#isComplete =
      this.#previousPath === location.path && existsSync(join(location.path, 'simple', 'index.html'));
  }

  /** Restores the site if it is incomplete. */
  async restore(bus: Bus, signal: AbortSignal): Promise<void> {
    if (this.#isComplete) return;
    const { folder, path, log } = this.#location;
    const names = await listPackages(bus);
    let copied = 0;
    let lost = 0;
    for (const name of names) {
      signal.throwIfAborted();
      const counts = await this.#restorePackage(bus, name);
      copied += counts.copied;
      lost += counts.lost;
    }
    if (copied > 0)
      log(
        `Copied ${formatQuantity(copied, 'wheel')} from ${this.#previousPath ?? ''}, where the site was before.`,
      );
    if (lost > 0)
      log(`Wheels of ${formatQuantity(lost, 'version')} are missing from ${path}: building them again.`);
    if (names.length > 0) {
      const session = [chase.name, randomBytes(8).toString('hex')];
      await new ProtocolClient(bus, chase, session, PATIENT_TIMEOUTS).request('REBUILD', {
        part: 'ALL',
        package: null,
      });
    }
    folder.writeSecret(OUTPUT_PATH_FILE, path);
  }

  async #restorePackage(bus: Bus, name: string): Promise<{ copied: number; lost: number }> {
    const { path } = this.#location;
    const database = new ProtocolClient(bus, oracle, undefined, PATIENT_TIMEOUTS);
    const { files } = await database.request('PKGFILES', { package: name });
    const packageFolder = join(path, 'simple', name);
    const missingFiles: IndexedFile[] = [];
    for (const file of files) if (!(await isIntact(packageFolder, file))) missingFiles.push(file);
    if (this.#previousPath !== undefined && this.#previousPath !== path)
      copyFiles(this.#location, this.#previousPath, name, missingFiles);
    const lostVersions = new Set<string>();
    for (const file of missingFiles)
      if (!(await isIntact(packageFolder, file))) lostVersions.add(file.version);
    for (const version of lostVersions) {
      const { filenames } = await database.request('DELBUILD', { package: name, version });
      const juggler = new ProtocolClient(bus, fileJuggler, undefined, PATIENT_TIMEOUTS);
      for (const filename of filenames) {
        const { file_stamp: fileStamp } = await juggler.request('GETSTAMP', { package: name, filename });
        if (fileStamp) await juggler.request('REMOVE', { package: name, filename, stamp: fileStamp.stamp });
      }
    }
    const lostCount = missingFiles.filter(({ version }) => lostVersions.has(version)).length;
    return { copied: missingFiles.length - lostCount, lost: lostVersions.size };
  }
}

/** Returns the names of all packages with published files. */
async function listPackages(bus: Bus): Promise<readonly string[]> {
  const database = new ProtocolClient(bus, oracle, undefined, PATIENT_TIMEOUTS);
  const packageNames: string[] = [];
  let page: readonly string[];
  do {
    ({ names: page } = await database.request('INDEX', { after: packageNames.at(-1) ?? '', limit: 10_000 }));
    packageNames.push(...page);
  } while (page.length > 0);
  return packageNames;
}

/** Copies files of a package, with their metadata, as the account that owns the site. */
function copyFiles(
  { path, account }: OutputLocation,
  previousPath: string,
  name: string,
  files: readonly IndexedFile[],
): void {
  const source = join(previousPath, 'simple', name);
  const existing = files
    .flatMap(({ filename }) => [filename, `${filename}.metadata`])
    .filter((filename) => existsSync(join(source, filename)));
  if (existing.length === 0) return;
  // The exit code doesn't matter: the caller compares the files' digests.
  const script = 'to=$1; shift; mkdir -p -- "$to" && cp -- "$@" "$to/"';
  const paths = existing.map((filename) => join(source, filename));
  spawnSync('/bin/sh', ['-c', script, 'sh', join(path, 'simple', name), ...paths], {
    ...runAs(account),
    stdio: 'ignore',
  });
}

async function isIntact(
  folder: string,
  { filename, filesize, sha256, metadata_sha256 }: IndexedFile,
): Promise<boolean> {
  const file = join(folder, filename);
  if (statSync(file, { throwIfNoEntry: false })?.size !== filesize) return false;
  if (!existsSync(`${file}.metadata`)) return false;
  const [wheel, metadata] = [await hashFile(file), await hashFile(`${file}.metadata`)];
  return wheel.sha256 === sha256 && metadata.sha256 === metadata_sha256;
}
