import { createHash } from 'node:crypto';
import type { Stats } from 'node:fs';
import { rethrowUnexpected } from '../errors.js';
import { hashFile, readWheel } from '../wheels/wheel.js';
import { format, type FaultReporter } from './faults.js';
import { wheelNameOf, type ListedFile } from './listing.js';
import type { OutputTree } from './place.js';
import { formatQuantity } from '../units.js';

/**
 * Compares a listed file and its metadata with the page that lists it. `stats` is undefined if the file does not exist.
 * `readContents`: its bytes are hashed and the wheel is opened; otherwise only its size is checked.
 */
export async function checkFile(
  tree: OutputTree,
  path: string,
  file: ListedFile,
  stats: Stats | undefined,
  readContents: boolean,
  report: FaultReporter,
): Promise<void> {
  if (!wheelNameOf(file.filename)) return;
  if (!stats?.isFile()) {
    report('file-missing', path, 'missing', 'the file that the index lists');
    return;
  }
  const sizeMatches = file.size === null || stats.size === file.size;
  if (!sizeMatches)
    report('file-size', path, formatQuantity(stats.size, 'byte'), formatQuantity(file.size, 'byte'));
  const metadata = tree.readBytes(`${path}.metadata`);
  if (!metadata) report('metadata-missing', `${path}.metadata`, 'missing', 'the METADATA of the wheel');
  else if (file.metadata !== null) checkMetadata(metadata, file.metadata, `${path}.metadata`, report);
  if (!readContents || !sizeMatches) return;
  const actual = await hashFile(tree.resolve(path)).catch(undefinedIfMissing);
  if (!actual) {
    report('file-missing', path, 'missing', 'the file that the index lists');
    return;
  }
  if (file.sha256 !== null && actual.sha256 !== file.sha256) {
    report('file-hash', path, `SHA-256 ${actual.sha256}`, file.sha256);
    return;
  }
  await checkWheel(tree.resolve(path), path, file, metadata, report);
}

/** Checks the digest of `WHEEL.metadata`. */
export function checkMetadata(metadata: Buffer, sha256: string, path: string, report: FaultReporter): void {
  const actualSha256 = createHash('sha256').update(metadata).digest('hex');
  if (actualSha256 !== sha256) report('metadata-hash', path, `SHA-256 ${actualSha256}`, sha256);
}

/** Opens the wheel at `wheelPath`, and compares it with its metadata file and its entry in the index. */
export async function checkWheel(
  wheelPath: string,
  path: string,
  file: ListedFile,
  metadata: Buffer | undefined,
  report: FaultReporter,
): Promise<void> {
  try {
    const wheel = await readWheel(wheelPath, { filename: file.filename });
    if (metadata && !wheel.metadata.equals(metadata))
      report(
        'metadata-bytes',
        `${path}.metadata`,
        `${metadata.length} bytes that differ from the METADATA in the wheel`,
        `the ${wheel.metadata.length} bytes in the wheel`,
      );
    if (wheel.requiresPython !== file.requiresPython)
      report('wheel-requires-python', path, format(file.requiresPython), format(wheel.requiresPython));
  } catch (error) {
    rethrowUnexpected(error);
    report('wheel-broken', path, error.message, 'a valid wheel');
  }
}

function undefinedIfMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
  throw error;
}
