import { linkSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PiwError } from '../errors.js';
import type { FileState } from '../model/file-state.js';
import { codeOf } from '../files/disk.js';
import { normalise } from './names.js';
import { freeAbandonedName, openPublished, reserveOpened } from './published.js';
import { MAX_WHEEL_NAME_LENGTH, parseWheelName, type WheelName } from './tags.js';
import { sameVersion } from './versions.js';
import { hashOpened } from './wheel.js';

/**
 * Returns the wheel's filename with a build tag that makes it newer than all of `others`. Among wheels of one
 * name, version and tags, installers take the one with the highest build tag: by its leading number, then by
 * the rest; a wheel without one ranks lowest (PEP 427). So the tag is just a number, one above the highest,
 * and replaces the wheel's own tag if it has one.
 */
export function nextTaggedName(wheel: WheelName, others: readonly WheelName[]): string {
  const numbers = others.map(({ build }) => BigInt(/^\d+/.exec(build ?? '')?.[0] ?? 0));
  const highest = numbers.reduce((a, b) => (b > a ? b : a), 0n);
  const { distribution, version, py, abi, platform } = wheel;
  return `${distribution}-${version}-${highest + 1n}-${py}-${abi}-${platform}.whl`;
}

/** Returns those of `names` that are wheels of the same name, version and tags, whatever their build tags. */
export function matchingWheels(wheel: WheelName, names: readonly string[]): readonly WheelName[] {
  const tags = tagsOf(wheel);
  return names.flatMap((name) => {
    if (!name.endsWith('.whl')) return [];
    try {
      const other = parseWheelName(name);
      const same =
        tagsOf(other) === tags &&
        normalise(other.distribution) === normalise(wheel.distribution) &&
        sameVersion(other.version.replaceAll('_', '-'), wheel.version.replaceAll('_', '-'));
      return same ? [other] : [];
    } catch (error) {
      // Whatever this file is, no installer takes it for a wheel.
      if (error instanceof PiwError) return [];
      throw error;
    }
  });
}

/**
 * Links the wheel at `source` into its folder, and returns the name that it gets there:
 *
 *   - its own, if that is free;
 *   - that of a wheel with the same bytes, if there is one, which it reserves, so that a retry returns the same name;
 *   - its own with the next build tag, if `tagPolicy` allows it.
 *
 * A name that once stood for other bytes (in `past`) is never reused, even if it is free now. The WHEEL file
 * inside stays as it was built, including its line `Build`, which no installer reads: verified bytes are
 * never changed. A name is taken by a hard link, which fails if the name exists: of two processes that want
 * the same name at once, the loser tries again. Throws PIW_FILE_EXISTS if another wheel has the name,
 * PIW_NAME_SPENT if another wheel once had it.
 */
export async function takeName(
  source: string,
  folder: string,
  file: FileState,
  tagPolicy: TagPolicy,
  past: PublishedHistory,
): Promise<string> {
  const wheel = parseWheelName(file.filename);
  const publishedHashes = new Map(past);
  const isFree = (name: string): boolean => (publishedHashes.get(name) ?? file.filehash) === file.filehash;
  for (;;) {
    if (isFree(file.filename) && (await tryLink(source, join(folder, file.filename)))) return file.filename;
    const existing = matchingWheels(wheel, await readdir(folder));
    const reserved = await reserveIdentical(folder, existing, file);
    if (reserved === 'gone') continue;
    if (reserved) return reserved.filename;
    // A wheel that was removed returns under its former name.
    const former = matchingWheels(wheel, [...publishedHashes.keys()]).find(
      ({ filename }) => publishedHashes.get(filename) === file.filehash,
    );
    if (former && (await tryLink(source, join(folder, former.filename)))) return former.filename;
    const isSpent = !existing.some(({ filename }) => filename === file.filename);
    const code = isSpent ? 'PIW_NAME_SPENT' : 'PIW_FILE_EXISTS';
    const reason = `${file.filename} ${isSpent ? 'was published before' : 'is already published'}, with different contents`;
    if (!(isSpent ? tagPolicy.removed : tagPolicy.published)) throw new PiwError(code, reason);
    const taggedName = nextTaggedName(
      wheel,
      matchingWheels(wheel, [...existing.map(({ filename }) => filename), ...publishedHashes.keys()]),
    );
    if (taggedName.length > MAX_WHEEL_NAME_LENGTH)
      throw new PiwError(code, `${reason}, and its name is too long for a build tag`);
    if (await tryLink(source, join(folder, taggedName))) return taggedName;
  }
}

/**
 * Whether a wheel gets a build tag if its name is taken: by a published wheel, or by one that was removed.
 */
export interface TagPolicy {
  readonly published: boolean;
  readonly removed: boolean;
}

/** The contents that filenames have stood for. */
export type PublishedHistory = readonly (readonly [filename: string, sha256: string])[];

/** Links `source` to `path`. Returns false if the name is taken. */
async function tryLink(source: string, path: string): Promise<boolean> {
  try {
    // For one link, handing the call to a thread costs more than the call.
    linkSync(source, path);
    return true;
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
    return (await freeAbandonedName(path)) ? await tryLink(source, path) : false;
  }
}

/**
 * Reserves the first of the wheels that has the bytes of that file, so that a process about to remove it leaves it
 * alone. It stays open from before its bytes are read until it is reserved: another wheel may get its name meanwhile.
 * Returns undefined if no wheel has these bytes, 'gone' if the one that had them no longer has its name.
 */
async function reserveIdentical(
  folder: string,
  wheels: readonly WheelName[],
  { filesize, filehash }: FileState,
): Promise<WheelName | 'gone' | undefined> {
  for (const wheel of wheels) {
    const path = join(folder, wheel.filename);
    const opened = await openPublished(path);
    if (!opened) continue;
    try {
      if ((await opened.stat()).size !== filesize || (await hashOpened(opened)).sha256 !== filehash) continue;
      return (await reserveOpened(opened, path)) ? wheel : 'gone';
    } finally {
      await opened.close();
    }
  }
  return undefined;
}

/** Returns the tags of a wheel in a canonical order. */
const tagsOf = ({ py, abi, platform }: WheelName): string =>
  [py, abi, platform].map((tag) => tag.split('.').sort().join('.')).join('-');
