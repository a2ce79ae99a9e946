import type { Chunk, LiveChunks, ObjectStore } from '../../src/bus/objects.js';
import { MAX_SMALL_FILE_BYTES } from '../../src/model/file-state.js';

/** The chunks of one transfer, or of all small files of one bucket, as they pass. */
export interface ChunkSubscription {
  /** What has passed when this is called has been written when this resolves. */
  whenWritten(): Promise<void>;
  /** Nothing more is read; what has passed is written first. */
  stop(): Promise<void>;
}

type ChunkHandler = (chunk: Chunk) => void;

/**
 * Where the chunks of transfers come from. A large file has a line of its own, that ends with it. Those of small
 * files come together: a subscription for each file would cost more than the file.
 */
export class ChunkSubscriptionPool {
  readonly #objects: ObjectStore;
  readonly #shared = new Map<string, SharedSubscription>();
  readonly #onSmallChunk: (bucket: string, chunk: Chunk) => void;

  /** `small` writes the chunks of small files: whose bucket they came in is who sent them, whatever they are called. */
  constructor(objects: ObjectStore, onSmallChunk: (bucket: string, chunk: Chunk) => void) {
    this.#objects = objects;
    this.#onSmallChunk = onSmallChunk;
  }

  /** Chunks of a transfer of `size` bytes that are sent from now on. */
  subscribe(bucket: string, id: string, size: number, write: ChunkHandler): ChunkSubscription {
    if (size > MAX_SMALL_FILE_BYTES)
      return new LiveChunkSubscription(this.#objects.liveChunks(bucket, `${id}.*`), write);
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

  /** Stops those that have had no user since this was called before. */
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
    const subscription = new LiveChunkSubscription(this.#objects.liveChunks(bucket, '*'), (chunk) => {
      this.#onSmallChunk(bucket, chunk);
    });
    const shared = { subscription, users: 0, idle: false };
    this.#shared.set(bucket, shared);
    return shared;
  }
}

/** The line of all small files of a bucket: how many are on their way, and whether there were none for a while. */
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
      write(chunk);
      this.#writtenCount += 1;
    }
  }
}
