import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from '../actor/client.js';
import type { Bus } from '../bus/bus.js';
import { chase } from '../protocols/chase.js';
import { fileSystem } from '../protocols/file-juggler.js';
import { oracle, type IndexedFile } from '../protocols/oracle.js';
import { hashFile } from '../wheels/wheel.js';
import type { DataFolder } from './folder.js';
import { as, type Account } from './privileges.js';

interface Place {
  readonly folder: DataFolder;
  /** Where the site is. */
  readonly path: string;
  readonly account: Account | undefined;
  readonly say: (text: string) => void;
}

/** The file in the data folder that says where the site was when it was last known to be whole. */
const MARK = 'output-path';
const PATIENT = { timeoutMs: 10_000, patienceMs: 30_000 };

/**
 * Makes the output path hold what the database says it holds. Where the site is in another folder than
 * before, or its folder was emptied, the wheels are copied from where they were; what is nowhere any
 * more, or has other contents, is forgotten, and so built again. Then all pages are due. A site that is
 * where it was costs one look, which is taken when this is made: before the farm writes there.
 */
export class Output {
  readonly #place: Place;
  readonly #before: string | undefined;
  readonly #whole: boolean;

  constructor(place: Place) {
    this.#place = place;
    this.#before = place.folder.read(MARK);
    this.#whole = this.#before === place.path && existsSync(join(place.path, 'simple', 'index.html'));
  }

  async restore(bus: Bus, signal: AbortSignal): Promise<void> {
    if (this.#whole) return;
    const { folder, path, say } = this.#place;
    const names = await offered(bus);
    let copied = 0;
    let forgotten = 0;
    for (const name of names) {
      signal.throwIfAborted();
      const done = await this.#package(bus, name);
      copied += done.copied;
      forgotten += done.forgotten;
    }
    if (copied > 0) say(`Copied ${count(copied, 'wheel')} from ${this.#before ?? ''}, where the site was.`);
    if (forgotten > 0)
      say(`${path} has no wheels of ${count(forgotten, 'version')} any more: they are built again.`);
    if (names.length > 0) {
      const session = [chase.name, randomBytes(8).toString('hex')];
      await new Client(bus, chase, session, PATIENT).ask('REBUILD', { part: 'ALL', package: null });
    }
    folder.writeSecret(MARK, path);
  }

  async #package(bus: Bus, name: string): Promise<{ copied: number; forgotten: number }> {
    const { path } = this.#place;
    const database = new Client(bus, oracle, undefined, PATIENT);
    const { files } = await database.ask('PKGFILES', { package: name });
    const here = join(path, 'simple', name);
    const away: IndexedFile[] = [];
    for (const file of files) if (!(await isThere(here, file))) away.push(file);
    if (this.#before !== undefined && this.#before !== path) copy(this.#place, this.#before, name, away);
    const lost = new Set<string>();
    for (const file of away) if (!(await isThere(here, file))) lost.add(file.version);
    for (const version of lost) {
      const { filenames } = await database.ask('DELBUILD', { package: name, version });
      const juggler = new Client(bus, fileSystem, undefined, PATIENT);
      for (const filename of filenames) {
        const { standing } = await juggler.ask('STANDING', { package: name, filename });
        if (standing) await juggler.ask('REMOVE', { package: name, filename, stamp: standing.stamp });
      }
    }
    const gone = away.filter(({ version }) => lost.has(version)).length;
    return { copied: away.length - gone, forgotten: lost.size };
  }
}

/** The names of all packages that have a file to offer. */
async function offered(bus: Bus): Promise<readonly string[]> {
  const database = new Client(bus, oracle, undefined, PATIENT);
  const all: string[] = [];
  for (let names = ['']; names.length > 0; all.push(...names)) {
    ({ names } = await database.ask('INDEX', { after: all.at(-1) ?? '', limit: 10_000 }));
  }
  return all;
}

/** Copies the files of a package, with their metadata, under the account that the site belongs to. */
function copy({ path, account }: Place, before: string, name: string, files: readonly IndexedFile[]): void {
  const from = join(before, 'simple', name);
  const found = files
    .flatMap(({ filename }) => [filename, `${filename}.metadata`])
    .filter((filename) => existsSync(join(from, filename)));
  if (found.length === 0) return;
  // Whether it worked is seen by the files' digests, and nowhere else.
  const script = 'to=$1; shift; mkdir -p -- "$to" && cp -- "$@" "$to/"';
  const paths = found.map((filename) => join(from, filename));
  spawnSync('/bin/sh', ['-c', script, 'sh', join(path, 'simple', name), ...paths], {
    ...as(account),
    stdio: 'ignore',
  });
}

async function isThere(
  folder: string,
  { filename, filesize, sha256, metadata_sha256 }: IndexedFile,
): Promise<boolean> {
  const file = join(folder, filename);
  if (statSync(file, { throwIfNoEntry: false })?.size !== filesize) return false;
  if (!existsSync(`${file}.metadata`)) return false;
  const [its, metadata] = [await hashFile(file), await hashFile(`${file}.metadata`)];
  return its.sha256 === sha256 && metadata.sha256 === metadata_sha256;
}

const count = (number: number, what: string) => `${String(number)} ${what}${number === 1 ? '' : 's'}`;
