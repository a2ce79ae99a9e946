import { ErrorCode as Nats, NatsError } from 'nats';
import { PiwError, reason, type ErrorCode } from '../errors.js';

/** The client library's own codes, and ours for them. */
const CODES: ReadonlyMap<string, ErrorCode> = new Map<string, ErrorCode>([
  [Nats.NoResponders, 'PIW_NO_RESPONDERS'],
  [Nats.Timeout, 'PIW_TIMEOUT'],
  [Nats.ConnectionClosed, 'PIW_DISCONNECTED'],
  [Nats.ConnectionDraining, 'PIW_DISCONNECTED'],
  [Nats.Disconnect, 'PIW_DISCONNECTED'],
  [Nats.PermissionsViolation, 'PIW_REFUSED'],
]);
const TEXTS: Readonly<Partial<Record<ErrorCode, string>>> = {
  PIW_NO_RESPONDERS: 'nobody answers',
  PIW_TIMEOUT: 'no answer in time',
  PIW_DISCONNECTED: 'the connection to NATS is down',
};

/** The client library's code; empty for an error that is not the library's. */
export const codeOf = (error: unknown): string => (error instanceof NatsError ? error.code : '');

/** JetStream's own number for what it refused; undefined for any other error. */
export const jetStreamCode = (error: unknown): number | undefined =>
  error instanceof NatsError ? error.api_error?.err_code : undefined;

export const isTimeout = (error: unknown): boolean => codeOf(error) === TIMEOUT;
/** Nobody listens: for a subject of JetStream's, there is no such stream, or no JetStream. */
export const isNoResponders = (error: unknown): boolean =>
  codeOf(error) === NO_RESPONDERS && jetStreamCode(error) === undefined;
const TIMEOUT: string = Nats.Timeout;
const NO_RESPONDERS: string = Nats.NoResponders;

/**
 * Returns the PiwError for whatever the client library threw while `doing`, a phrase such as "asking on piw.x".
 * `fallback` is the code for everything that is neither a missing answer nor a broken connection.
 */
export function busError(error: unknown, doing: string, fallback: ErrorCode = 'PIW_UNREACHABLE'): PiwError {
  if (error instanceof PiwError) return error;
  // JetStream's refusals bear numbers that elsewhere mean that nobody answers.
  const refused = jetStreamCode(error) !== undefined;
  const code = (refused ? undefined : CODES.get(codeOf(error))) ?? fallback;
  return new PiwError(code, `${doing} failed: ${TEXTS[code] ?? reason(error)}`, { cause: error });
}

/** Settles as `promise` does, or rejects with PIW_TIMEOUT after `ms` milliseconds. */
export async function within<T>(ms: number, promise: Promise<T>, doing: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new PiwError('PIW_TIMEOUT', `${doing} failed: no answer within ${String(ms / 1000)} s`));
    }, ms);
  });
  try {
    return await Promise.race([promise, limit]);
  } catch (error) {
    throw busError(error, doing);
  } finally {
    clearTimeout(timer);
  }
}
