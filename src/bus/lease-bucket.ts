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

/** A lease that isn't renewed is free after this, milliseconds; the holder renews six times as often. */
export const LEASE_TTL_MS = 3000;
/** How long one write or read waits for its answer: there is to be time for more than one renewal. */
const WRITE_LIMIT_MS = 1000;
const ADMIN_LIMIT_MS = 5000;
/** More revisions than a bucket ever has: of years. */
const MAX_REVISIONS = 2 ** 32;
/** Replicas of the bucket where the servers form a cluster of three or more: any one of them may fail. */
const REPLICAS = 3;
/** JetStream's codes for "wrong last sequence", "stream not found", "stream name already in use". */
const [WRONG_SEQUENCE, NO_STREAM, STREAM_EXISTS] = [10071, 10059, 10058];
const NO_MESSAGE = 10037;
/** nats-server sets this much of its memory aside for the bucket; a lease has about 100 bytes. */
const MAX_BUCKET_BYTES = 128 * 1024;

export interface LeaseEntry {
  readonly revision: number;
  readonly value: string;
}

/**
 * The NATS KV bucket that holds the leases: entries that live for LEASE_TTL_MS.
 *
 * It is kept in memory: no entry is worth more than three seconds, and a bucket on a disk stops, entries and
 * expiry, when that disk is full, and doesn't run on when there is room again. When nats-server is restarted the bucket
 * is gone, and whoever needs it first makes it anew.
 *
 * Revisions are sequence numbers of its stream, and the database remembers the newest it has seen: so a new bucket
 * begins with the time in milliseconds, which no earlier one can have reached at a few messages a second. Where each
 * began is noted on the disk, so that one is above the others also when the clock was set back between.
 */
export class LeaseBucket {
  readonly #nc: NatsConnection;
  readonly #js: JetStreamClient;
  readonly #name: string;
  /** The bucket of earlier versions, which was on a disk. */
  readonly #legacyStream: string;
  /** A stream, and its only subject: where the newest bucket began. */
  readonly #firstRevisionStream: string;

  constructor(nc: NatsConnection, prefix: string) {
    this.#nc = nc;
    this.#js = nc.jetstream();
    this.#name = `${prefix}-leaders`;
    this.#legacyStream = `KV_${prefix}-leases`;
    this.#firstRevisionStream = `${prefix}-leaders-from`;
  }

  /**
   * Writes the entry if its revision is `expected`, 0 for one that is not there; returns the new revision, or
   * undefined when it has another one. Throws PIW_NO_RESPONDERS where there is no bucket.
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

  /** Returns what NATS keeps under a key, whether or not it should have expired. */
  async read(key: string): Promise<LeaseEntry | undefined> {
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

  /** Makes the bucket if it is missing, above every revision of an earlier one. */
  async ensure(): Promise<void> {
    try {
      const { streams } = await this.#jsm();
      if (await this.#streamInfo(this.#stream)) return;
      const legacy = await this.#streamInfo(this.#legacyStream);
      await this.#createBucket(legacy?.state.last_seq ?? 0);
      // One that can't be deleted, on a disk that is full, is in nobody's way.
      if (legacy) await streams.delete(this.#legacyStream).catch(() => false);
    } catch (error) {
      throw leaseError(error);
    }
  }

  /** Makes the bucket anew, without any entry. For one that doesn't let go of what has expired. */
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
    const minimum = recordedFirst >= Date.now() ? recordedFirst + MAX_REVISIONS : 0;
    const first = Math.max(Date.now(), last + 1, minimum);
    await this.#createStream({
      ...{ name: this.#stream, subjects: [this.#subject('>')], first_seq: first },
      ...{ max_msgs_per_subject: 1, max_age: nanos(LEASE_TTL_MS), storage: StorageType.Memory },
      ...{
        discard: DiscardPolicy.New,
        allow_rollup_hdrs: true,
        allow_direct: true,
        max_bytes: MAX_BUCKET_BYTES,
      },
    });
    await this.#recordFirstRevision(first);
  }

  /** Where the newest bucket began; 0 where that isn't known. */
  async #readFirstRevision(): Promise<number> {
    try {
      const jsm = await this.#jsm(WRITE_LIMIT_MS);
      const message = await jsm.streams.getMessage(this.#firstRevisionStream, {
        last_by_subj: this.#firstRevisionStream,
      });
      return Number(new TextDecoder().decode(message.data)) || 0;
    } catch {
      // No task can wait for a disk: then the clock has to do.
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
      // As above; the bucket of before is noted.
    }
  }

  /** Makes a stream, unless another process has. A single server refuses replicas, and so does a cluster of two. */
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

const leaseError = (error: unknown) => busError(error, 'the bucket of leases');
