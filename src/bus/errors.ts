import { ErrorCode as NatsErrorCode, NatsError } from 'nats';
import { systemClock } from '../concurrency/clock.js';
import { withTimeLimit } from '../concurrency/time-limit.js';
import { PiwError, errorMessage, type ErrorCode } from '../errors.js';

/** The client library's error codes, and our codes for them. */
const PIW_CODES: ReadonlyMap<string, ErrorCode> = new Map<string, ErrorCode>([
  [NatsErrorCode.NoResponders, 'PIW_NO_RESPONDERS'],
  [NatsErrorCode.Timeout, 'PIW_TIMEOUT'],
  [NatsErrorCode.ConnectionClosed, 'PIW_DISCONNECTED'],
  [NatsErrorCode.ConnectionDraining, 'PIW_DISCONNECTED'],
  [NatsErrorCode.Disconnect, 'PIW_DISCONNECTED'],
  [NatsErrorCode.PermissionsViolation, 'PIW_REFUSED'],
]);
const MESSAGES: Readonly<Partial<Record<ErrorCode, string>>> = {
  PIW_NO_RESPONDERS: 'nothing is listening',
  PIW_TIMEOUT: 'no answer in time',
  PIW_DISCONNECTED: 'the connection to NATS is down',
};

/** Returns the client library's error code; empty for any other error. */
export const natsErrorCode = (error: unknown): string => (error instanceof NatsError ? error.code : '');

/** Returns JetStream's error code; undefined for any other error. */
export const jetStreamCode = (error: unknown): number | undefined =>
  error instanceof NatsError ? error.api_error?.err_code : undefined;

export const isTimeout = (error: unknown): boolean => natsErrorCode(error) === TIMEOUT;
/** Whether nobody listens; for a subject of a stream that means that there is no such stream, or no JetStream. */
export const isNoResponders = (error: unknown): boolean =>
  natsErrorCode(error) === NO_RESPONDERS && jetStreamCode(error) === undefined;
const TIMEOUT: string = NatsErrorCode.Timeout;
const NO_RESPONDERS: string = NatsErrorCode.NoResponders;

/**
 * Returns the PiwError for an error of the client library. `operation` is a phrase such as "the request on piw.x",
 * which the message continues with "failed". `fallback` is the code for everything that is neither a missing answer
 * nor a broken connection.
 */
export function busError(
  error: unknown,
  operation: string,
  fallback: ErrorCode = 'PIW_UNREACHABLE',
): PiwError {
  if (error instanceof PiwError) return error;
  // JetStream refuses with codes that mean "no responders" elsewhere.
  const refused = jetStreamCode(error) !== undefined;
  const code = (refused ? undefined : PIW_CODES.get(natsErrorCode(error))) ?? fallback;
  return new PiwError(code, `${operation} failed: ${MESSAGES[code] ?? errorMessage(error)}`, {
    cause: error,
  });
}

/** Returns the message of the error below the client library's, whose own message is only a code. */
export function causeOf(error: unknown): string {
  return errorMessage(error instanceof NatsError ? (error.chainedError ?? error) : error);
}

/** Settles as `promise` does, or rejects with PIW_TIMEOUT after `ms` milliseconds. */
export async function withTimeout<T>(ms: number, promise: Promise<T>, operation: string): Promise<T> {
  try {
    return await withTimeLimit(systemClock, ms, promise, () => {
      throw new PiwError('PIW_TIMEOUT', `${operation} failed: no answer within ${ms / 1000} s`);
    });
  } catch (error) {
    throw busError(error, operation);
  }
}
