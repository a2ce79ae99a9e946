import { accessSync, constants, lstatSync, readdirSync, statSync, statfsSync, type Stats } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import type { Check, Finding } from './check.js';
import { formatQuantity } from '../units.js';

/** Less free space than this is reported, bytes: one large wheel and its log. */
const MIN_FREE_BYTES = 1024 ** 3;
/** Fewer free inodes than this are reported: a package has some ten files, and a rewritten page needs one for a moment. */
const MIN_FREE_FILES = 10_000;

export const outputPath: Check = {
  name: 'output-path',
  applies: ({ roles }) => roles.has('master'),
  run: ({ settings }) => {
    const path = settings['output-path'];
    const { username, uid } = userInfo();
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats === undefined)
      return [
        { problem: `the output path ${path} does not exist`, fix: `sudo install -d -o ${username} ${path}` },
      ];
    if (!stats.isDirectory())
      return [{ problem: `the output path ${path} is not a folder`, fix: 'set output-path to a folder' }];
    const findings: Finding[] = [];
    const chown = `sudo chown -R ${username} ${path}`;
    const refusal = writeRefusal(path);
    // Root can write everywhere, and is not who the master runs as.
    if (uid !== 0 && stats.uid !== uid)
      findings.push({
        problem: `the output path ${path} belongs to another user (${stats.uid})`,
        fix: chown,
      });
    else if (refusal === 'EROFS')
      findings.push({
        problem: `the output path ${path} is on a file system that is mounted read-only`,
        fix: `sudo mount -o remount,rw "$(findmnt -n -o TARGET -T ${path})" (dmesg says why, if the kernel did it)`,
      });
    else if (refusal !== undefined)
      findings.push({ problem: `${username} can't write to the output path ${path}`, fix: chown });
    else findings.push(...entryFindings(path, stats, chown));
    findings.push(...spaceFindings(path));
    return findings;
  },
};

/** Returns the system's code for why nothing can be written to a folder; undefined if it can. */
function writeRefusal(folder: string): string | undefined {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'EACCES';
  }
}

/**
 * Returns what is wrong with the folders in the output path: files are renamed from one to another, which a file system
 * of its own refuses; and a command that root ran leaves some that the master can't write to.
 */
function entryFindings(path: string, { dev, uid }: Stats, chown: string): readonly Finding[] {
  const findings: Finding[] = [];
  for (const entry of readableNames(path)) {
    const folder = join(path, entry);
    // Not what a link leads to.
    const stats = lstatSync(folder, { throwIfNoEntry: false });
    if (stats?.isDirectory() !== true) continue;
    if (stats.dev !== dev)
      findings.push({
        problem: `${folder} is on another file system than the output path ${path}, so files can't be moved into it`,
        fix: `mount that disk at ${path} itself`,
      });
    else if (stats.uid !== uid)
      findings.push({ problem: `${folder} belongs to another user (${stats.uid}) than ${path}`, fix: chown });
  }
  return findings;
}

function readableNames(folder: string): readonly string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

function spaceFindings(path: string): readonly Finding[] {
  const { bsize, bavail, files, ffree } = statfsSync(path);
  const findings: Finding[] = [];
  if (bsize * bavail < MIN_FREE_BYTES)
    findings.push({
      problem: `the disk of the output path ${path} has ${Math.floor((bsize * bavail) / 1024 ** 2)} MB left`,
      fix: `free space on it: df -h ${path}`,
    });
  // Some file systems have no limit, and report 0 of 0.
  if (files > 0 && ffree < MIN_FREE_FILES)
    findings.push({
      problem: `the disk of the output path ${path} has room for only ${formatQuantity(ffree, 'more file')} (inodes)`,
      fix: `delete files on it (df -i ${path}), or create a file system with more inodes: mkfs.ext4 -i 4096`,
    });
  return findings;
}
