import type { JetStreamManager, NatsConnection, StreamConfig, StreamInfo } from 'nats';
import { isTimeout, jetStreamCode } from './errors.js';

/** The time limit of a request to JetStream's API, milliseconds. */
export const ADMIN_LIMIT_MS = 5000;
/**
 * The time limit in a cluster, milliseconds. There, a server that is gone answers nothing, and a new leader of the
 * cluster is elected within a few seconds, so it is better to ask again.
 */
const CLUSTER_LIMIT_MS = 1500;
/** Replicas in a cluster of three or more servers, so that any one of them may fail. */
const REPLICAS = 3;
/** JetStream's codes for "stream not found", "stream name already in use". */
const [NO_STREAM, STREAM_EXISTS] = [10059, 10058];
/** The code for "JetStream system temporarily unavailable": the stream has no leader. */
const NOT_AVAILABLE = 10008;

/** Whether the connection is to a server of a cluster. */
export const isClustered = (nc: NatsConnection): boolean => (nc.info?.cluster ?? '') !== '';

/** Returns the time limit of a request to JetStream's API that can be repeated, milliseconds. */
export const apiLimitMs = (
  nc: NatsConnection,
  limitMs = ADMIN_LIMIT_MS,
  clusterLimitMs = CLUSTER_LIMIT_MS,
): number => (isClustered(nc) ? clusterLimitMs : limitMs);

/** Whether a stream, or JetStream's API itself, has no leader that answers: a server is gone, or hangs. */
export const isLeaderless = (error: unknown): boolean =>
  isTimeout(error) || jetStreamCode(error) === NOT_AVAILABLE;

/**
 * Streams without which the farm can't work: each has as many replicas as the cluster allows. A single server and a
 * cluster of two refuse replicas, so there such a stream has one copy, which raise() replicates when servers have
 * joined. Throws the client library's errors.
 */
export class StreamReplicas {
  readonly #nc: NatsConnection;

  constructor(nc: NatsConnection) {
    this.#nc = nc;
  }

  /** Creates a stream unless another process has done so. */
  async add(config: Partial<StreamConfig>): Promise<void> {
    const { streams } = await this.#manager(ADMIN_LIMIT_MS);
    for (const count of isClustered(this.#nc) ? [REPLICAS, 1] : [1]) {
      try {
        await streams.add({ ...config, num_replicas: count });
        return;
      } catch (error) {
        if (jetStreamCode(error) === STREAM_EXISTS) return;
        if (count === 1 || jetStreamCode(error) === undefined) throw error;
      }
    }
  }

  /**
   * Gives an existing stream more replicas if the cluster allows it, and these changes of its configuration. Only for
   * a cluster.
   */
  async raise(stream: string, changes: Partial<StreamConfig> = {}): Promise<void> {
    const config = (await this.info(stream))?.config;
    if (!config) return;
    const isUpToDate = Object.entries(changes).every(([key, value]) => config[key as never] === value);
    if (isUpToDate && config.num_replicas >= REPLICAS) return;
    const { streams } = await this.#manager(ADMIN_LIMIT_MS);
    for (const count of [REPLICAS, config.num_replicas]) {
      try {
        await streams.update(stream, { ...changes, num_replicas: count });
        return;
      } catch (error) {
        // There are too few servers, or these are of a version that can't change it.
        if (jetStreamCode(error) === undefined) throw error;
      }
    }
  }

  /** Returns what the server says about a stream; undefined if it does not exist. */
  async info(stream: string, limitMs?: number): Promise<StreamInfo | undefined> {
    const { streams } = await this.#manager(limitMs);
    try {
      return await streams.info(stream);
    } catch (error) {
      if (jetStreamCode(error) === NO_STREAM) return undefined;
      throw error;
    }
  }

  /** Deletes a stream if it exists, even if its servers are gone: then they delete it when they are back. */
  async delete(stream: string, limitMs?: number): Promise<void> {
    const { streams } = await this.#manager(limitMs);
    try {
      await streams.delete(stream);
    } catch (error) {
      if (jetStreamCode(error) === NO_STREAM) return;
      // The cluster has deleted it, but only the stream's own servers would say so.
      if (!isClustered(this.#nc) || !isLeaderless(error)) throw error;
    }
  }

  #manager(limitMs = apiLimitMs(this.#nc)): Promise<JetStreamManager> {
    return this.#nc.jetstreamManager({ timeout: limitMs, checkAPI: false });
  }
}
