import { ErrorCode as NatsErrorCode, NatsError } from 'nats';
import { PiwError, errorMessage, type ErrorCode } from '../errors.js';

/** The client library's own codes, and ours for them. */
const PIW_CODES: ReadonlyMap<string, ErrorCode> = new Map<string, ErrorCode>([
  [NatsErrorCode.NoResponders, 'PIW_NO_RESPONDERS'],
  [NatsErrorCode.Timeout, 'PIW_TIMEOUT'],
  [NatsErrorCode.ConnectionClosed, 'PIW_DISCONNECTED'],
  [NatsErrorCode.ConnectionDraining, 'PIW_DISCONNECTED'],
  [NatsErrorCode.Disconnect, 'PIW_DISCONNECTED'],
  [NatsErrorCode.PermissionsViolation, 'PIW_REFUSED'],
]);
const MESSAGES: Readonly<Partial<Record<ErrorCode, string>>> = {
  PIW_NO_RESPONDERS: 'nobody answers',
  PIW_TIMEOUT: 'no answer in time',
  PIW_DISCONNECTED: 'the connection to NATS is down',
};

/** The client library's code; empty for an error that is not the library's. */
export const natsErrorCode = (error: unknown): string => (error instanceof NatsError ? error.code : '');

/** JetStream's own number for what it refused; undefined for any other error. */
export const jetStreamCode = (error: unknown): number | undefined =>
  error instanceof NatsError ? error.api_error?.err_code : undefined;

export const isTimeout = (error: unknown): boolean => natsErrorCode(error) === TIMEOUT;
/** Nobody listens: for a subject of JetStream's, there is no such stream, or no JetStream. */
export const isNoResponders = (error: unknown): boolean =>
  natsErrorCode(error) === NO_RESPONDERS && jetStreamCode(error) === undefined;
const TIMEOUT: string = NatsErrorCode.Timeout;
const NO_RESPONDERS: string = NatsErrorCode.NoResponders;

/**
 * Returns the PiwError for whatever the client library threw while `doing`, a phrase such as "asking on piw.x".
 * `fallback` is the code for everything that is neither a missing answer nor a broken connection.
 */
export function busError(
  error: unknown,
  operation: string,
  fallback: ErrorCode = 'PIW_UNREACHABLE',
): PiwError {
  if (error instanceof PiwError) return error;
  // JetStream's refusals bear numbers that elsewhere mean that nobody answers.
  const refused = jetStreamCode(error) !== undefined;
  const code = (refused ? undefined : PIW_CODES.get(natsErrorCode(error))) ?? fallback;
  return new PiwError(code, `${operation} failed: ${MESSAGES[code] ?? errorMessage(error)}`, {
    cause: error,
  });
}

/** Settles as `promise` does, or rejects with PIW_TIMEOUT after `ms` milliseconds. */
export async function withTimeout<T>(ms: number, promise: Promise<T>, operation: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new PiwError('PIW_TIMEOUT', `${operation} failed: no answer within ${String(ms / 1000)} s`));
    }, ms);
  });
  try {
    return await Promise.race([promise, limit]);
  } catch (error) {
    throw busError(error, operation);
  } finally {
    clearTimeout(timer);
  }
}
