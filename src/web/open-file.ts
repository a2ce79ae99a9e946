import type { Stats } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import Negotiator from 'negotiator';
import { GZIP_SUFFIX } from '../site/layout.js';

/** An open file: what is said of it and what is sent of it is of one state, whatever takes its place meanwhile. */
export interface OpenedFile {
  readonly path: string;
  readonly file: FileHandle;
  readonly stats: Stats;
  /** As it is; compressed, as the client takes it; or compressed only, and to be unpacked for the client. */
  readonly encoding: 'it is' | 'packed' | 'to be unpacked';
}

/** Opens a page, or its compressed form for a client that takes it so; undefined: there is none. */
export async function openPage(
  path: string,
  request: IncomingMessage,
): Promise<OpenedFile | 'folder' | undefined> {
  const takesGzip = new Negotiator(request).encodings(['gzip', 'identity'])[0] === 'gzip';
  if (takesGzip && request.headers.range === undefined) {
    const packed = await openFile(path + GZIP_SUFFIX);
    if (packed && packed !== 'folder') return { path, ...packed, encoding: 'packed' };
  }
  const plain = await openFile(path);
  if (plain) return plain === 'folder' ? plain : { path, ...plain, encoding: 'it is' };
  // Of build logs there is nothing else.
  const packed = await openFile(path + GZIP_SUFFIX);
  return packed && packed !== 'folder'
    ? { path, ...packed, encoding: takesGzip ? 'packed' : 'to be unpacked' }
    : undefined;
}

export async function openFile(
  path: string,
): Promise<{ file: FileHandle; stats: Stats } | 'folder' | undefined> {
  let file: FileHandle;
  try {
    file = await open(path);
  } catch (error) {
    if (ABSENT_CODES.has((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
  const stats = await file.stat();
  if (stats.isFile()) return { file, stats };
  await file.close();
  return stats.isDirectory() ? 'folder' : undefined;
}

/** What a file that isn't there, or can't be, is told by. */
const ABSENT_CODES = new Set(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'EACCES', 'ELOOP']);

/** The first bytes of a file, as Latin-1 text; undefined where there is none. */
export async function readHead(path: string, count: number): Promise<string | undefined> {
  const opened = await openFile(path);
  if (!opened || opened === 'folder') return undefined;
  try {
    const { buffer, bytesRead } = await opened.file.read(Buffer.alloc(count), 0, count, 0);
    return buffer.toString('latin1', 0, bytesRead);
  } finally {
    await opened.file.close();
  }
}

export const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
