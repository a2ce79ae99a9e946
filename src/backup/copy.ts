import { createHash } from 'node:crypto';
import { link, open, rename, rm, stat, utimes, type FileHandle } from 'node:fs/promises';
import { dirname, join, basename } from 'node:path';
import { codeOf, undefinedIfMissing, withDiskErrors } from '../files/disk.js';
import { hashFile } from '../wheels/wheel.js';
import type { PublishedFile } from './manifest.js';

/** Errors of opening a file for reading after which it counts as missing. */
const UNREADABLE: ReadonlySet<string> = new Set(['ENOENT', 'EACCES', 'EPERM', 'EISDIR', 'ENOTDIR', 'ELOOP']);
/** Errors of a hard link that can't be: other file system, no permission, too many links, not supported. */
const NO_LINK: ReadonlySet<string> = new Set(['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP', 'EOPNOTSUPP', 'EEXIST']);
const CHUNK_BYTES = 1024 * 1024;

interface CopyOptions {
  /** The mode of a copy. */
  readonly mode: number;
  /** Its owner; by default that of this process. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
  /** Whether to make a hard link, if that is possible. */
  readonly links?: boolean;
}

/** Returns whether a readable file has this size and these contents. */
export async function isIntact(path: string, { size, sha256 }: PublishedFile): Promise<boolean> {
  try {
    if (size !== undefined && (await stat(path)).size !== size) return false;
    return (await hashFile(path)).sha256 === sha256;
  } catch (error) {
    if (UNREADABLE.has(codeOf(error))) return false;
    throw error;
  }
}

/**
 * Copies a file to `target`, with its modification time: to another name first, which it gets only if its contents are
 * those that are expected. Returns false if they are not, or if the file can't be read. Throws the errors of diskError().
 */
export async function copyVerified(
  source: string,
  target: string,
  expected: PublishedFile,
  options: CopyOptions,
): Promise<boolean> {
  let input: FileHandle;
  try {
    input = await open(source);
  } catch (error) {
    if (UNREADABLE.has(codeOf(error))) return false;
    throw error;
  }
  // Only one process works in the folder, and handles each file once: what it left when it was killed is replaced.
  const temporary = join(dirname(target), `.tmp-${basename(target)}`);
  try {
    return await withDiskErrors(target, async () => {
      await rm(temporary, { force: true });
      const isLinked = options.links === true && (await tryLink(source, temporary));
      const isExpected = isLinked
        ? await isIntact(temporary, expected)
        : await copyContents(input, temporary, expected, options);
      if (isExpected) await rename(temporary, target);
      return isExpected;
    });
  } finally {
    await rm(temporary, { force: true });
    await input.close();
  }
}

async function tryLink(source: string, target: string): Promise<boolean> {
  try {
    await link(source, target);
    return true;
  } catch (error) {
    if (NO_LINK.has(codeOf(error)) || codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

async function copyContents(
  input: FileHandle,
  target: string,
  { size, sha256 }: PublishedFile,
  { mode, owner }: CopyOptions,
): Promise<boolean> {
  const { mtime, size: sourceSize } = await input.stat();
  if (size !== undefined && sourceSize !== size) return false;
  const output = await open(target, 'wx', mode);
  try {
    const hash = createHash('sha256');
    const buffer = Buffer.allocUnsafe(Math.max(1, Math.min(CHUNK_BYTES, sourceSize)));
    for (;;) {
      const { bytesRead } = await input.read(buffer, 0, buffer.length);
      if (bytesRead === 0) break;
      const bytes = buffer.subarray(0, bytesRead);
      hash.update(bytes);
      await output.writeFile(bytes);
    }
    if (hash.digest('hex') !== sha256) return false;
    // The process's umask may have taken bits away.
    await output.chmod(mode);
    if (owner) await output.chown(owner.uid, owner.gid);
    await output.utimes(mtime, mtime);
    await output.sync();
    return true;
  } finally {
    await output.close();
  }
}

/** How much two modification times of the same file may differ, because they are set as fractions of a second. */
const MTIME_TOLERANCE_MS = 1;

/**
 * Returns whether `target` is a copy of `source`. A file of the same size and modification time is: it was verified when
 * it was copied, and published files never change. `rereads` compares its contents even so.
 */
export async function isCopied(
  source: string,
  target: string,
  expected: PublishedFile,
  rereads: boolean,
): Promise<boolean> {
  const [original, copy] = await Promise.all([statIfPresent(source), statIfPresent(target)]);
  if (!copy || (expected.size !== undefined && copy.size !== expected.size)) return false;
  const isSameTime = original && Math.abs(original.mtimeMs - copy.mtimeMs) <= MTIME_TOLERANCE_MS;
  if (isSameTime && original.size === copy.size && !rereads) return true;
  if (!(await isIntact(target, expected))) return false;
  // The farm has reserved the file, or it is a copy of a copy.
  if (original && !isSameTime)
    await withDiskErrors(target, () => utimes(target, original.mtime, original.mtime));
  return true;
}

const statIfPresent = (path: string) => undefinedIfMissing(() => stat(path));
