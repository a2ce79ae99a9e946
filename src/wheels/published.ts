import { randomBytes } from 'node:crypto';
import { statSync, type BigIntStats } from 'node:fs';
import {
  link,
  lstat,
  open,
  rename,
  rm,
  rmdir,
  stat,
  symlink,
  unlink,
  type FileHandle,
} from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, undefinedIfMissing } from '../files/disk.js';

/**
 * Milliseconds after which a name that a killed process left taken is free again. A removal takes
 * milliseconds.
 */
const STAND_IN_EXPIRY_MS = 60_000;

/**
 * The stamp of a published file, and its age. The stamp changes whenever somebody publishes or reserves the file,
 * even with the same bytes.
 */
export interface FileStamp {
  readonly stamp: string;
  /** Seconds since it was last published or reserved. */
  readonly age_s: number;
}

/** Returns the stamp of a published file; undefined if the file does not exist. */
export function stampOf(path: string): FileStamp | undefined {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stats && stampFrom(stats);
}

function stampFrom({ ino, mtimeNs }: BigIntStats): FileStamp {
  const age_s = Math.max(0, (Date.now() - Number(mtimeNs / 1_000_000n)) / 1000);
  return { stamp: `${ino.toString(36)}-${mtimeNs.toString(36)}`, age_s };
}

/**
 * Opens a published file; returns undefined if it does not exist. As long as it is open, no other file gets its inode
 * number, so only the same file can have the same stamp.
 */
export async function openPublished(path: string): Promise<FileHandle | undefined> {
  return await undefinedIfMissing(() => open(path));
}

/**
 * Reserves an open file for a build that is not listed yet: its stamp changes, so that a process that has already
 * decided to remove it leaves it alone. Returns undefined if it no longer has its name: open it again, or publish it
 * anew.
 *
 * This reserves the file first, and then checks that the name is still its own. tryRemove() does the reverse: it takes
 * the name away first, and then looks for a reservation. So at least one of the two sees the other, however their
 * steps interleave.
 */
export async function reserveOpened(file: FileHandle, path: string): Promise<FileStamp | undefined> {
  const { ino, mtimeMs } = await file.stat({ bigint: true });
  // Later than before, even within one tick of the file system's clock.
  const reservedAtS = Math.max(Date.now(), Number(mtimeMs) + 2) / 1000;
  await file.utimes(reservedAtS, reservedAtS);
  const current = await undefinedIfMissing(() => stat(path, { bigint: true }));
  return current?.ino === ino ? stampFrom(current) : undefined;
}

/** Reserves the file of this name; returns undefined if it does not exist, or was replaced meanwhile. */
export async function reserveFile(path: string): Promise<FileStamp | undefined> {
  const file = await openPublished(path);
  if (!file) return undefined;
  try {
    return await reserveOpened(file, path);
  } finally {
    await file.close();
  }
}

/**
 * Removes a file and its metadata if its stamp is unchanged. Returns false if somebody has published or
 * reserved it since; then it stays. Returns true also if the file does not exist, so that
 * repeating it is harmless.
 *
 * A dangling symbolic link takes its place until the decision is made: nobody can publish other bytes under
 * its name in the meantime, and readers find that it doesn't exist.
 */
export async function removeIfUnchanged(path: string, stamp: string): Promise<boolean> {
  for (;;) {
    const fileStamp = stampOf(path);
    if (fileStamp === undefined && !(await isStandIn(path))) return true;
    if (fileStamp && fileStamp.stamp !== stamp) return false;
    const removed = fileStamp && (await tryRemove(path, stamp));
    if (removed !== undefined) return removed;
    // Another process is removing it, or was killed while doing so.
    if (await freeAbandonedName(path)) await removeIfEmpty(dirname(path));
    else await sleep(5);
  }
}

/** Tries to remove a file; returns undefined if another process is doing so. */
async function tryRemove(path: string, stamp: string): Promise<boolean | undefined> {
  const hidden = join(dirname(path), `.tmp-removed-${randomBytes(8).toString('hex')}`);
  const metadata = `${hidden}.metadata`;
  const standIn = await standInFor(hidden);
  try {
    await link(path, hidden);
    if (await isStandIn(hidden)) return undefined;
    await undefinedIfMissing(() => rename(`${path}.metadata`, metadata));
    if (standIn === undefined) await unlink(path);
    else await rename(standIn, path);
    if (stampOf(hidden)?.stamp !== stamp) {
      await rename(hidden, path);
      await linkIfFree(metadata, `${path}.metadata`);
      return false;
    }
    if (standIn !== undefined) await unlink(path);
    return true;
  } catch (error) {
    // Another process has just removed it.
    if (codeOf(error) === 'ENOENT') return true;
    throw error;
  } finally {
    for (const leftover of [hidden, metadata, standIn ?? hidden]) await rm(leftover, { force: true });
    await removeIfEmpty(dirname(path));
  }
}

async function isStandIn(path: string): Promise<boolean> {
  return (await undefinedIfMissing(() => lstat(path)))?.isSymbolicLink() === true;
}

/**
 * Creates a dangling symbolic link in the folder of `hidden`; returns undefined if the disk is too full for
 * one.
 */
async function standInFor(hidden: string): Promise<string | undefined> {
  const path = `${hidden}.stand-in`;
  try {
    await symlink(`${basename(hidden)}.nothing`, path);
    return path;
  } catch (error) {
    if (['ENOSPC', 'EDQUOT'].includes(codeOf(error))) return undefined;
    throw error;
  }
}

/** Frees a name that a process left taken when it was killed during a removal. Returns whether it did. */
export async function freeAbandonedName(path: string): Promise<boolean> {
  const isFreed = await undefinedIfMissing(async () => {
    const stats = await lstat(path);
    if (!stats.isSymbolicLink() || Date.now() - stats.mtimeMs < STAND_IN_EXPIRY_MS) return false;
    await unlink(path);
    return true;
  });
  return isFreed ?? false;
}

/** Links a file to a second name, unless that is taken. */
async function linkIfFree(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    if (!['EEXIST', 'ENOENT'].includes(codeOf(error))) throw error;
  }
}

/** Removes a package's folder unless anything is left in it. */
async function removeIfEmpty(folder: string): Promise<void> {
  try {
    await rmdir(folder);
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(codeOf(error))) throw error;
  }
}
