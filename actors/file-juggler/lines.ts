import type { Chunk, LiveChunks, Objects } from '../../src/bus/objects.js';
import { SMALL } from '../../src/states/transfer-state.js';

/** The chunks of one transfer, or of all small files of one bucket, as they pass. */
export interface Line {
  /** What has passed when this is called has been written when this resolves. */
  written(): Promise<void>;
  /** Nothing more is read; what has passed is written first. */
  stop(): Promise<void>;
}

type Write = (chunk: Chunk) => void;

/**
 * Where the chunks of transfers come from. A large file has a line of its own, that ends with it. Those of small
 * files come together: a subscription for each file would cost more than the file.
 */
export class Lines {
  readonly #objects: Objects;
  readonly #shared = new Map<string, Shared>();
  readonly #small: (bucket: string, chunk: Chunk) => void;

  /** `small` writes the chunks of small files: whose bucket they came in is who sent them, whatever they are called. */
  constructor(objects: Objects, small: (bucket: string, chunk: Chunk) => void) {
    this.#objects = objects;
    this.#small = small;
  }

  /** Chunks of a transfer of `size` bytes that are sent from now on. */
  open(bucket: string, id: string, size: number, write: Write): Line {
    if (size > SMALL) return new Reading(this.#objects.live(bucket, `${id}.*`), write);
    const shared = this.#shared.get(bucket) ?? this.#share(bucket);
    shared.users += 1;
    shared.idle = false;
    return {
      written: () => shared.line.written(),
      stop: () => {
        shared.users -= 1;
        return shared.line.written();
      },
    };
  }

  /** Stops those that have had no user since this was called before. */
  async layDown(): Promise<void> {
    for (const [bucket, shared] of this.#shared) {
      if (shared.users > 0) continue;
      if (shared.idle) {
        this.#shared.delete(bucket);
        await shared.line.stop();
      }
      shared.idle = true;
    }
  }

  #share(bucket: string): Shared {
    const line = new Reading(this.#objects.live(bucket, '*'), (chunk) => {
      this.#small(bucket, chunk);
    });
    const shared = { line, users: 0, idle: false };
    this.#shared.set(bucket, shared);
    return shared;
  }
}

/** The line of all small files of a bucket: how many are on their way, and whether there were none for a while. */
interface Shared {
  readonly line: Reading;
  users: number;
  idle: boolean;
}

class Reading implements Line {
  readonly #live: LiveChunks;
  readonly #over: Promise<void>;
  #written = 0;

  constructor(live: LiveChunks, write: Write) {
    this.#live = live;
    this.#over = this.#read(write);
  }

  async written(): Promise<void> {
    const { received } = this.#live;
    while (this.#written < received) await new Promise((resolve) => setImmediate(resolve));
  }

  async stop(): Promise<void> {
    this.#live.stop();
    await this.#over;
  }

  async #read(write: Write): Promise<void> {
    for await (const chunk of this.#live) {
      write(chunk);
      this.#written += 1;
    }
  }
}
