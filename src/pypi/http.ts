import { PiwError, reason } from '../errors.js';
import { VERSION } from '../version.js';

export interface HttpOptions {
  /** Who runs the farm, for the index's operators: an e-mail or web address. */
  readonly contact?: string | null;
  /** For one answer, milliseconds. Default 60 s. */
  readonly timeoutMs?: number;
  /** Of one answer. Default 64 MB. */
  readonly maxBytes?: number;
}

export interface Page {
  readonly status: number;
  /** Where it came from in the end, without credentials. */
  readonly url: string;
  readonly type: string;
  readonly etag: string | undefined;
  readonly body: string;
}

/** A question is put so often in all when the server, or the line, fails. */
const TRIES = 3;
const MAX_WAIT_MS = 30_000;

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
): Promise<Page> {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || !/^https?:$/.test(parsed.protocol))
    throw new PiwError('PIW_INDEX', `${redactUrl(url)} is no http or https address`);
  const { username, password } = parsed;
  parsed.username = '';
  parsed.password = '';
  const all: Record<string, string> = {
    'user-agent': `piw/${VERSION}${options.contact ? ` (+${options.contact})` : ''}`,
    ...headers,
  };
  if (username !== '') {
    const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    all['authorization'] = `Basic ${Buffer.from(pair).toString('base64')}`;
  }
  for (let tries = 1; ; tries += 1) {
    let wait = 500 * 2 ** tries * (0.75 + Math.random() / 2);
    let failure: string;
    try {
      // fetch drops the Authorization header where a redirect leads to another host.
      const response = await fetch(parsed, {
        headers: all,
        signal: AbortSignal.timeout(options.timeoutMs ?? 60_000),
      });
      if (response.status !== 429 && response.status < 500)
        return await page(response, options.maxBytes ?? 64 * 1024 * 1024);
      await response.body?.cancel();
      failure = `it answered with status ${String(response.status)}`;
      const after = Number(response.headers.get('retry-after'));
      if (after > 0) wait = after * 1000;
    } catch (error) {
      if (error instanceof PiwError) throw error;
      failure = cause(error);
    }
    if (tries >= TRIES || wait > MAX_WAIT_MS)
      throw new PiwError('PIW_INDEX', `${redactUrl(url)} can't be read: ${failure}`);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

async function page(response: Response, maxBytes: number): Promise<Page> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of response.body ?? []) {
    size += (piece as Uint8Array).length;
    if (size > maxBytes) {
      throw new PiwError('PIW_INDEX', `${redactUrl(response.url)} has more than ${String(maxBytes)} bytes`);
    }
    pieces.push(piece as Uint8Array);
  }
  return {
    status: response.status,
    url: redactUrl(response.url),
    type: (response.headers.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '',
    etag: response.headers.get('etag') ?? undefined,
    body: Buffer.concat(pieces).toString('utf8'),
  };
}

/** fetch says only "fetch failed"; its cause says why. */
function cause(error: unknown): string {
  if (error instanceof Error && error.name === 'TimeoutError') return 'it did not answer in time';
  const inner = error instanceof Error && error.cause !== undefined ? error.cause : error;
  return redactUrl(reason(inner) || 'it can not be reached');
}
