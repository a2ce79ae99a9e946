import { readFileSync, readdirSync, statSync, type Dirent, type Stats } from 'node:fs';
import { opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { GZIP_SUFFIX, packagesPath, projectPath } from '../layout.js';
import type { FaultReporter } from './faults.js';

const unpack = promisify(gunzip);
/** A byte order mark stays: JSON may not begin with one. */
const strictUtf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * An output path, as the rules look at it. Names are below it, with `/` between them. Its calls are synchronous: with
 * some ten of them for each file, handing each to a thread costs several times what the call does (measured).
 */
export class OutputTree {
  readonly root: string;
  /** What is younger than this isn't called missing or left behind, milliseconds. */
  readonly #settleMs: number;

  constructor(root: string, settleMs: number) {
    this.root = root;
    this.#settleMs = settleMs;
  }

  resolve(path: string): string {
    return join(this.root, path);
  }

  stat(path: string): Stats | undefined {
    return undefinedIfAbsent(() => statSync(this.resolve(path), { throwIfNoEntry: false }));
  }

  isFile(path: string): boolean {
    return this.stat(path)?.isFile() === true;
  }

  readBytes(path: string): Buffer | undefined {
    return undefinedIfAbsent(() => readFileSync(this.resolve(path)));
  }

  /** A page; undefined where it isn't there, or is no text, which is told. */
  readText(path: string, report: FaultReporter): string | undefined {
    const bytes = this.readBytes(path);
    return bytes && decodeText(bytes, path, report);
  }

  /** What is in a folder; nothing where there is none. */
  list(path: string): readonly Dirent[] {
    return undefinedIfAbsent(() => readdirSync(this.resolve(path), { withFileTypes: true })) ?? [];
  }

  /** The same of a folder that may have a million of them: they aren't held. */
  async *walk(path: string): AsyncGenerator<Dirent> {
    if (this.stat(path)?.isDirectory()) yield* await opendir(this.resolve(path), { bufferSize: 256 });
  }

  /** Text that differs when any of the files has been replaced meanwhile, or is gone. */
  fingerprint(paths: readonly string[]): string {
    return paths.map((path) => fingerprintOf(this.stat(path))).join(' ');
  }

  /** Whoever wrote it may be about to write more. */
  isRecent(stats: Stats): boolean {
    return Date.now() - Math.max(stats.ctimeMs, stats.mtimeMs) < this.#settleMs;
  }

  /** Holds the compressed sibling of a page, if there is one. */
  async checkCompressed(path: string, report: FaultReporter): Promise<void> {
    const compressedPath = path + GZIP_SUFFIX;
    const bytes = this.readBytes(compressedPath);
    if (!bytes) return;
    const [page, pageStats, compressedStats] = [
      this.readBytes(path),
      this.stat(path),
      this.stat(compressedPath),
    ];
    if (!page) {
      report('gzip-orphan', compressedPath, 'no page', path);
      return;
    }
    const unpacked = await unpack(bytes).catch(() => undefined);
    if (!unpacked) report('gzip-broken', compressedPath, 'it does not unpack', 'gzip');
    else if (!unpacked.equals(page))
      report(
        'gzip-stale',
        compressedPath,
        `${String(unpacked.length)} bytes that are not the page’s`,
        'the page',
      );
    else if (pageStats && compressedStats && Math.abs(pageStats.mtimeMs - compressedStats.mtimeMs) > 1000)
      report('gzip-time', compressedPath, compressedStats.mtime.toISOString(), pageStats.mtime.toISOString());
  }

  /** Holds what every file and folder has in common; true for one that is nobody's business. */
  checkEntry(
    folder: string,
    entry: Dirent,
    report: FaultReporter,
    stats = this.stat(entryPath(folder, entry)),
  ): boolean {
    const path = entryPath(folder, entry);
    if (!stats) return true;
    if (entry.name.startsWith('.')) {
      const transfers = folder === '' && entry.name === '.transfers';
      if (!transfers && !this.isRecent(stats)) report('temporary-left', path, 'a hidden file', 'nothing');
      return true;
    }
    const requiredMode = stats.isDirectory() ? 0o005 : 0o004;
    if ((stats.mode & requiredMode) !== requiredMode)
      report('readable', path, (stats.mode & 0o777).toString(8), stats.isDirectory() ? '755' : '644');
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
    if (path.startsWith('logs/')) return this.isFile(path + GZIP_SUFFIX);
    const stats = this.stat(path);
    if (stats?.isDirectory()) return this.isFile(`${path}/index.html`);
    return stats?.isFile() === true;
  }
}

/** Text in UTF-8; undefined, and told, where it is none. */
export function decodeText(bytes: Buffer, path: string, report: FaultReporter): string | undefined {
  try {
    return strictUtf8Decoder.decode(bytes);
  } catch {
    report('page-utf8', path, 'other bytes', 'UTF-8');
    return undefined;
  }
}

export const fingerprintOf = (stats: Stats | undefined): string =>
  stats ? `${String(stats.ino)}-${String(stats.size)}-${String(stats.mtimeMs)}` : 'none';

export const entryPath = (folder: string, entry: Dirent): string =>
  folder === '' ? entry.name : `${folder}/${entry.name}`;

function undefinedIfAbsent<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (['ENOENT', 'ENOTDIR', 'EISDIR', 'ENAMETOOLONG'].includes(code)) return undefined;
    throw error;
  }
}
