import { backOffMs } from '../concurrency/back-off.js';
import { systemClock } from '../concurrency/clock.js';
import { pause } from '../concurrency/pause.js';
import { PiwError, errorMessage } from '../errors.js';
import { VERSION } from '../version.js';

export interface HttpOptions {
  /** The e-mail or web address of the farm's administrator, for the index's operators. */
  readonly contact?: string | null;
  /** The time limit for one answer, milliseconds. Default: 60 s. */
  readonly timeoutMs?: number;
  /** The size limit for one answer. Default: 64 MB. */
  readonly maxBytes?: number;
  /** The body of a POST request; without it, the request is a GET. */
  readonly body?: string;
  /** The delay before the first retry, milliseconds; it doubles before the second. Default: 1 s. */
  readonly retryDelayMs?: number;
  /** Aborts the request, which then throws PIW_INDEX. */
  readonly signal?: AbortSignal;
}

/** The server asks for a longer pause than a request waits. */
export class ThrottledError extends PiwError {
  readonly retryAfterMs: number;

  constructor(text: string, waitMs: number) {
    super('PIW_INDEX', text);
    this.retryAfterMs = waitMs;
  }
}

export interface FetchedPage {
  readonly status: number;
  /** The final URL after redirects, without credentials. */
  readonly url: string;
  readonly type: string;
  readonly etag: string | undefined;
  /** The serial of PyPI's X-PyPI-Last-Serial header; 0 without it. */
  readonly serial: number;
  readonly body: string;
}

/** How often a request is sent in total if the server or the connection fails. */
const MAX_ATTEMPTS = 3;
const MAX_RETRY_WAIT_MS = 30_000;

/** Returns a URL without its credentials, for people. */
export function redactUrl(url: string): string {
  return url.replace(/^([a-z+]+:\/\/)[^/?#]*@/i, '$1');
}

/**
 * Fetches one page. Retries after a temporary failure (429, 5xx, a broken connection), with delays that obey Retry-After;
 * returns any other status. Throws ThrottledError, or PIW_INDEX; its text contains no credentials.
 */
export async function fetchPage(
  url: string,
  headers: Readonly<Record<string, string>>,
  options: HttpOptions = {},
): Promise<FetchedPage> {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || !/^https?:$/.test(parsed.protocol))
    throw new PiwError('PIW_INDEX', `${redactUrl(url)} is not an http or https address`);
  const { username, password } = parsed;
  parsed.username = '';
  parsed.password = '';
  const allHeaders: Record<string, string> = {
    'user-agent': `piw/${VERSION}${options.contact ? ` (+${options.contact})` : ''}`,
    ...headers,
  };
  if (username !== '') {
    const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    allHeaders['authorization'] = `Basic ${Buffer.from(credentials).toString('base64')}`;
  }
  const backOff = { firstMs: options.retryDelayMs ?? 1000, maxMs: MAX_RETRY_WAIT_MS, jitter: true };
  for (let attempt = 1; ; attempt += 1) {
    let wait = backOffMs(backOff, attempt);
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
      failure = `it answered with status ${response.status}`;
      const retryAfterS = Number(response.headers.get('retry-after'));
      if (retryAfterS > 0) wait = retryAfterS * 1000 * (1 + Math.random() / 4);
      if (retryAfterS > 0 && wait > MAX_RETRY_WAIT_MS)
        throw new ThrottledError(`${redactUrl(url)} asks to retry after ${retryAfterS} s`, wait);
    } catch (error) {
      if (error instanceof PiwError) throw error;
      failure = describeFetchError(error);
      if (options.signal?.aborted)
        throw new PiwError('PIW_INDEX', `the request for ${redactUrl(url)} was aborted`);
    }
    if (attempt >= MAX_ATTEMPTS || wait > MAX_RETRY_WAIT_MS)
      throw new PiwError('PIW_INDEX', `${redactUrl(url)} can't be read: ${failure}`);
    await pause(systemClock, wait, options.signal);
  }
}

async function readResponse(response: Response, maxBytes: number): Promise<FetchedPage> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += (chunk as Uint8Array).length;
    if (size > maxBytes) {
      throw new PiwError('PIW_INDEX', `${redactUrl(response.url)} is larger than ${maxBytes} bytes`);
    }
    chunks.push(chunk as Uint8Array);
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

/** Returns the reason of a failed fetch: the message is only "fetch failed", and the cause has the reason. */
function describeFetchError(error: unknown): string {
  if (error instanceof Error && error.name === 'TimeoutError') return 'it did not answer in time';
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  return redactUrl(errorMessage(cause) || "it can't be reached");
}
