/** Bytes of one chunk: the fastest size that was measured, a little under the default max_payload. */
export const CHUNK_SIZE = 960 * 1024;
export const OFFSET_HEADER = 'Piw-Offset';

/** One message of an object: some of its bytes. */
export interface Chunk {
  /** The object that the chunk belongs to. */
  readonly object: string;
  /** The offset of these bytes in the file. */
  readonly offset: number;
  readonly data: Uint8Array;
}
