import {
  DiscardPolicy,
  JsHeaders,
  RetentionPolicy,
  StorageType,
  headers,
  nanos,
  type JetStreamClient,
  type JetStreamManager,
  type NatsConnection,
  type StreamConfig,
} from 'nats';
import { isNoResponders, isTimeout, withTimeout } from './errors.js';
import { StreamReplicas, apiLimitMs, isClustered, isLeaderless } from './replicas.js';
import { isNotFound, isStorageError, objectError, storageError } from './object-errors.js';

/** The time limit of a request to JetStream's API, milliseconds. */
const MANAGER_LIMIT_MS = 10_000;
/** How often a cluster is asked for a bucket whose server may be gone: for about ten seconds, as an election takes. */
const MAX_ENSURE_ATTEMPTS = 6;
/** How long the servers of a bucket may take to delete it, milliseconds; those that are gone do so later. */
const DELETE_LIMIT_MS = 500;
/** The number of probe writes before a bucket counts as broken, and the time limit of each, milliseconds. */
const MAX_PROBES = 2;
const PROBE_LIMIT_MS = 2000;
/** The object that a probe writes. Its name begins with `claim`, as that of a large message and not of a transfer. */
const PROBE_OBJECT = 'claim.probe';

/** A bucket: the token of its objects' subjects, and the stream that stores them. */
export interface Bucket {
  readonly name: string;
  readonly stream: string;
}

/** A bucket by its name alone is one in the layout of NATS' object store. */
export type BucketName = string | Bucket;

/** How long an object that nobody removes is kept. */
interface Expiry {
  readonly maxAgeMs: number;
}

/**
 * A bucket that stores on the server's disk, and acknowledges that. `maxBytes` is the total size that it may hold; the
 * server reserves as much. When it is full, it refuses new chunks, or drops the oldest.
 */
export interface DiskBucketConfig extends Expiry {
  readonly name: string;
  /** The objects that it stores; by default all of the bucket. */
  readonly only?: { readonly stream: string; readonly objects: string };
  readonly maxBytes: number;
  readonly dropsOldest?: boolean;
}

/**
 * A bucket in the server's memory, which keeps the last `maxChunks` chunks of the objects that match `objects`. It
 * acknowledges nothing. That saves its writers a round trip, and is what makes it safe to store messages whose reply
 * subject a stranger has chosen: see formatAccounts.
 */
export interface MemoryBucketConfig extends Expiry {
  readonly name: string;
  readonly objects: string;
  readonly maxChunks: number;
}

type BucketConfig = DiskBucketConfig | MemoryBucketConfig;

export const bucketOf = (bucket: BucketName): Bucket =>
  typeof bucket === 'string' ? { name: bucket, stream: `OBJ_${bucket}` } : bucket;

export const chunkSubject = (bucket: BucketName, object: string): string =>
  `$O.${bucketOf(bucket).name}.C.${object}`;

export const metadataSubject = (bucket: BucketName, object: string): string =>
  `$O.${bucketOf(bucket).name}.M.${Buffer.from(object).toString('base64url')}`;

/** Creates, repairs, lists and empties the buckets of an ObjectStore. */
export class Buckets {
  readonly #nc: NatsConnection;
  readonly #js: JetStreamClient;
  readonly #replicas: StreamReplicas;
  #manager: Promise<JetStreamManager> | undefined;

  constructor(nc: NatsConnection) {
    this.#nc = nc;
    this.#js = nc.jetstream();
    this.#replicas = new StreamReplicas(nc);
  }

  /**
   * Creates the bucket, or updates its configuration. One whose storage differs, or whose server in a cluster is gone,
   * is recreated, empty. Needs the permissions of a master.
   */
  async ensure(bucket: BucketConfig): Promise<void> {
    const config = streamConfig(bucket);
    for (let attempts = 1; ; attempts += 1) {
      try {
        await this.#ensure(config);
        return;
      } catch (error) {
        if (!isClustered(this.#nc) || !isLeaderless(error) || attempts >= MAX_ENSURE_ATTEMPTS)
          throw objectError(error);
        // The bucket itself is on a server that is gone, or the cluster has just placed it there.
        if (attempts > 1) await this.#replicas.delete(config.name, DELETE_LIMIT_MS).catch(() => undefined);
      }
    }
  }

  async #ensure(config: BucketStream): Promise<void> {
    const existing = (await this.#replicas.info(config.name))?.config;
    const { streams } = await this.manager();
    if (existing && isStoredAlike(existing, config)) {
      if (!isUpToDate(existing, config)) await streams.update(config.name, config);
      return;
    }
    if (existing) await this.#replicas.delete(config.name);
    await streams.add(config);
  }

  /**
   * Checks that NATS stores what is sent to a bucket, and recreates the bucket, empty, if it doesn't. At the first
   * error of its disk, nats-server stops storing to a stream and answering its writers, even after there is space
   * again. Returns whether the bucket was recreated. Throws PIW_NATS_STORAGE if that did not help. Needs the
   * permissions of a master.
   */
  async repair(bucket: DiskBucketConfig): Promise<boolean> {
    await this.ensure(bucket);
    if (await this.#canStore(bucket.name)) return false;
    await this.#replicas.delete(streamConfig(bucket).name).catch((error: unknown) => {
      throw objectError(error);
    });
    await this.ensure(bucket);
    if (!(await this.#canStore(bucket.name))) throw storageError('the disk of nats-server may be full');
    return true;
  }

  /** Removes the chunks of objects (a name may end in `.*`), and the metadata of those named without a wildcard. */
  async remove(bucket: BucketName, ...objects: readonly string[]): Promise<void> {
    const filters = objects.flatMap((object) => [
      chunkSubject(bucket, object),
      ...(object.endsWith('*') ? [] : [metadataSubject(bucket, object)]),
    ]);
    const { stream } = bucketOf(bucket);
    try {
      const { streams } = await this.manager();
      await Promise.all(filters.map((filter) => streams.purge(stream, { filter })));
    } catch (error) {
      if (!isNotFound(error)) throw objectError(error);
    }
  }

  /** Returns the names of the buckets that begin with `prefix` and have the layout of NATS' object store. */
  async list(prefix: string): Promise<readonly string[]> {
    const streamPrefix = bucketOf('').stream;
    const names: string[] = [];
    try {
      const { streams } = await this.manager();
      for await (const stream of streams.names())
        if (stream.startsWith(streamPrefix + prefix)) names.push(stream.slice(streamPrefix.length));
    } catch (error) {
      throw objectError(error);
    }
    return names;
  }

  /** Returns the names of a bucket's objects that have chunks. */
  async listObjects(bucket: BucketName): Promise<readonly string[]> {
    const prefix = chunkSubject(bucket, '');
    try {
      const { streams } = await this.manager();
      const { state } = await streams.info(bucketOf(bucket).stream, { subjects_filter: `${prefix}>` });
      return Object.keys(state.subjects ?? {}).map((subject) => subject.slice(prefix.length));
    } catch (error) {
      throw objectError(error);
    }
  }

  /** Returns whether the server is up but does not store this: there is no bucket, or its disk is full. */
  async refusesToStore(error: unknown): Promise<boolean> {
    if (isStorageError(error) || isNoResponders(error)) return true;
    return isTimeout(error) && (await this.#isResponsive());
  }

  manager(): Promise<JetStreamManager> {
    this.#manager ??= this.#nc
      .jetstreamManager({ timeout: apiLimitMs(this.#nc, MANAGER_LIMIT_MS) })
      .catch((error: unknown) => {
        this.#manager = undefined;
        throw objectError(error);
      });
    return this.#manager;
  }

  async #isResponsive(): Promise<boolean> {
    return await withTimeout(PROBE_LIMIT_MS, this.#nc.rtt(), 'a ping to NATS').then(
      () => true,
      () => false,
    );
  }

  /**
   * Writes a probe. Returns false if the server is up but does not store it. Throws PIW_OBJECT_BROKEN if the server is
   * down.
   */
  async #canStore(bucket: string): Promise<boolean> {
    const header = headers();
    header.set(JsHeaders.RollupHdr, JsHeaders.RollupValueSubject);
    const subject = chunkSubject(bucket, PROBE_OBJECT);
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#js.publish(subject, new Uint8Array(0), { headers: header, timeout: PROBE_LIMIT_MS });
        return true;
      } catch (error) {
        if (!(await this.refusesToStore(error))) throw objectError(error);
        if (attempt === MAX_PROBES) return false;
      }
    }
  }
}

type BucketStream = Pick<StreamConfig, 'name' | 'subjects'> & Partial<StreamConfig>;

function streamConfig(bucket: BucketConfig): BucketStream {
  const common = { retention: RetentionPolicy.Limits, allow_direct: true, max_age: nanos(bucket.maxAgeMs) };
  if ('maxChunks' in bucket) {
    return {
      ...common,
      name: bucketOf(bucket.name).stream,
      subjects: [chunkSubject(bucket.name, bucket.objects), metadataSubject(bucket.name, '') + '*'],
      storage: StorageType.Memory,
      no_ack: true,
      discard: DiscardPolicy.Old,
      // With a limit in bytes, the server would reserve as much for each bucket.
      max_msgs: bucket.maxChunks,
      duplicate_window: nanos(100),
    };
  }
  return {
    ...common,
    name: bucket.only?.stream ?? bucketOf(bucket.name).stream,
    subjects: bucket.only
      ? [chunkSubject(bucket.name, bucket.only.objects)]
      : [chunkSubject(bucket.name, '>'), metadataSubject(bucket.name, '') + '>'],
    storage: StorageType.File,
    no_ack: false,
    discard: bucket.dropsOldest ? DiscardPolicy.Old : DiscardPolicy.New,
    max_bytes: bucket.maxBytes,
    max_msgs_per_subject: -1,
    allow_rollup_hdrs: true,
    duplicate_window: nanos(Math.min(bucket.maxAgeMs, 120_000)),
  };
}

/** Returns whether a stream can be updated to a configuration. The server omits settings that are false. */
const isStoredAlike = (existing: Partial<StreamConfig>, { storage, no_ack = false }: BucketStream): boolean =>
  existing.storage === storage && (existing.no_ack ?? false) === no_ack;

/** Returns whether a stream has the configuration that it should have. */
function isUpToDate(existing: Partial<StreamConfig>, config: BucketStream): boolean {
  const keys = ['discard', 'max_msgs_per_subject', 'max_bytes', 'max_msgs', 'max_age'] as const;
  return (
    keys.every((key) => config[key] === undefined || existing[key] === config[key]) &&
    config.subjects.join() === existing.subjects?.join()
  );
}
