import {
  DiscardPolicy,
  StorageType,
  headers,
  nanos,
  type JetStreamClient,
  type JetStreamManager,
  type NatsConnection,
} from 'nats';
import { busError, isNoResponders, jetStreamCode, withTimeout } from './errors.js';
import { ADMIN_LIMIT_MS, StreamReplicas, apiLimitMs, isClustered } from './replicas.js';

/** A lease that isn't renewed expires after this time, milliseconds; the holder renews it six times as often. */
export const LEASE_TTL_MS = 3000;
/**
 * The time limit of one write or read, milliseconds: short enough for several renewals within the TTL. In a cluster it is
 * shorter: the server that we are connected to may be cut off, and there is another one.
 */
const [WRITE_LIMIT_MS, CLUSTER_WRITE_LIMIT_MS] = [1000, 600];
/** The time limit of asking a cluster whether the bucket exists: one without a leader does not answer. */
const CHECK_LIMIT_MS = 500;
/** The time limit of a ping to the server that we are connected to, milliseconds. */
const PING_LIMIT_MS = 300;
/** More revisions than a bucket can reach in years. */
const MAX_REVISIONS = 2 ** 32;
/** The first sequence number of a bucket that a cluster has created again, and a bound that only those stay under. */
const [RECREATED_FIRST_SEQ, MIN_REVISION] = [1, 2 ** 40];
/** JetStream's codes for "wrong last sequence", "no message found" and "stream not found". */
const [WRONG_SEQUENCE, NO_MESSAGE, NO_STREAM] = [10071, 10037, 10059];
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
 * bucket, and the first process that needs it creates it again. In a cluster of three the bucket has a copy on each
 * server (see replicas.ts). If all of them restart at once, the cluster creates it again by itself, empty.
 *
 * Revisions are sequence numbers of the bucket's stream, and the database remembers the newest one that it has seen.
 * So the first revision of a new bucket is the time in microseconds, which no earlier bucket can have reached: a server
 * does not write a million messages a second. Each such revision is also recorded on disk, so that the next bucket
 * starts above it even if the clock was set back in between.
 *
 * A bucket that a cluster has created again starts with the `first_seq` of its configuration. That is set to 1 as soon
 * as the bucket exists, so a process that gets a revision below MIN_REVISION knows what has happened, and raises the
 * bucket: it purges the stream up to a new first revision.
 */
export class LeaderLeaseBucket {
  readonly #nc: NatsConnection;
  readonly #js: JetStreamClient;
  readonly #replicas: StreamReplicas;
  readonly #name: string;
  /** The bucket of earlier versions of piw, which was on disk. */
  readonly #legacyStream: string;
  /** The name of a stream and of its only subject, which holds the first revision of the newest bucket. */
  readonly #firstRevisionStream: string;

  constructor(nc: NatsConnection, prefix: string) {
    this.#nc = nc;
    this.#js = nc.jetstream();
    this.#replicas = new StreamReplicas(nc);
    this.#name = `${prefix}-leaders`;
    this.#legacyStream = `KV_${prefix}-leases`;
    this.#firstRevisionStream = `${prefix}-leaders-from`;
  }

  /**
   * Writes the entry if its current revision is `expected`, where 0 means that it must not exist. Returns the new
   * revision, or undefined if the current one differs. Throws PIW_NO_RESPONDERS if there is no bucket, or none of its
   * servers leads it.
   */
  async write(key: string, value: string, expected: number): Promise<number | undefined> {
    const revision = await this.#write(key, value, expected);
    if (revision === undefined || revision >= MIN_REVISION) return revision;
    await this.#raise().catch((error: unknown) => {
      throw leaseError(error);
    });
    return await this.#write(key, value, 0);
  }

  async #write(key: string, value: string, expected: number): Promise<number | undefined> {
    const header = headers();
    header.set('Nats-Expected-Last-Subject-Sequence', String(expected));
    try {
      const { seq } = await this.#js.publish(this.#subject(key), new TextEncoder().encode(value), {
        headers: header,
        timeout: this.#writeLimitMs,
      });
      return seq;
    } catch (error) {
      if (jetStreamCode(error) === WRONG_SEQUENCE) return undefined;
      throw leaseError(error);
    }
  }

  /** Returns the entry that NATS holds for a key, even one that should have expired; undefined also without a bucket. */
  async read(key: string): Promise<LeaderLeaseEntry | undefined> {
    try {
      const jsm = await this.#jsm(this.#writeLimitMs);
      const message = await jsm.streams.getMessage(this.#stream, { last_by_subj: this.#subject(key) });
      return { revision: message.seq, value: new TextDecoder().decode(message.data) };
    } catch (error) {
      const code = jetStreamCode(error);
      if (code === NO_MESSAGE || code === NO_STREAM || /no message found/i.test(String(error)))
        return undefined;
      throw leaseError(error);
    }
  }

  /** Removes the entry, unless it was renewed after `revision`. */
  async remove(key: string, revision: number): Promise<void> {
    try {
      const jsm = await this.#jsm(this.#writeLimitMs);
      await jsm.streams.purge(this.#stream, { filter: this.#subject(key), seq: revision + 1 });
    } catch (error) {
      throw leaseError(error);
    }
  }

  /**
   * Whether the cluster may be electing a leader for the bucket, after a request to it has failed: our own server answers
   * a ping. False on a single server.
   */
  async mayBeElecting(): Promise<boolean> {
    if (!isClustered(this.#nc)) return false;
    return await withTimeout(PING_LIMIT_MS, this.#nc.rtt(), 'a ping to NATS').then(
      () => true,
      () => false,
    );
  }

  /** Creates the bucket if it does not exist; its revisions start above those of every earlier bucket. */
  async ensure(): Promise<void> {
    try {
      if (await this.#replicas.info(this.#stream, apiLimitMs(this.#nc, ADMIN_LIMIT_MS, CHECK_LIMIT_MS)))
        return;
      const legacy = await this.#replicas.info(this.#legacyStream);
      await this.#create(legacy?.state.last_seq ?? 0);
      // A bucket that can't be deleted because its disk is full does no harm.
      if (legacy) await this.#replicas.delete(this.#legacyStream).catch(() => undefined);
    } catch (error) {
      throw leaseError(error);
    }
  }

  /**
   * Deletes the bucket and creates an empty one, for a bucket that no longer drops expired entries; with `unlessLed`,
   * for one whose servers are gone.
   */
  async recreate({ unlessLed = false } = {}): Promise<void> {
    try {
      const old = await this.#replicas.info(this.#stream).catch(() => undefined);
      if (unlessLed && old) return;
      await this.#replicas.delete(this.#stream);
      await this.#create(old?.state.last_seq ?? 0);
    } catch (error) {
      throw leaseError(error);
    }
  }

  /**
   * Gives the bucket as many replicas as the cluster allows, e.g. after it has grown from one server, and prepares it
   * for being created again by the cluster. Does nothing on a single server.
   */
  async replicate(): Promise<void> {
    if (!isClustered(this.#nc)) return;
    try {
      await this.#replicas.raise(this.#stream, { first_seq: RECREATED_FIRST_SEQ });
      await this.#replicas.raise(this.#firstRevisionStream);
    } catch (error) {
      throw leaseError(error);
    }
  }

  async #create(last: number): Promise<void> {
    const first = await this.#firstRevision(last);
    await this.#replicas.add({
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
    await this.replicate();
  }

  /** Raises the revisions of a bucket that the cluster has created again, unless another process has done so. */
  async #raise(): Promise<void> {
    const bucket = await this.#replicas.info(this.#stream);
    if (!bucket || bucket.state.last_seq >= MIN_REVISION) return;
    const first = await this.#firstRevision(0);
    const { streams } = await this.#jsm();
    await streams.purge(this.#stream, { seq: first });
    await this.#recordFirstRevision(first);
  }

  /** Returns the first revision for a new bucket, which follows one with the revision `last`. */
  async #firstRevision(last: number): Promise<number> {
    const recordedFirst = await this.#readFirstRevision();
    const now = Date.now() * 1000;
    return Math.max(now, last + 1, recordedFirst >= now ? recordedFirst + MAX_REVISIONS : 0);
  }

  /** Returns the first revision of the newest bucket, as recorded on disk; 0 if it is not known. */
  async #readFirstRevision(): Promise<number> {
    try {
      const jsm = await this.#jsm(this.#writeLimitMs);
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
        timeout: this.#writeLimitMs,
      });
    try {
      await write().catch(async (error: unknown) => {
        if (!isNoResponders(error)) throw error;
        const config = { storage: StorageType.File, max_msgs_per_subject: 1, max_bytes: 64 * 1024 };
        await this.#replicas.add({
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

  #jsm(limitMs = ADMIN_LIMIT_MS): Promise<JetStreamManager> {
    return this.#nc.jetstreamManager({ timeout: limitMs, checkAPI: false });
  }

  get #writeLimitMs(): number {
    return apiLimitMs(this.#nc, WRITE_LIMIT_MS, CLUSTER_WRITE_LIMIT_MS);
  }

  get #stream(): string {
    return `KV_${this.#name}`;
  }

  #subject(key: string): string {
    return `$KV.${this.#name}.${key}`;
  }
}

const leaseError = (error: unknown) => busError(error, 'access to the lease bucket');
