import type { Chunk } from '../bus/chunk.js';
import type { LiveChunks, ObjectStore } from '../bus/objects.js';
import { transferObjectName } from '../protocols/file-juggler.js';
import { MAX_SMALL_FILE_BYTES } from '../model/file-state.js';

/** A subscription to the chunks of one transfer, or of all small files of one bucket. */
export interface ChunkSubscription {
  /** Resolves once all chunks that have arrived before this call are taken over. */
  whenWritten(): Promise<void>;
  /** Stops the subscription; chunks that have already arrived are taken over first. */
  stop(): Promise<void>;
}

/** Takes over a chunk, whose bytes stay valid until it returns. */
type ChunkHandler = (chunk: Chunk) => Promise<void>;

/**
 * Provides the subscriptions to the chunks of transfers. A large file has a subscription of its own, which
 * ends with it. Small files share one: a subscription for each would cost more than the file.
 */
export class ChunkSubscriptionPool {
  readonly #objects: ObjectStore;
  readonly #shared = new Map<string, SharedSubscription>();
  readonly #onSmallChunk: (bucket: string, chunk: Chunk) => Promise<void>;

  /**
   * `onSmallChunk` writes the chunks of small files. The bucket they came in identifies their sender,
   * whatever the chunks are called.
   */
  constructor(objects: ObjectStore, onSmallChunk: (bucket: string, chunk: Chunk) => Promise<void>) {
    this.#objects = objects;
    this.#onSmallChunk = onSmallChunk;
  }

  /** Subscribes to the chunks of a transfer of `size` bytes that are sent from now on. */
  subscribe(bucket: string, id: string, size: number, write: ChunkHandler): ChunkSubscription {
    if (size > MAX_SMALL_FILE_BYTES)
      return new LiveChunkSubscription(
        this.#objects.liveChunks(
          bucket,
          transferObjectName(id, size, () => '*'),
        ),
        write,
      );
    const shared = this.#shared.get(bucket) ?? this.#share(bucket);
    shared.users += 1;
    shared.idle = false;
    return {
      whenWritten: () => shared.subscription.whenWritten(),
      stop: () => {
        shared.users -= 1;
        return shared.subscription.whenWritten();
      },
    };
  }

  /** Stops shared subscriptions that have had no user since the previous call. */
  async suspendIdle(): Promise<void> {
    for (const [bucket, shared] of this.#shared) {
      if (shared.users > 0) continue;
      if (shared.idle) {
        this.#shared.delete(bucket);
        await shared.subscription.stop();
      }
      shared.idle = true;
    }
  }

  #share(bucket: string): SharedSubscription {
    const subscription = new LiveChunkSubscription(
      this.#objects.liveChunks(
        bucket,
        transferObjectName('*', 0, () => ''),
      ),
      (chunk) => this.#onSmallChunk(bucket, chunk),
    );
    const shared = { subscription, users: 0, idle: false };
    this.#shared.set(bucket, shared);
    return shared;
  }
}

/**
 * The subscription for all small files of a bucket: how many transfers use it, and whether none did at the
 * last check.
 */
interface SharedSubscription {
  readonly subscription: LiveChunkSubscription;
  users: number;
  idle: boolean;
}

class LiveChunkSubscription implements ChunkSubscription {
  readonly #live: LiveChunks;
  readonly #finished: Promise<void>;
  #writtenCount = 0;

  constructor(live: LiveChunks, write: ChunkHandler) {
    this.#live = live;
    this.#finished = this.#read(write);
  }

  async whenWritten(): Promise<void> {
    const { received } = this.#live;
    while (this.#writtenCount < received) await new Promise((resolve) => setImmediate(resolve));
  }

  async stop(): Promise<void> {
    this.#live.stop();
    await this.#finished;
  }

  async #read(write: ChunkHandler): Promise<void> {
    for await (const chunk of this.#live) {
      await write(chunk);
      this.#writtenCount += 1;
    }
  }
}
