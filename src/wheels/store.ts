import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import {
  access,
  link,
  mkdir,
  open,
  readFile,
  readdir,
  rename,
  rm,
  rmdir,
  stat,
  statfs,
  type FileHandle,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PiwError, reason } from '../errors.js';
import { fileFromMessage, fileToMessage, type FileState } from '../states/file-state.js';
import type { ByteRange } from '../states/ranges.js';
import { TransferState } from '../states/transfer-state.js';
import { hashFile, readWheel } from './wheel.js';

/** A file that is expected, and from whom. */
export interface Expected {
  readonly transferId: string;
  readonly sender: string;
  readonly file: FileState;
}

/** A file that arrives: write() each chunk where it belongs. */
export interface Arriving extends Expected {
  readonly state: TransferState;
  write(offset: number, data: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

export type Verdict =
  | { readonly verb: 'VERIFIED'; readonly metadata_sha256: string; readonly requires_python: string | null }
  | { readonly verb: 'AGAIN'; readonly reason: string }
  | { readonly verb: 'REFUSED'; readonly code: string; readonly reason: string };

const EXPECTED = '.json';
const PART = '.part';
const RANGES = '.ranges';

/**
 * The wheels under the output path, and those on their way there. A file on its way is three files
 * in `.transfers`, a folder that no web server reads: what is expected of it, its bytes so far, and
 * which ranges of them have been written (one line each, after the bytes). So any File Juggler can
 * go on where another one stopped. Only verify() makes a file visible, by a link, which fails where
 * one of that name is: a published file never changes.
 */
export class WheelStore {
  readonly #root: string;
  readonly #transfers: string;

  constructor(outputPath: string) {
    this.#root = outputPath;
    this.#transfers = join(outputPath, '.transfers');
  }

  /** Makes the folders. Raises PIW_NOT_WRITABLE. */
  async setUp(): Promise<void> {
    await onDisk(this.#root, async () => {
      await mkdir(join(this.#root, 'simple'), { recursive: true });
      await mkdir(this.#transfers, { recursive: true, mode: 0o700 });
      await access(this.#transfers, constants.W_OK);
    });
  }

  /** Notes what will come. The same again changes nothing; another file under the same id starts over. */
  async expect(expected: Expected): Promise<void> {
    const known = await this.#expected(expected.transferId);
    if (known?.sender === expected.sender && sameFile(known.file, expected.file)) return;
    await this.forget(expected.transferId);
    const name = this.#path(expected.transferId, EXPECTED);
    const body = JSON.stringify([expected.sender, fileToMessage(expected.file)]);
    await onDisk(name, () => replaceFile(name, body));
  }

  /** Raises PIW_UNKNOWN_TRANSFER where nothing of that id is expected from that sender. */
  async arriving(transferId: string, sender: string): Promise<Arriving> {
    const expected = await this.#expected(transferId);
    if (expected?.sender !== sender) {
      throw new PiwError('PIW_UNKNOWN_TRANSFER', `no transfer ${transferId} is expected from ${sender}`);
    }
    const state = await this.#ranges(transferId, expected.file.filesize);
    const part = await this.#open(this.#path(transferId, PART), constants.O_RDWR | constants.O_CREAT);
    const ranges = await this.#open(
      this.#path(transferId, RANGES),
      constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND,
    );
    return {
      ...expected,
      state,
      write: async (offset, data) => {
        if (!state.wants(offset, data.length)) return;
        await onDisk(this.#root, async () => {
          let written = 0;
          while (written < data.length) {
            const { bytesWritten } = await part.write(data, written, data.length - written, offset + written);
            written += bytesWritten;
          }
          await ranges.appendFile(`${String(offset)} ${String(data.length)}\n`);
        });
        state.chunk(offset, data.length);
      },
      close: async () => {
        await part.close();
        await ranges.close();
      },
    };
  }

  /**
   * Holds what has arrived against what was expected, and publishes it under `simple/<package>/`:
   * the wheel, then its metadata. AGAIN: bytes are missing or wrong, and what has come is thrown away
   * if it was wrong. REFUSED: it isn't a wheel, or another file has this name.
   */
  async verify(transferId: string, packageName: string): Promise<Verdict> {
    const expected = await this.#expected(transferId);
    if (!expected) throw new PiwError('PIW_UNKNOWN_TRANSFER', `no transfer ${transferId} is expected`);
    const { file } = expected;
    const part = this.#path(transferId, PART);
    const state = await this.#ranges(transferId, file.filesize);
    if (!state.done) {
      const missing = file.filesize - state.received;
      return { verb: 'AGAIN', reason: `${String(missing)} bytes of ${file.filename} are missing` };
    }
    const found = await onDisk(part, () => hashFile(part));
    if (found.sha256 !== file.filehash || found.size !== file.filesize) {
      await rm(part, { force: true });
      await rm(this.#path(transferId, RANGES), { force: true });
      return {
        verb: 'AGAIN',
        reason: `what arrived of ${file.filename} has another SHA-256 than was announced`,
      };
    }
    try {
      const wheel = await readWheel(part, { filename: file.filename });
      const target = this.pathOf(packageName, file.filename);
      await onDisk(target, async () => {
        await flush(part);
        await mkdir(dirname(target), { recursive: true });
        await this.#publish(part, target, file);
        await replaceFile(`${target}.metadata`, wheel.metadata);
      });
      await this.forget(transferId);
      return {
        verb: 'VERIFIED',
        metadata_sha256: wheel.metadataSha256,
        requires_python: wheel.requiresPython,
      };
    } catch (error) {
      if (
        !(error instanceof PiwError) ||
        (error.code !== 'PIW_BAD_WHEEL' && error.code !== 'PIW_FILE_EXISTS')
      )
        throw error;
      await this.forget(transferId);
      return { verb: 'REFUSED', code: error.code, reason: error.message };
    }
  }

  /** Where a published file stands; both names come from validated messages and hold no path. */
  pathOf(packageName: string, filename: string): string {
    if (!/^[a-z0-9][a-z0-9-]*$/.test(packageName) || /^\.|[/\\\0]/.test(filename)) {
      throw new PiwError('PIW_FILE_REFUSED', `${packageName}/${filename} is no name of a file here`);
    }
    return join(this.#root, 'simple', packageName, filename);
  }

  /** Takes a file away, its metadata first. One that isn't there is no fault. */
  async remove(packageName: string, filename: string): Promise<void> {
    const target = this.pathOf(packageName, filename);
    await onDisk(target, async () => {
      await rm(`${target}.metadata`, { force: true });
      await rm(target, { force: true });
      // The folder stays while anything else is in it.
      await rmdir(dirname(target)).catch(() => undefined);
    });
  }

  /** Total and free bytes of the file system. */
  async space(): Promise<{ total: number; free: number }> {
    const { bsize, blocks, bavail } = await onDisk(this.#root, () => statfs(this.#root));
    return { total: bsize * blocks, free: bsize * bavail };
  }

  /** Ends a transfer and removes what has arrived of it. */
  async forget(transferId: string): Promise<void> {
    for (const ending of [PART, RANGES, EXPECTED]) await rm(this.#path(transferId, ending), { force: true });
  }

  /** Removes transfers that nothing has been written to for `ms`; gives their senders and ids. */
  async sweep(ms: number, now: number): Promise<readonly { transferId: string; sender: string }[]> {
    const swept: { transferId: string; sender: string }[] = [];
    for (const name of await readdir(this.#transfers)) {
      const path = join(this.#transfers, name);
      if (!name.endsWith(EXPECTED)) {
        const orphan = !(await exists(path.replace(/\.[^.]+$/, EXPECTED)));
        if (orphan && (await age(path, now)) > ms) await rm(path, { force: true });
        continue;
      }
      const transferId = name.slice(0, -EXPECTED.length);
      const last = (await exists(this.#path(transferId, PART))) ? this.#path(transferId, PART) : path;
      if ((await age(last, now)) <= ms) continue;
      const expected = await this.#expected(transferId);
      await this.forget(transferId);
      swept.push({ transferId, sender: expected?.sender ?? '' });
    }
    return swept;
  }

  async #publish(part: string, target: string, file: FileState): Promise<void> {
    try {
      await link(part, target);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      const there = await hashFile(target);
      if (there.sha256 === file.filehash) return;
      throw new PiwError('PIW_FILE_EXISTS', `${file.filename} is published already, with other contents`);
    }
    await flush(dirname(target));
  }

  async #expected(transferId: string): Promise<Expected | undefined> {
    let body: string;
    try {
      body = await readFile(this.#path(transferId, EXPECTED), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    const [sender, tuple] = JSON.parse(body) as [string, ReturnType<typeof fileToMessage>];
    return { transferId, sender, file: fileFromMessage(tuple) };
  }

  async #ranges(transferId: string, size: number): Promise<TransferState> {
    const text = await readFile(this.#path(transferId, RANGES), 'utf8').catch(() => '');
    // The last line may have been cut off with the process that wrote it.
    const ranges = text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .filter((line) => line !== '')
      .map((line): ByteRange => {
        const [offset = NaN, length = NaN] = line.split(' ').map(Number);
        return { start: offset, end: offset + length };
      });
    return new TransferState(size, ranges);
  }

  #open(path: string, flags: number): Promise<FileHandle> {
    return onDisk(path, () => open(path, flags, 0o644));
  }

  #path(transferId: string, ending: string): string {
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(transferId)) {
      throw new PiwError('PIW_UNKNOWN_TRANSFER', 'a transfer is named with letters, digits, - and _');
    }
    return join(this.#transfers, transferId + ending);
  }
}

function sameFile(a: FileState, b: FileState): boolean {
  return a.filename === b.filename && a.filehash === b.filehash && a.filesize === b.filesize;
}

/** Turns what a file system refuses for its own reasons into an error that says so. */
async function onDisk<T>(path: string, what: () => Promise<T>): Promise<T> {
  try {
    return await what();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      throw new PiwError('PIW_DISK_FULL', `the disk that holds ${path} is full`, { cause: error });
    }
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS' || code === 'ENOTDIR') {
      throw new PiwError('PIW_NOT_WRITABLE', `${path} can't be written: ${reason(error)}`, { cause: error });
    }
    throw error;
  }
}

async function replaceFile(path: string, body: string | Uint8Array): Promise<void> {
  const temporary = join(
    dirname(path),
    `.tmp-${createHash('sha256').update(path).digest('hex').slice(0, 16)}-${String(process.pid)}`,
  );
  try {
    const handle = await open(temporary, 'w', 0o644);
    try {
      await handle.writeFile(body);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

async function flush(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

async function age(path: string, now: number): Promise<number> {
  return now - (await stat(path)).mtimeMs;
}
