import type { MemoryBucketConfig } from '../bus/buckets.js';

/**
 * Returns the configuration of a user's bucket, through which the chunks of its files pass: the last 15 MB of them,
 * about one window, which a File Juggler reads if they passed while none listened. Everything else is sent again.
 */
export const chunkBucket = (name: string): MemoryBucketConfig => ({
  name,
  objects: 'file.>',
  maxChunks: 16,
  maxAgeMs: 60_000,
});
