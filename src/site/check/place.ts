import { readFileSync, readdirSync, statSync, type Dirent, type Stats } from 'node:fs';
import { opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { PACKED, packagesPath, projectPath } from '../layout.js';
import type { Tell } from './faults.js';

const unpack = promisify(gunzip);
/** A byte order mark stays: JSON may not begin with one. */
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * An output path, as the rules look at it. Names are below it, with `/` between them. Its calls are synchronous: with
 * some ten of them for each file, handing each to a thread costs several times what the call does (measured).
 */
export class Place {
  readonly root: string;
  /** What is younger than this isn't called missing or left behind, milliseconds. */
  readonly #settleMs: number;

  constructor(root: string, settleMs: number) {
    this.root = root;
    this.#settleMs = settleMs;
  }

  at(path: string): string {
    return join(this.root, path);
  }

  stat(path: string): Stats | undefined {
    return unlessAbsent(() => statSync(this.at(path), { throwIfNoEntry: false }));
  }

  isFile(path: string): boolean {
    return this.stat(path)?.isFile() === true;
  }

  bytes(path: string): Buffer | undefined {
    return unlessAbsent(() => readFileSync(this.at(path)));
  }

  /** A page; undefined where it isn't there, or is no text, which is told. */
  text(path: string, tell: Tell): string | undefined {
    const bytes = this.bytes(path);
    return bytes && textOf(bytes, path, tell);
  }

  /** What is in a folder; nothing where there is none. */
  list(path: string): readonly Dirent[] {
    return unlessAbsent(() => readdirSync(this.at(path), { withFileTypes: true })) ?? [];
  }

  /** The same of a folder that may have a million of them: they aren't held. */
  async *walk(path: string): AsyncGenerator<Dirent> {
    if (this.stat(path)?.isDirectory()) yield* await opendir(this.at(path), { bufferSize: 256 });
  }

  /** Text that differs when any of the files has been replaced meanwhile, or is gone. */
  mark(paths: readonly string[]): string {
    return paths.map((path) => markOf(this.stat(path))).join(' ');
  }

  /** Whoever wrote it may be about to write more. */
  isYoung(stats: Stats): boolean {
    return Date.now() - Math.max(stats.ctimeMs, stats.mtimeMs) < this.#settleMs;
  }

  /** Holds the compressed sibling of a page, if there is one. */
  async holdPacked(path: string, tell: Tell): Promise<void> {
    const packed = path + PACKED;
    const bytes = this.bytes(packed);
    if (!bytes) return;
    const [page, its, other] = [this.bytes(path), this.stat(path), this.stat(packed)];
    if (!page) {
      tell('gzip-orphan', packed, 'no page', path);
      return;
    }
    const unpacked = await unpack(bytes).catch(() => undefined);
    if (!unpacked) tell('gzip-broken', packed, 'it does not unpack', 'gzip');
    else if (!unpacked.equals(page))
      tell('gzip-stale', packed, `${String(unpacked.length)} bytes that are not the page’s`, 'the page');
    else if (its && other && Math.abs(its.mtimeMs - other.mtimeMs) > 1000)
      tell('gzip-time', packed, other.mtime.toISOString(), its.mtime.toISOString());
  }

  /** Holds what every file and folder has in common; true for one that is nobody's business. */
  holdEntry(folder: string, entry: Dirent, tell: Tell, stats = this.stat(pathOf(folder, entry))): boolean {
    const path = pathOf(folder, entry);
    if (!stats) return true;
    if (entry.name.startsWith('.')) {
      const transfers = folder === '' && entry.name === '.transfers';
      if (!transfers && !this.isYoung(stats)) tell('temporary-left', path, 'a hidden file', 'nothing');
      return true;
    }
    const needed = stats.isDirectory() ? 0o005 : 0o004;
    if ((stats.mode & needed) !== needed)
      tell('readable', path, (stats.mode & 0o777).toString(8), stats.isDirectory() ? '755' : '644');
    return false;
  }

  /**
   * Whether a web server finds something at this decoded address. It gives a folder's index, sends a name without
   * its `/` to the folder, and unpacks logs.
   */
  serves(address: string): boolean {
    const path = address.replace(/^\/+/, '');
    if (path.split('/').some((part) => part === '..' || part.startsWith('.')) || path.includes('\0'))
      return false;
    if (path === 'project' || path === 'project/') return this.isFile(packagesPath);
    const short = /^p\/([^/]+)\/?$/.exec(path)?.[1];
    if (short !== undefined) return this.isFile(`${projectPath(short)}/index.html`);
    if (path === '' || path.endsWith('/')) {
      const index = path.endsWith('/json/') ? 'index.json' : 'index.html';
      return this.isFile(path + index);
    }
    if (path.startsWith('logs/')) return this.isFile(path + PACKED);
    const stats = this.stat(path);
    if (stats?.isDirectory()) return this.isFile(`${path}/index.html`);
    return stats?.isFile() === true;
  }
}

/** Text in UTF-8; undefined, and told, where it is none. */
export function textOf(bytes: Buffer, path: string, tell: Tell): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    tell('page-utf8', path, 'other bytes', 'UTF-8');
    return undefined;
  }
}

export const markOf = (stats: Stats | undefined): string =>
  stats ? `${String(stats.ino)}-${String(stats.size)}-${String(stats.mtimeMs)}` : 'none';

export const pathOf = (folder: string, entry: Dirent): string =>
  folder === '' ? entry.name : `${folder}/${entry.name}`;

function unlessAbsent<T>(what: () => T): T | undefined {
  try {
    return what();
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (['ENOENT', 'ENOTDIR', 'EISDIR', 'ENAMETOOLONG'].includes(code)) return undefined;
    throw error;
  }
}
