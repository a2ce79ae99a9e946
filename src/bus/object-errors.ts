import { NatsError } from 'nats';
import { PiwError, errorMessage } from '../errors.js';
import { busError, isNoResponders, isTimeout, jetStreamCode } from './errors.js';

/** Whether there is no such stream, consumer or message. */
export const isNotFound = (error: unknown): boolean =>
  error instanceof NatsError && (error.api_error?.code === 404 || /not found/i.test(error.message));

/** Whether the server no longer has a consumer, e.g. because it was restarted. */
export function isConsumerLost(error: unknown): boolean {
  return (
    error instanceof NatsError && /consumer (not found|deleted)|no responders|heartbeat/i.test(error.message)
  );
}

/**
 * Returns the PiwError for an error of a transfer. All but storage errors have the same code, because the remedy is the
 * same: send, or read, again.
 */
export function objectError(error: unknown): PiwError {
  if (error instanceof PiwError) return error;
  if (isStorageError(error)) return storageError(errorMessage(error), error);
  const { message } = busError(error, 'the transfer through NATS');
  return new PiwError('PIW_OBJECT_BROKEN', message, { cause: error });
}

export function storageError(reason: string, cause?: unknown): PiwError {
  return new PiwError('PIW_NATS_STORAGE', `NATS does not store what is sent to it: ${reason}`, { cause });
}

/** Returns the likely reason why the server did not store something, for the user. */
export function storageFailureReason(error: unknown): string {
  if (isNoResponders(error)) return 'its bucket does not exist';
  return isTimeout(error) ? 'the disk of nats-server may be full' : errorMessage(error);
}

/** JetStream's codes for "insufficient storage", "insufficient memory" and "error creating store for stream". */
const STORAGE_ERROR_CODES: ReadonlySet<number | undefined> = new Set([10023, 10028, 10047, 10049]);

/** Whether the server reports that it has no space, by one of these codes or in the operating system's own words. */
export const isStorageError = (error: unknown): boolean =>
  STORAGE_ERROR_CODES.has(jetStreamCode(error)) ||
  (error instanceof NatsError && /no space left/i.test(error.message));
