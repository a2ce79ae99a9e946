import type { ObjectStore } from '../bus/objects.js';
import type { Chunk } from '../bus/chunk.js';
import type { Clock } from '../concurrency/clock.js';
import { deferred } from '../concurrency/deferred.js';
import { withTimeLimit } from '../concurrency/time-limit.js';
import { PiwError, isDiskError } from '../errors.js';
import { MAX_SMALL_FILE_BYTES } from '../model/file-state.js';
import { transferIdOf, transferObjectName } from '../protocols/file-juggler.js';
import type { ByteRange } from './byte-ranges.js';
import { ChunkSubscriptionPool, type ChunkSubscription } from './chunk-subscriptions.js';
import type { IncomingFile } from './incoming-file.js';
import type { TransferStaging } from './staging.js';

/** Maximum concurrent transfers per user and process: each takes two file descriptors and a subscription. */
const MAX_TRANSFERS_PER_USER = 256;

/** The reading of chunks that NATS has kept. */
interface Recovery {
  readonly ended: Promise<void>;
  /** The last chunk that it writes. */
  writing: Promise<void>;
  isCancelled: boolean;
}

/** A transfer that this process owns: its file, and the loop that writes its chunks. */
export class ActiveTransfer {
  readonly incoming: IncomingFile;
  readonly bucket: string;
  readonly #objects: ObjectStore;
  readonly #subscription: ChunkSubscription;
  readonly #onFailure: (error: unknown) => void;
  /** What whenArrived() waits for: called each time that something was written, or could not be. */
  readonly #onWritten = new Set<() => void>();
  #failure: Error | undefined;
  #recovery: Recovery | undefined;
  /** When its sender, or whoever verifies it, was last heard from: milliseconds of the monotonic clock. */
  lastSeen: number;

  constructor(
    { incoming, bucket, now }: { incoming: IncomingFile; bucket: string; now: number },
    objects: ObjectStore,
    subscriptions: ChunkSubscriptionPool,
    onFailure: (error: unknown) => void,
  ) {
    this.incoming = incoming;
    this.bucket = bucket;
    this.lastSeen = now;
    this.#objects = objects;
    this.#onFailure = onFailure;
    const { size } = incoming.state;
    this.#subscription = subscriptions.subscribe(bucket, incoming.transferId, size, (chunk) =>
      this.write(chunk),
    );
  }

  /**
   * Writes a chunk. A failure becomes the answer to the next request; nothing more is written until the next
   * HELLO.
   */
  async write({ offset, data }: Chunk): Promise<void> {
    if (this.#failure !== undefined) return;
    try {
      await this.incoming.write(offset, data);
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error));
      this.#onFailure(error);
    }
    for (const onWritten of this.#onWritten) onWritten();
  }

  /** Waits until all chunks that have arrived are written, or writing has failed. */
  whenWritten(): Promise<void> {
    return this.#subscription.whenWritten();
  }

  /**
   * Waits until these bytes have arrived and are written, or writing has failed, for at most `limitMs`. Returns whether
   * they are there.
   */
  async whenArrived(clock: Clock, offset: number, length: number, limitMs: number): Promise<boolean> {
    await this.whenWritten();
    const { state } = this.incoming;
    if (state.has(offset, length) || this.#failure !== undefined) return state.has(offset, length);
    const arrived = deferred();
    const onWritten = () => {
      if (state.has(offset, length) || this.#failure !== undefined) arrived.resolve();
    };
    this.#onWritten.add(onWritten);
    await withTimeLimit(clock, limitMs, arrived.promise);
    this.#onWritten.delete(onWritten);
    return state.has(offset, length);
  }

  /** Reads the missing chunks that NATS has kept. Concurrent calls share one run. */
  async recover(): Promise<void> {
    if (this.#failure !== undefined || this.incoming.state.size <= MAX_SMALL_FILE_BYTES) return;
    this.#recovery ??= this.#startRecovery();
    await this.#recovery.ended;
  }

  /** Ends a running recovery, without waiting for NATS: the server that has the chunks may be gone. */
  async cancelRecovery(): Promise<void> {
    const recovery = this.#recovery;
    if (!recovery) return;
    recovery.isCancelled = true;
    await recovery.writing;
  }

  /** Records what has been written; returns the first missing range. Throws the failure of an earlier write. */
  nextRange(): ByteRange | undefined {
    if (this.#failure !== undefined) throw this.#failure;
    this.incoming.saveRanges();
    return this.incoming.state.firstMissingRange();
  }

  /** Makes it write again after a failure of the disk; returns false if that was not the failure. */
  retry(): boolean {
    if (isDiskError(this.#failure)) this.#failure = undefined;
    return this.#failure === undefined;
  }

  /** Removes a large file's chunks from NATS. Others soon expire. */
  async removeStored(): Promise<void> {
    if (this.incoming.state.size > MAX_SMALL_FILE_BYTES)
      await this.#objects.buckets.remove(this.bucket, this.#objectNames());
  }

  /** Stops it, and saves which ranges have arrived. Throws as IncomingFile.close() does. */
  async close(): Promise<void> {
    await this.#subscription.stop();
    await this.cancelRecovery();
    await this.incoming.close();
  }

  #startRecovery(): Recovery {
    const recovery: Recovery = {
      ended: Promise.resolve().then(() => this.#recover(recovery)),
      writing: Promise.resolve(),
      isCancelled: false,
    };
    const forget = () => {
      this.#recovery = undefined;
    };
    recovery.ended.then(forget, forget);
    return recovery;
  }

  async #recover(recovery: Recovery): Promise<void> {
    const isCancelled = () => recovery.isCancelled;
    for (const chunk of await this.#objects.listChunks(this.bucket, this.#objectNames())) {
      if (isCancelled()) return;
      if (this.incoming.state.missing(chunk.offset, chunk.length).length === 0) continue;
      const data = await this.#objects.readChunk(this.bucket, chunk);
      if (!data || isCancelled()) continue;
      recovery.writing = this.write({ ...chunk, data });
      await recovery.writing;
    }
  }

  #objectNames(): string {
    return transferObjectName(this.incoming.transferId, this.incoming.state.size, () => '*');
  }
}

/** The transfers that this process owns and has open. */
export class ActiveTransfers {
  readonly #objects: ObjectStore;
  readonly #staging: TransferStaging;
  readonly #clock: Clock;
  readonly #onFailure: (error: unknown) => void;
  readonly #subscriptions: ChunkSubscriptionPool;
  readonly #transfers = new Map<string, ActiveTransfer>();

  /** `onFailure` is called when bytes could not be written. */
  constructor(
    objects: ObjectStore,
    staging: TransferStaging,
    clock: Clock,
    onFailure: (error: unknown) => void,
  ) {
    this.#objects = objects;
    this.#staging = staging;
    this.#clock = clock;
    this.#onFailure = onFailure;
    this.#subscriptions = new ChunkSubscriptionPool(objects, async (bucket, chunk) => {
      const transfer = this.#transfers.get(transferIdOf(chunk.object));
      if (transfer?.bucket === bucket) await transfer.write(chunk);
    });
  }

  get(id: string): ActiveTransfer | undefined {
    return this.#transfers.get(id);
  }

  ids(): readonly string[] {
    return [...this.#transfers.keys()];
  }

  /** Returns the ids of those that nobody has been heard from about since `cutoff`. */
  idleSince(cutoff: number): readonly string[] {
    return this.ids().filter((id) => (this.#transfers.get(id)?.lastSeen ?? cutoff) < cutoff);
  }

  /**
   * Returns the transfer, which is opened unless it is open. Throws PIW_UNKNOWN_TRANSFER if none is expected from this
   * user, PIW_REFUSED if the user has too many.
   */
  async open(id: string, user: string, bucket: string): Promise<ActiveTransfer> {
    const existing = this.#transfers.get(id);
    if (existing) {
      if (existing.incoming.sender !== user)
        throw new PiwError('PIW_UNKNOWN_TRANSFER', `no transfer ${id} is expected from ${user}`);
      // The disk may have space again, so the bytes that could not be written are requested once more.
      if (existing.retry()) return existing;
      await this.suspend(id);
    }
    const bucketTransfers = [...this.#transfers.values()].filter((other) => other.bucket === bucket);
    if (bucketTransfers.length >= MAX_TRANSFERS_PER_USER)
      throw new PiwError('PIW_REFUSED', `${user} is already sending ${MAX_TRANSFERS_PER_USER} files`);
    const incoming = this.#staging.openIncoming(id, user);
    if (!incoming)
      throw new PiwError('PIW_UNREACHABLE', 'another juggler has taken this transfer over; say HELLO again');
    const now = this.#clock.monotonicMs();
    const transfer = new ActiveTransfer(
      { incoming, bucket, now },
      this.#objects,
      this.#subscriptions,
      this.#onFailure,
    );
    this.#transfers.set(id, transfer);
    return transfer;
  }

  /**
   * Suspends a transfer: saves which ranges have arrived, and stops writing to it. Returns it, or undefined if it is
   * not open; with the error of closing it, if that failed.
   */
  async suspend(id: string): Promise<{ transfer: ActiveTransfer; error?: PiwError } | undefined> {
    const transfer = this.#transfers.get(id);
    this.#transfers.delete(id);
    if (!transfer) return undefined;
    try {
      await transfer.close();
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      return { transfer, error };
    }
    return { transfer };
  }

  /** Stops subscriptions that no transfer has needed for a while. */
  suspendIdleSubscriptions(): Promise<void> {
    return this.#subscriptions.suspendIdle();
  }
}
