import { closeSync, openSync, readSync } from 'node:fs';
import { BufferPool } from '../bus/buffer-pool.js';
import { CHUNK_SIZE } from '../bus/chunk.js';
import { PiwError, errorMessage } from '../errors.js';
import { SEND_WINDOW_BYTES } from '../protocols/file-juggler.js';

/** Yields the bytes of a range of a file, in chunks of at most CHUNK_SIZE. */
export type RangeReader = (offset: number, length: number) => Iterable<Uint8Array>;

/** Keeps as many buffers as the window of one file has chunks. */
const chunkBuffers = new BufferPool(Math.ceil(SEND_WINDOW_BYTES / CHUNK_SIZE));

/** Releases the buffer of a chunk for reuse; nobody may read its bytes afterwards. */
export function releaseChunk(chunk: Uint8Array): void {
  chunkBuffers.release(chunk);
}

/**
 * Returns a reader of a file on this machine. A buffer is reused once its chunk is acknowledged, so that few
 * are needed. Reading throws PIW_FILE_CHANGED if the file can't be opened.
 */
export function fileReader(path: string): RangeReader {
  return function* (offset, length) {
    const fd = openForReading(path);
    try {
      for (let position = offset; position < offset + length;) {
        const buffer = Buffer.from(chunkBuffers.acquire(CHUNK_SIZE));
        const bytesRead = readSync(fd, buffer, 0, Math.min(CHUNK_SIZE, offset + length - position), position);
        // The file is shorter than it was, which the caller notices by counting the bytes.
        if (bytesRead === 0) return;
        yield buffer.subarray(0, bytesRead);
        position += bytesRead;
      }
    } finally {
      closeSync(fd);
    }
  };
}

function openForReading(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    const text = `${path} can no longer be read: ${errorMessage(error)}`;
    throw new PiwError('PIW_FILE_CHANGED', text, { cause: error });
  }
}
