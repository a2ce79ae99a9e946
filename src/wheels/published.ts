import { randomBytes } from 'node:crypto';
import { link, lstat, rename, rm, rmdir, stat, symlink, unlink, utimes } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf } from '../files/disk.js';

/** A name that a process which was killed has left taken is free again after so long. A removal takes milliseconds. */
const STAND_IN_EXPIRY_MS = 60_000;

/**
 * A published file as it stood at one moment. The stamp changes whenever somebody publishes or claims the file, also with
 * the same bytes.
 */
export interface Standing {
  readonly stamp: string;
  /** Seconds since it was published or claimed last. */
  readonly age_s: number;
}

/** How a published file stands; undefined where there is none. */
export async function standingOf(path: string): Promise<Standing | undefined> {
  try {
    const { ino, mtimeNs } = await stat(path, { bigint: true });
    const age_s = Math.max(0, (Date.now() - Number(mtimeNs / 1_000_000n)) / 1000);
    return { stamp: `${ino.toString(36)}-${mtimeNs.toString(36)}`, age_s };
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Claims a file for a build that is not listed yet: its stamp changes, so that whoever decided to remove it before now
 * leaves it alone. Undefined: it is gone, or another is in its place; claim again, or publish anew.
 *
 * The claim is written first, and then it is checked that the file is there. take() does it the other way round: it
 * takes the name away first, and then looks for a claim. So at least one of the two sees the other, whatever happens
 * between their steps.
 */
export async function claim(path: string): Promise<Standing | undefined> {
  try {
    const original = await stat(path);
    // Later than before, also within one tick of the file system's clock.
    const claimedAtS = Math.max(Date.now(), original.mtimeMs + 2) / 1000;
    await utimes(path, claimedAtS, claimedAtS);
    if ((await stat(path)).ino !== original.ino) return undefined;
    return await standingOf(path);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Removes a file and its metadata if it still stands as `stamp` says. False: somebody has published or claimed it since;
 * it stays. True also where there is none, so that saying it twice is harmless.
 *
 * A symbolic link to nothing stands in for it until it is decided whether it goes: nobody can publish other bytes under
 * its name meanwhile, and who reads it finds that it isn't there.
 */
export async function removeIfUnchanged(path: string, stamp: string): Promise<boolean> {
  for (;;) {
    const standing = await standingOf(path);
    if (standing === undefined && !(await isStandIn(path))) return true;
    if (standing && standing.stamp !== stamp) return false;
    const removed = standing && (await tryRemove(path, stamp));
    if (removed !== undefined) return removed;
    // Another process is removing it, or was killed at that.
    if (await freeAbandonedName(path)) await removeIfEmpty(dirname(path));
    else await sleep(5);
  }
}

/** Undefined: another process is at it. */
async function tryRemove(path: string, stamp: string): Promise<boolean | undefined> {
  const hidden = join(dirname(path), `.tmp-removed-${randomBytes(8).toString('hex')}`);
  const metadata = `${hidden}.metadata`;
  const standIn = await standInFor(hidden);
  try {
    await link(path, hidden);
    if (await isStandIn(hidden)) return undefined;
    await renameIfExists(`${path}.metadata`, metadata);
    if (standIn === undefined) await unlink(path);
    else await rename(standIn, path);
    if ((await standingOf(hidden))?.stamp !== stamp) {
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
    for (const left of [hidden, metadata, standIn ?? hidden]) await rm(left, { force: true });
    await removeIfEmpty(dirname(path));
  }
}

async function isStandIn(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isSymbolicLink();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/** A symbolic link to nothing, in the folder of `hidden`; undefined where the disk is too full for one. */
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

/** Frees a name that a process which was killed while it removed the file has left taken. True: it was so. */
export async function freeAbandonedName(path: string): Promise<boolean> {
  try {
    const stats = await lstat(path);
    if (!stats.isSymbolicLink() || Date.now() - stats.mtimeMs < STAND_IN_EXPIRY_MS) return false;
    await unlink(path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/** Gives a file its second name, unless another has that by now. */
async function linkIfFree(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    if (!['EEXIST', 'ENOENT'].includes(codeOf(error))) throw error;
  }
}

async function renameIfExists(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/** The folder of a package stays while anything else is in it. */
async function removeIfEmpty(folder: string): Promise<void> {
  try {
    await rmdir(folder);
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(codeOf(error))) throw error;
  }
}
