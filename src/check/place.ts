import { readFileSync, readdirSync, statSync, type Dirent, type Stats } from 'node:fs';
import { opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { GZIP_SUFFIX } from '../files/atomic.js';
import { packagesPath, projectPath } from '../site/layout.js';
import type { FaultReporter } from './faults.js';

const unpack = promisify(gunzip);
/** Keeps a byte order mark, so that JSON that begins with one is reported. */
const strictUtf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads an output path for the rules. Paths are relative to it, with `/` as the separator. Its calls are synchronous: a
 * file takes about ten of them, and passing each to a thread costs several times as much as the call itself (measured).
 */
export class OutputTree {
  readonly root: string;
  /** Files younger than this are not reported as left behind, nor are logs missing from pages younger than this. */
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

  /** Returns a page's text; undefined if it does not exist, or if it is not UTF-8, which is reported. */
  readText(path: string, report: FaultReporter): string | undefined {
    const bytes = this.readBytes(path);
    return bytes && decodeText(bytes, path, report);
  }

  /** Returns the entries of a folder; none if there is no such folder. */
  list(path: string): readonly Dirent[] {
    return undefinedIfAbsent(() => readdirSync(this.resolve(path), { withFileTypes: true })) ?? [];
  }

  /** Like list(), but yields the entries one by one: a folder may have a million. */
  async *walk(path: string): AsyncGenerator<Dirent> {
    if (this.stat(path)?.isDirectory()) yield* await opendir(this.resolve(path), { bufferSize: 256 });
  }

  /** Returns text that changes when any of the files is replaced or removed. */
  fingerprint(paths: readonly string[]): string {
    return paths.map((path) => fingerprintOf(this.stat(path))).join(' ');
  }

  /** Returns true if the file is younger than the settling time, so that its writer may not be done yet. */
  isRecent(stats: Stats): boolean {
    return Date.now() - Math.max(stats.ctimeMs, stats.mtimeMs) < this.#settleMs;
  }

  /** Checks the compressed form of a page, if there is one. */
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
      report('gzip-orphan', compressedPath, 'its page is missing', path);
      return;
    }
    const unpacked = await unpack(bytes).catch(() => undefined);
    if (!unpacked) report('gzip-broken', compressedPath, 'it can’t be unpacked', 'valid gzip data');
    else if (!unpacked.equals(page))
      report(
        'gzip-stale',
        compressedPath,
        `${unpacked.length} bytes that differ from the page`,
        `the ${page.length} bytes of the page`,
      );
    else if (pageStats && compressedStats && Math.abs(pageStats.mtimeMs - compressedStats.mtimeMs) > 1000)
      report('gzip-time', compressedPath, compressedStats.mtime.toISOString(), pageStats.mtime.toISOString());
  }

  /** Checks what applies to every file and folder. Returns true if the entry needs no further checks. */
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
      if (!transfers && !this.isRecent(stats)) report('temporary-left', path, 'left behind', 'removed');
      return true;
    }
    const requiredMode = stats.isDirectory() ? 0o005 : 0o004;
    if ((stats.mode & requiredMode) !== requiredMode)
      report(
        'readable',
        path,
        `mode ${(stats.mode & 0o777).toString(8)}`,
        `mode ${stats.isDirectory() ? '755' : '644'}`,
      );
    return false;
  }

  /**
   * Returns true if a web server finds a file for this decoded URL path. A server answers a folder with its index,
   * redirects a folder's name without `/` to the folder, and unpacks logs.
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

/** Decodes UTF-8. Reports anything else, and returns undefined. */
export function decodeText(bytes: Buffer, path: string, report: FaultReporter): string | undefined {
  try {
    return strictUtf8Decoder.decode(bytes);
  } catch {
    report('page-utf8', path, 'invalid bytes', 'UTF-8');
    return undefined;
  }
}

const fingerprintOf = (stats: Stats | undefined): string =>
  stats ? `${stats.ino}-${stats.size}-${stats.mtimeMs}` : 'none';

const entryPath = (folder: string, entry: Dirent): string =>
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
