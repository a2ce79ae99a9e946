import {
  DiscardPolicy,
  StorageType,
  headers,
  nanos,
  type JetStreamClient,
  type JetStreamManager,
  type NatsConnection,
  type StreamConfig,
  type StreamInfo,
} from 'nats';
import { busError, isNoResponders, jetStreamCode } from './errors.js';

/** A lease that isn't renewed expires after this time, milliseconds; the holder renews it six times as often. */
export const LEASE_TTL_MS = 3000;
/** The time limit of one write or read, milliseconds: short enough for several renewals within the TTL. */
const WRITE_LIMIT_MS = 1000;
const ADMIN_LIMIT_MS = 5000;
/** More revisions than a bucket can reach in years. */
const MAX_REVISIONS = 2 ** 32;
/** Replicas of the bucket in a cluster of three or more servers, so that any one of them may fail. */
const REPLICAS = 3;
/** JetStream's codes for "wrong last sequence", "stream not found", "stream name already in use". */
const [WRONG_SEQUENCE, NO_STREAM, STREAM_EXISTS] = [10071, 10059, 10058];
const NO_MESSAGE = 10037;
/** nats-server reserves this much memory for the bucket, bytes; a lease takes about 100. */
const MAX_BUCKET_BYTES = 128 * 1024;

export interface LeaderLeaseEntry {
  readonly revision: number;
  readonly value: string;
}

/**
 * The NATS KV bucket that holds the leases: entries that expire after LEASE_TTL_MS.
 *
 * The bucket is in memory: no entry is of use for longer than three seconds, and a bucket on a full disk stops both
 * storing and expiring entries, and does not recover when there is space again. A restart of nats-server loses the
 * bucket, and the first process that needs it creates it again.
 *
 * Revisions are sequence numbers of the bucket's stream, and the database remembers the newest one that it has seen.
 * So the first revision of a new bucket is the time in microseconds, which no earlier bucket can have reached: a server
 * does not write a million messages a second. Each bucket's first revision is also recorded on disk, so that the next bucket starts above
 * it even if the clock was set back in between.
 */
export class LeaderLeaseBucket {
  readonly #nc: NatsConnection;
  readonly #js: JetStreamClient;
  readonly #name: string;
  /** The bucket of earlier versions of piw, which was on disk. */
  readonly #legacyStream: string;
  /** The name of a stream and of its only subject, which holds the first revision of the newest bucket. */
  readonly #firstRevisionStream: string;

  constructor(nc: NatsConnection, prefix: string) {
    this.#nc = nc;
    this.#js = nc.jetstream();
    this.#name = `${prefix}-leaders`;
    this.#legacyStream = `KV_${prefix}-leases`;
    this.#firstRevisionStream = `${prefix}-leaders-from`;
  }

  /**
   * Writes the entry if its current revision is `expected`, where 0 means that it must not exist. Returns the new
   * revision, or undefined if the current one differs. Throws PIW_NO_RESPONDERS if there is no bucket.
   */
  async write(key: string, value: string, expected: number): Promise<number | undefined> {
    const header = headers();
    header.set('Nats-Expected-Last-Subject-Sequence', String(expected));
    try {
      const { seq } = await this.#js.publish(this.#subject(key), new TextEncoder().encode(value), {
        headers: header,
        timeout: WRITE_LIMIT_MS,
      });
      return seq;
    } catch (error) {
      if (jetStreamCode(error) === WRONG_SEQUENCE) return undefined;
      throw leaseError(error);
    }
  }

  /** Returns the entry that NATS holds for a key, even one that should have expired. */
  async read(key: string): Promise<LeaderLeaseEntry | undefined> {
    try {
      const jsm = await this.#jsm(WRITE_LIMIT_MS);
      const message = await jsm.streams.getMessage(this.#stream, { last_by_subj: this.#subject(key) });
      return { revision: message.seq, value: new TextDecoder().decode(message.data) };
    } catch (error) {
      if (jetStreamCode(error) === NO_MESSAGE || /no message found/i.test(String(error))) return undefined;
      throw leaseError(error);
    }
  }

  /** Removes the entry, unless it was renewed after `revision`. */
  async remove(key: string, revision: number): Promise<void> {
    try {
      const jsm = await this.#jsm(WRITE_LIMIT_MS);
      await jsm.streams.purge(this.#stream, { filter: this.#subject(key), seq: revision + 1 });
    } catch (error) {
      throw leaseError(error);
    }
  }

  /** Creates the bucket if it does not exist; its revisions start above those of every earlier bucket. */
  async ensure(): Promise<void> {
    try {
      const { streams } = await this.#jsm();
      if (await this.#streamInfo(this.#stream)) return;
      const legacy = await this.#streamInfo(this.#legacyStream);
      await this.#createBucket(legacy?.state.last_seq ?? 0);
      // A bucket that can't be deleted because its disk is full does no harm.
      if (legacy) await streams.delete(this.#legacyStream).catch(() => false);
    } catch (error) {
      throw leaseError(error);
    }
  }

  /** Deletes the bucket and creates an empty one, for a bucket that no longer drops expired entries. */
  async recreate(): Promise<void> {
    try {
      const { streams } = await this.#jsm();
      const old = await this.#streamInfo(this.#stream);
      if (old) await streams.delete(this.#stream);
      await this.#createBucket(old?.state.last_seq ?? 0);
    } catch (error) {
      throw leaseError(error);
    }
  }

  async #createBucket(last: number): Promise<void> {
    const recordedFirst = await this.#readFirstRevision();
    const now = Date.now() * 1000;
    const minimum = recordedFirst >= now ? recordedFirst + MAX_REVISIONS : 0;
    const first = Math.max(now, last + 1, minimum);
    await this.#createStream({
      name: this.#stream,
      subjects: [this.#subject('>')],
      first_seq: first,
      max_msgs_per_subject: 1,
      max_age: nanos(LEASE_TTL_MS),
      storage: StorageType.Memory,
      discard: DiscardPolicy.New,
      allow_rollup_hdrs: true,
      allow_direct: true,
      max_bytes: MAX_BUCKET_BYTES,
    });
    await this.#recordFirstRevision(first);
  }

  /** Returns the first revision of the newest bucket, as recorded on disk; 0 if it is not known. */
  async #readFirstRevision(): Promise<number> {
    try {
      const jsm = await this.#jsm(WRITE_LIMIT_MS);
      const message = await jsm.streams.getMessage(this.#firstRevisionStream, {
        last_by_subj: this.#firstRevisionStream,
      });
      return Number(new TextDecoder().decode(message.data)) || 0;
    } catch {
      // The leases must not depend on a disk; the clock alone has to do.
      return 0;
    }
  }

  async #recordFirstRevision(first: number): Promise<void> {
    const write = () =>
      this.#js.publish(this.#firstRevisionStream, new TextEncoder().encode(String(first)), {
        timeout: WRITE_LIMIT_MS,
      });
    try {
      await write().catch(async (error: unknown) => {
        if (!isNoResponders(error)) throw error;
        const config = { storage: StorageType.File, max_msgs_per_subject: 1, max_bytes: 64 * 1024 };
        await this.#createStream({
          name: this.#firstRevisionStream,
          subjects: [this.#firstRevisionStream],
          ...config,
        });
        await write();
      });
    } catch {
      // As in #readFirstRevision; the record of the previous bucket stays.
    }
  }

  /**
   * Creates a stream unless another process has done so. A single server and a cluster of two refuse replicas, so then
   * the stream has one copy.
   */
  async #createStream(config: Partial<StreamConfig>): Promise<void> {
    const { streams } = await this.#jsm();
    const counts = this.#nc.info?.cluster === undefined ? [1] : [REPLICAS, 1];
    for (const count of counts) {
      try {
        await streams.add({ ...config, num_replicas: count });
        return;
      } catch (error) {
        if (jetStreamCode(error) === STREAM_EXISTS) return;
        if (count === 1 || jetStreamCode(error) === undefined) throw error;
      }
    }
  }

  async #streamInfo(stream: string): Promise<StreamInfo | undefined> {
    const { streams } = await this.#jsm();
    try {
      return await streams.info(stream);
    } catch (error) {
      if (jetStreamCode(error) === NO_STREAM) return undefined;
      throw error;
    }
  }

  #jsm(limitMs = ADMIN_LIMIT_MS): Promise<JetStreamManager> {
    return this.#nc.jetstreamManager({ timeout: limitMs, checkAPI: false });
  }

  get #stream(): string {
    return `KV_${this.#name}`;
  }

  #subject(key: string): string {
    return `$KV.${this.#name}.${key}`;
  }
}

const leaseError = (error: unknown) => busError(error, 'access to the lease bucket');
