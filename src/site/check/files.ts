import { createHash } from 'node:crypto';
import type { Stats } from 'node:fs';
import { PiwError } from '../../errors.js';
import { hashFile, readWheel } from '../../wheels/wheel.js';
import { quote, type Tell } from './faults.js';
import { wheelOf, type ListedFile } from './listing.js';
import type { Place } from './place.js';

/**
 * Holds a file that a page lists, and its metadata, against the page; `stats` undefined: it isn't there. `whole`: its
 * bytes are read, and the wheel is opened; else only its size is looked at.
 */
export async function holdFile(
  place: Place,
  path: string,
  file: ListedFile,
  stats: Stats | undefined,
  whole: boolean,
  tell: Tell,
): Promise<void> {
  if (!wheelOf(file.filename)) return;
  if (!stats?.isFile()) {
    tell('file-missing', path, 'nothing', 'the file that the index lists');
    return;
  }
  const sized = file.size === null || stats.size === file.size;
  if (!sized) tell('file-size', path, `${String(stats.size)} bytes`, `${String(file.size)} bytes`);
  const metadata = place.bytes(`${path}.metadata`);
  if (!metadata) tell('metadata-missing', `${path}.metadata`, 'nothing', 'the METADATA of the wheel');
  else if (file.metadata !== null) holdMetadata(metadata, file.metadata, `${path}.metadata`, tell);
  if (!whole || !sized) return;
  const found = await hashFile(place.at(path)).catch(gone);
  if (!found) {
    tell('file-missing', path, 'nothing', 'the file that the index lists');
    return;
  }
  if (file.sha256 !== null && found.sha256 !== file.sha256) {
    tell('file-hash', path, `SHA-256 ${found.sha256}`, file.sha256);
    return;
  }
  await holdWheel(place.at(path), path, file, metadata, tell);
}

/** Holds the digest of `WHEEL.metadata`. */
export function holdMetadata(metadata: Buffer, sha256: string, path: string, tell: Tell): void {
  const its = createHash('sha256').update(metadata).digest('hex');
  if (its !== sha256) tell('metadata-hash', path, `SHA-256 ${its}`, sha256);
}

/** Opens a wheel that stands at `at`, and holds what is in it. */
export async function holdWheel(
  at: string,
  path: string,
  file: ListedFile,
  metadata: Buffer | undefined,
  tell: Tell,
): Promise<void> {
  try {
    const wheel = await readWheel(at, { filename: file.filename });
    if (metadata && !wheel.metadata.equals(metadata))
      tell(
        'metadata-bytes',
        `${path}.metadata`,
        `${String(metadata.length)} bytes that are not those in the wheel`,
        `its METADATA, ${String(wheel.metadata.length)} bytes`,
      );
    if (wheel.requiresPython !== file.requiresPython)
      tell('wheel-requires-python', path, quote(file.requiresPython), quote(wheel.requiresPython));
  } catch (error) {
    if (!(error instanceof PiwError)) throw error;
    tell('wheel-broken', path, error.message, 'a right wheel');
  }
}

function gone(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
  throw error;
}
