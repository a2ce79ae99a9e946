import type { Msg, MsgHdrs, NatsConnection } from 'nats';
import { onAbort } from '../concurrency/abort.js';
import { PiwError } from '../errors.js';
import { busError } from './errors.js';
import { sendRequest } from './wire.js';

/** One attempt at a request. */
interface RequestAttempt {
  readonly subject: string;
  readonly payload: Uint8Array;
  readonly header: MsgHdrs | undefined;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** Whether it is retried if it fails. */
  readonly isRetried: boolean;
}

/** The requests that wait for their answers, which are lost with the connection. */
export class PendingRequests {
  readonly #nc: NatsConnection;
  /** A function for each request that makes it fail, and whether the request is then retried. */
  readonly #rejections = new Map<(error: Error) => void, boolean>();
  #closed = false;

  constructor(nc: NatsConnection) {
    this.#nc = nc;
  }

  /** Makes every request fail that waits for its answer: the answer can't come any more. */
  rejectAll(): void {
    const error = new PiwError('PIW_DISCONNECTED', 'the connection to NATS broke');
    for (const reject of this.#rejections.keys()) reject(error);
  }

  /** Makes the requests fail that are then retried: the answer may have been lost. */
  rejectRetried(): void {
    const error = new PiwError('PIW_DISCONNECTED', 'a server of the NATS cluster has gone');
    for (const [reject, isRetried] of this.#rejections) if (isRetried) reject(error);
  }

  /** Makes every request fail, also each one that is sent later. */
  close(): void {
    this.#closed = true;
    this.rejectAll();
  }

  /** Makes one attempt. Throws what sendRequest and rejectAll do, and PIW_INTERRUPTED if the signal is aborted. */
  send({ subject, payload, header, timeoutMs, signal, isRetried }: RequestAttempt): Promise<Msg> {
    return new Promise((resolve, reject) => {
      let removeListener = (): void => undefined;
      let forget = (): void => undefined;
      const cleanUp = (): void => {
        this.#rejections.delete(fail);
        forget();
        removeListener();
      };
      const fail = (error: unknown): void => {
        cleanUp();
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors
        reject(error);
      };
      this.#rejections.set(fail, isRetried);
      if (this.#closed) {
        fail(new PiwError('PIW_DISCONNECTED', 'the connection to NATS is down'));
        return;
      }
      removeListener = onAbort(signal, () => {
        fail(new PiwError('PIW_INTERRUPTED', `the request on ${subject} was cancelled`));
      });
      if (signal?.aborted) return;
      try {
        forget = sendRequest(this.#nc, subject, payload, { timeoutMs, headers: header }, (error, answer) => {
          if (answer === undefined || error !== null) {
            fail(error);
            return;
          }
          cleanUp();
          resolve(answer);
        });
      } catch (error) {
        fail(error);
      }
    });
  }
}

/** The codes of failures after which a request is retried. */
export const RETRYABLE_CODES: ReadonlySet<string> = new Set([
  'PIW_TIMEOUT',
  'PIW_NO_RESPONDERS',
  'PIW_DISCONNECTED',
]);

/** Returns the PiwError for a failed attempt. */
export function requestError(error: unknown, subject: string): PiwError {
  const failure = busError(error, `the request on ${subject}`);
  if (failure === error) return failure;
  if (failure.code === 'PIW_NO_RESPONDERS')
    return new PiwError(failure.code, `nothing is listening on ${subject}`);
  if (failure.code === 'PIW_TIMEOUT') return new PiwError(failure.code, `no answer on ${subject} in time`);
  return failure;
}
