import { setTimeout as sleep } from 'node:timers/promises';
import { PiwError, errorMessage } from '../errors.js';
import { VERSION } from '../version.js';

export interface HttpOptions {
  /** Who runs the farm, for the index's operators: an e-mail or web address. */
  readonly contact?: string | null;
  /** For one answer, milliseconds. Default 60 s. */
  readonly timeoutMs?: number;
  /** Of one answer. Default 64 MB. */
  readonly maxBytes?: number;
  /** What is posted; without it the page is got. */
  readonly body?: string;
  /** Before it is asked a second time, milliseconds, and twice as long before the third. Default 1 s. */
  readonly retryDelayMs?: number;
  /** Nobody waits for the answer any more: PIW_INDEX. */
  readonly signal?: AbortSignal;
}

/** The server asks to be left alone for longer than a question waits. */
export class ThrottledError extends PiwError {
  readonly retryAfterMs: number;

  constructor(text: string, waitMs: number) {
    super('PIW_INDEX', text);
    this.retryAfterMs = waitMs;
  }
}

export interface FetchedPage {
  readonly status: number;
  /** Where it came from in the end, without credentials. */
  readonly url: string;
  readonly type: string;
  readonly etag: string | undefined;
  /** PyPI's serial of what the page is about; 0 where the server doesn't say. */
  readonly serial: number;
  readonly body: string;
}

/** A question is put so often in all when the server, or the line, fails. */
const MAX_ATTEMPTS = 3;
const MAX_RETRY_WAIT_MS = 30_000;

/** A URL for people: without its credentials. */
export function redactUrl(url: string): string {
  return url.replace(/^([a-z+]+:\/\/)[^/?#]*@/i, '$1');
}

/**
 * Reads one page. What the server can't give now (429, 5xx, a broken line) is asked for again, with
 * waits that obey Retry-After; any other status is given back. Raises PIW_INDEX, in words that hold
 * no credentials.
 */
export async function fetchPage(
  url: string,
  headers: Readonly<Record<string, string>>,
  options: HttpOptions = {},
): Promise<FetchedPage> {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || !/^https?:$/.test(parsed.protocol))
    throw new PiwError('PIW_INDEX', `${redactUrl(url)} is no http or https address`);
  const { username, password } = parsed;
  parsed.username = '';
  parsed.password = '';
  const allHeaders: Record<string, string> = {
    'user-agent': `piw/${VERSION}${options.contact ? ` (+${options.contact})` : ''}`,
    ...headers,
  };
  if (username !== '') {
    const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    allHeaders['authorization'] = `Basic ${Buffer.from(pair).toString('base64')}`;
  }
  for (let attempt = 1; ; attempt += 1) {
    let wait = (options.retryDelayMs ?? 1000) * 2 ** (attempt - 1) * (0.75 + Math.random() / 2);
    let failure: string;
    try {
      // fetch drops the Authorization header where a redirect leads to another host.
      const timeoutSignal = AbortSignal.timeout(options.timeoutMs ?? 60_000);
      const response = await fetch(parsed, {
        headers: allHeaders,
        signal: options.signal ? AbortSignal.any([timeoutSignal, options.signal]) : timeoutSignal,
        ...(options.body === undefined ? {} : { method: 'POST', body: options.body }),
      });
      if (response.status !== 429 && response.status < 500)
        return await readResponse(response, options.maxBytes ?? 64 * 1024 * 1024);
      await response.body?.cancel();
      failure = `it answered with status ${String(response.status)}`;
      const retryAfterS = Number(response.headers.get('retry-after'));
      if (retryAfterS > 0) wait = retryAfterS * 1000 * (1 + Math.random() / 4);
      if (retryAfterS > 0 && wait > MAX_RETRY_WAIT_MS)
        throw new ThrottledError(
          `${redactUrl(url)} asks to be left alone for ${String(retryAfterS)} s`,
          wait,
        );
    } catch (error) {
      if (error instanceof PiwError) throw error;
      failure = describeFetchError(error);
      if (options.signal?.aborted)
        throw new PiwError('PIW_INDEX', `${redactUrl(url)} is not waited for any more`);
    }
    if (attempt >= MAX_ATTEMPTS || wait > MAX_RETRY_WAIT_MS)
      throw new PiwError('PIW_INDEX', `${redactUrl(url)} can't be read: ${failure}`);
    await sleep(wait, undefined, options.signal ? { signal: options.signal } : {}).catch(() => undefined);
  }
}

async function readResponse(response: Response, maxBytes: number): Promise<FetchedPage> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const piece of response.body ?? []) {
    size += (piece as Uint8Array).length;
    if (size > maxBytes) {
      throw new PiwError('PIW_INDEX', `${redactUrl(response.url)} has more than ${String(maxBytes)} bytes`);
    }
    chunks.push(piece as Uint8Array);
  }
  return {
    status: response.status,
    url: redactUrl(response.url),
    type: (response.headers.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '',
    etag: response.headers.get('etag') ?? undefined,
    serial: /^\d{1,15}$/.test(response.headers.get('x-pypi-last-serial') ?? '')
      ? Number(response.headers.get('x-pypi-last-serial'))
      : 0,
    body: Buffer.concat(chunks).toString('utf8'),
  };
}

/** fetch says only "fetch failed"; its cause says why. */
function describeFetchError(error: unknown): string {
  if (error instanceof Error && error.name === 'TimeoutError') return 'it did not answer in time';
  const inner = error instanceof Error && error.cause !== undefined ? error.cause : error;
  return redactUrl(errorMessage(inner) || 'it can not be reached');
}
