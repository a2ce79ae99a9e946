import { open, type FileHandle } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { HEAD_LIMIT, LineSplitter, headOf, tailOf, type LineBlock, type LogSource } from './source.js';

const BLOCK_BYTES = 1024 * 1024;

/** Opens a log, compressed or not, whatever its name. Throws errors of the file system. */
export async function openLog(
  path: string,
): Promise<LogSource & { readonly size: number; close(): Promise<void> }> {
  const handle = await open(path);
  try {
    const { size } = await handle.stat();
    const magic = Buffer.alloc(2);
    await handle.read(magic, 0, 2, 0);
    return magic[0] === 0x1f && magic[1] === 0x8b
      ? new CompressedLog(path, handle, size)
      : new PlainLog(path, handle, size);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/**
 * A log that a server may be writing to. What follows its last newline is incomplete, and is left for the next time. The
 * file stays open, so that it is read to its end even if it is renamed.
 */
class PlainLog implements LogSource {
  readonly name: string;
  readonly size: number;
  readonly #handle: FileHandle;
  /** Identity of the log at the last call of head(). */
  #head: string | undefined;

  constructor(name: string, handle: FileHandle, size: number) {
    [this.name, this.size, this.#handle] = [name, size, handle];
  }

  async head(): Promise<string | undefined> {
    this.#head = await this.#currentHead();
    return this.#head;
  }

  async tailBefore(offset: number): Promise<Buffer | undefined> {
    const { size } = await this.#handle.stat();
    return size < offset ? undefined : await bytesBefore(this.#handle, offset);
  }

  async *blocks(from: number): AsyncGenerator<LineBlock> {
    const lines = new LineSplitter(from);
    for (let at = from; ;) {
      const bytes = await readAt(this.#handle, at, BLOCK_BYTES);
      if (bytes.length === 0) return;
      // Copied and truncated (copytruncate), the file is another log. This check comes after the read, so that the
      // bytes are of the log that it was.
      if ((await this.#currentHead()) !== this.#head) return;
      at += bytes.length;
      yield* lines.add(bytes);
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  async #currentHead(): Promise<string | undefined> {
    return headOf(await readAt(this.#handle, 0, HEAD_LIMIT));
  }
}

/** A compressed log, which is complete: what follows its last newline is a line as well. */
class CompressedLog implements LogSource {
  readonly name: string;
  readonly size: number;
  readonly #handle: FileHandle;

  constructor(name: string, handle: FileHandle, size: number) {
    [this.name, this.size, this.#handle] = [name, size, handle];
  }

  async head(): Promise<string | undefined> {
    const parts: Buffer[] = [];
    let length = 0;
    for await (const bytes of this.#decompressed()) {
      parts.push(bytes);
      length += bytes.length;
      if (length >= HEAD_LIMIT || bytes.includes(0x0a)) break;
    }
    const head = Buffer.concat(parts);
    return headOf(head) ?? (head.length > 0 ? headOf(Buffer.concat([head, NEWLINE])) : undefined);
  }

  async tailBefore(offset: number): Promise<Buffer | undefined> {
    let at = 0;
    let tail: Buffer = Buffer.alloc(0);
    if (offset === 0) return tail;
    for await (const bytes of this.#decompressed()) {
      tail = tailOf(Buffer.concat([tail, bytes.subarray(0, offset - at)]));
      at += bytes.length;
      if (at >= offset) return tail;
    }
    return undefined;
  }

  async *blocks(from: number): AsyncGenerator<LineBlock> {
    const lines = new LineSplitter(from);
    let at = 0;
    for await (const bytes of this.#decompressed()) {
      if (at + bytes.length > from) yield* lines.add(bytes.subarray(Math.max(0, from - at)));
      at += bytes.length;
    }
    yield* lines.flush();
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** Yields the decompressed contents. Throws if the file is corrupt or truncated: gzip may still be writing it. */
  async *#decompressed(): AsyncGenerator<Buffer> {
    const gunzip = createGunzip({ chunkSize: BLOCK_BYTES });
    const decompression = pipeline(this.#compressed(), gunzip);
    // The loop below gets the same error.
    decompression.catch(() => undefined);
    for await (const bytes of gunzip) yield bytes as Buffer;
    await decompression;
  }

  async *#compressed(): AsyncGenerator<Buffer> {
    for (let at = 0; ;) {
      const bytes = await readAt(this.#handle, at, BLOCK_BYTES);
      if (bytes.length === 0) return;
      at += bytes.length;
      yield bytes;
    }
  }
}

const NEWLINE = Buffer.from('\n');

/** Reads up to `length` bytes; fewer at the end of the file. */
export async function readAt(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  const { bytesRead } = await handle.read(buffer, 0, length, offset);
  return buffer.subarray(0, bytesRead);
}

/** Reads the bytes before `offset` that a mark is computed from (markOf). */
export async function bytesBefore(handle: FileHandle, offset: number): Promise<Buffer> {
  const start = Math.max(0, offset - 4096);
  return await readAt(handle, start, offset - start);
}
