import type { Stats } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import Negotiator from 'negotiator';
import { GZIP_SUFFIX } from '../files/atomic.js';

/** An open file: its headers and its contents stay consistent, even if another file replaces it meanwhile. */
export interface OpenedFile {
  readonly path: string;
  readonly file: FileHandle;
  readonly stats: Stats;
  /** Sent as it is; sent compressed; or stored compressed only, and decompressed for the client. */
  readonly encoding: 'identity' | 'gzip' | 'gunzip';
}

/** Opens a page, or its compressed form if the client accepts that; returns undefined if there is neither. */
export async function openPage(
  path: string,
  request: IncomingMessage,
): Promise<OpenedFile | 'folder' | undefined> {
  const acceptsGzip = new Negotiator(request).encodings(['gzip', 'identity'])[0] === 'gzip';
  if (acceptsGzip && request.headers.range === undefined) {
    const compressed = await openFile(path + GZIP_SUFFIX);
    if (compressed && compressed !== 'folder') return { path, ...compressed, encoding: 'gzip' };
  }
  const plain = await openFile(path);
  if (plain) return plain === 'folder' ? plain : { path, ...plain, encoding: 'identity' };
  // Build logs exist only compressed.
  const compressed = await openFile(path + GZIP_SUFFIX);
  return compressed && compressed !== 'folder'
    ? { path, ...compressed, encoding: acceptsGzip ? 'gzip' : 'gunzip' }
    : undefined;
}

/** Opens a file. Returns 'folder' for a folder, and undefined if there is no such file. */
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

/** The codes of errors that mean that no such file can be served. */
const ABSENT_CODES = new Set(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'EACCES', 'ELOOP']);

/** Returns the first `count` bytes of a file as Latin-1 text; undefined if there is no such file. */
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
    (stats) => stats.isFile(),
    () => false,
  );
