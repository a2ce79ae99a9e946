import { StorageType } from 'nats';
import type { Bus } from './bus.js';
import { bucketOf } from './buckets.js';
import { MAX_BUCKET_BYTES, messageBucket } from './claims.js';
import { busError, isNoResponders } from './errors.js';
import { isStorageError } from './object-errors.js';
import { StreamReplicas } from './replicas.js';
import { errorMessage } from '../errors.js';

/** Returns why JetStream can't be used on this connection; undefined if it can. Throws PIW_DISCONNECTED. */
export async function jetStreamProblem(bus: Bus): Promise<string | undefined> {
  try {
    await (await bus.connection.jetstreamManager({ checkAPI: false })).getAccountInfo();
    return undefined;
  } catch (error) {
    if (isNoResponders(error)) return 'the servers have no JetStream';
    return errorMessage(busError(error, 'asking for JetStream'));
  }
}

/**
 * Returns why the servers can't reserve what a farm needs on their disk: the bucket of its large messages, unless it
 * exists, and that of one more slave. Returns undefined if they can. Reserves it for a moment, because the limits are
 * those of the account and of the server, and only the server knows the latter. Throws PIW_DISCONNECTED.
 */
export async function storageShortage(bus: Bus): Promise<string | undefined> {
  const { stream: claims } = bucketOf(`${bus.prefix}-claims`);
  const name = `${bus.prefix}-doctor`;
  try {
    const { streams } = await bus.connection.jetstreamManager({ checkAPI: false });
    const isReserved = (await new StreamReplicas(bus.connection).info(claims)) !== undefined;
    const bytes = messageBucket(name).maxBytes + (isReserved ? 0 : MAX_BUCKET_BYTES);
    await streams.add({
      name,
      subjects: [bus.subject('doctor', 'trial')],
      storage: StorageType.File,
      max_bytes: bytes,
    });
    await streams.delete(name);
    return undefined;
  } catch (error) {
    if (isStorageError(error) || /maximum .*exceeded|resource limits/i.test(errorMessage(error)))
      return errorMessage(error);
    throw busError(error, 'reserving storage');
  }
}
