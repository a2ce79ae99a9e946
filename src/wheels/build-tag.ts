import { link, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PiwError } from '../errors.js';
import type { FileState } from '../model/file-state.js';
import { codeOf } from '../files/disk.js';
import { normalise } from './names.js';
import { claim, freeAbandonedName } from './published.js';
import { MAX_WHEEL_NAME_LENGTH, parseWheelName, type WheelName } from './tags.js';
import { sameVersion } from './versions.js';
import { hashFile } from './wheel.js';

/**
 * The wheel's name with a build tag by which it is newer than all of `others`. Of wheels of one name, version and
 * tags installers take the one with the highest build tag: by the number that it begins with, then by the rest, and
 * one without comes last (PEP 427). So the tag is a number alone, one higher than the highest, and takes the place of
 * the wheel's own if it has one.
 */
export function nextTaggedName(wheel: WheelName, others: readonly WheelName[]): string {
  const numbers = others.map(({ build }) => BigInt(/^\d+/.exec(build ?? '')?.[0] ?? 0));
  const highest = numbers.reduce((a, b) => (b > a ? b : a), 0n);
  const { distribution, version, py, abi, platform } = wheel;
  return `${distribution}-${version}-${String(highest + 1n)}-${py}-${abi}-${platform}.whl`;
}

/** Those of `names` that are wheels of this name, version and tags, whatever their build tags. */
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
      // Whatever it is, no installer takes it for a wheel.
      if (error instanceof PiwError) return [];
      throw error;
    }
  });
}

/**
 * Links a wheel that is on the disk, as `part`, into its folder, and gives the name that it has there: its own if
 * that is free; that of a wheel like it with the same bytes, if there is one, which it claims, so whoever asks
 * twice gets the same name; else, as `tags` says, its own with the next build tag. A name that stood for other bytes (in `past`) is never
 * taken again, also where nothing has it now. The WHEEL file inside stays as it was built, also its line
 * `Build`, which no installer reads: bytes that were verified are never changed. A name is taken by a link, which
 * fails where one is: of two who want the same at once, the other looks again. Throws PIW_FILE_EXISTS where another
 * wheel has the name, PIW_NAME_SPENT where one had it.
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
    const identical = await findAsync(existing, ({ filename }) => hasSameBytes(join(folder, filename), file));
    if (identical) {
      // Whoever is about to remove it sees the claim; if it is gone already, it is published anew.
      if (await claim(join(folder, identical.filename))) return identical.filename;
      continue;
    }
    // A wheel that was removed comes back under the name that it had.
    const former = matchingWheels(wheel, [...publishedHashes.keys()]).find(
      ({ filename }) => publishedHashes.get(filename) === file.filehash,
    );
    if (former && (await tryLink(source, join(folder, former.filename)))) return former.filename;
    const isSpent = !existing.some(({ filename }) => filename === file.filename);
    const code = isSpent ? 'PIW_NAME_SPENT' : 'PIW_FILE_EXISTS';
    const why = `${file.filename} ${isSpent ? 'was published before' : 'is published already'}, with other contents`;
    if (!(isSpent ? tagPolicy.removed : tagPolicy.published)) throw new PiwError(code, why);
    const taggedName = nextTaggedName(
      wheel,
      matchingWheels(wheel, [...existing.map(({ filename }) => filename), ...publishedHashes.keys()]),
    );
    if (taggedName.length > MAX_WHEEL_NAME_LENGTH)
      throw new PiwError(code, `${why}, and its name is too long for a build tag`);
    if (await tryLink(source, join(folder, taggedName))) return taggedName;
  }
}

/** Whether a wheel gets a build tag where its name is another's: one that is published, or one that was removed. */
export interface TagPolicy {
  readonly published: boolean;
  readonly removed: boolean;
}

/** What names stood for: [filename, SHA-256]. */
export type PublishedHistory = readonly (readonly [filename: string, sha256: string])[];

/** The first of them for which `is` says so. */
async function findAsync<T>(
  items: readonly T[],
  predicate: (one: T) => Promise<boolean>,
): Promise<T | undefined> {
  for (const one of items) if (await predicate(one)) return one;
  return undefined;
}

/** True: `path` is that file now; false: something has this name. */
async function tryLink(source: string, path: string): Promise<boolean> {
  try {
    await link(source, path);
    return true;
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
    return (await freeAbandonedName(path)) ? await tryLink(source, path) : false;
  }
}

/** Whether these are the bytes of that file; not if it has just been removed. */
async function hasSameBytes(path: string, { filesize, filehash }: FileState): Promise<boolean> {
  try {
    return (await stat(path)).size === filesize && (await hashFile(path)).sha256 === filehash;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/** The tags of a wheel, in one order. */
const tagsOf = ({ py, abi, platform }: WheelName): string =>
  [py, abi, platform].map((tag) => tag.split('.').sort().join('.')).join('-');
