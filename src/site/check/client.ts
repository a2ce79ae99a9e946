import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { Agent, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { Agent as SecureAgent, request as httpsRequest } from 'node:https';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { PiwError, errorMessage } from '../../errors.js';
import { VERSION } from '../../version.js';

/** An answer as it came: not redirected, not unpacked. */
export interface HttpResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** The connection ended before the body did. */
  readonly truncated: boolean;
}

export interface HttpRequestOptions {
  readonly accept?: string;
  readonly method?: 'GET' | 'HEAD';
  readonly headers?: Readonly<Record<string, string>>;
  /** The body is of no interest. */
  readonly discardBody?: boolean;
}

/** No answer is waited for longer, milliseconds. */
const RESPONSE_TIMEOUT_MS = 60_000;
/** No page is larger, bytes. */
const MAX_PAGE_BYTES = 512 * 1024 * 1024;

/** A web server, asked as no ordinary client can: nothing is followed, unpacked or tidied up on the way. */
export class HttpClient {
  /** Ends in `/`. */
  readonly baseUrl: string;
  readonly #secure: boolean;
  readonly #agent: Agent | SecureAgent;

  /** The address of a site, or that of its index. */
  constructor(address: string) {
    const url = new URL(address);
    this.#secure = url.protocol === 'https:';
    this.baseUrl = new URL(url.pathname.replace(/\/*(simple\/?)?$/, '/'), url.origin).href;
    this.#agent = this.#secure ? new SecureAgent({ keepAlive: true }) : new Agent({ keepAlive: true });
  }

  /** One answer. Raises PIW_UNREACHABLE. `path` is encoded, and below the address. */
  async request(path: string, options: HttpRequestOptions = {}): Promise<HttpResponse> {
    const response = await this.#send(path, options);
    const pieces: Buffer[] = [];
    let size = 0;
    let truncated = false;
    if (options.discardBody) response.destroy();
    else
      try {
        for await (const piece of response as AsyncIterable<Buffer>) {
          pieces.push(piece);
          size += piece.length;
          if (size > MAX_PAGE_BYTES)
            throw new PiwError('PIW_TOO_LARGE', `${this.baseUrl}${path} is too large for a page`);
        }
      } catch (error) {
        if (error instanceof PiwError) throw error;
        truncated = true;
      }
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      body: Buffer.concat(pieces),
      truncated,
    };
  }

  /** Writes a file's bytes to `to`; gives what came. Raises PIW_UNREACHABLE, also where the line broke. */
  async download(path: string, to: string): Promise<{ status: number; sha256: string; size: number }> {
    const response = await this.#send(path, { headers: { 'accept-encoding': 'identity' } });
    const hash = createHash('sha256');
    let size = 0;
    const count = async function* (pieces: Readable): AsyncGenerator<Buffer> {
      for await (const piece of pieces as AsyncIterable<Buffer>) {
        hash.update(piece);
        size += piece.length;
        yield piece;
      }
    };
    try {
      await pipeline(response, count, createWriteStream(to));
    } catch (error) {
      throw this.#unreachable(path, error);
    }
    return { status: response.statusCode ?? 0, sha256: hash.digest('hex'), size };
  }

  close(): void {
    this.#agent.destroy();
  }

  #send(
    path: string,
    { accept, method = 'GET', headers = {} }: HttpRequestOptions,
  ): Promise<IncomingMessage> {
    const requestHeaders = {
      'user-agent': `piw/${VERSION} check`,
      'accept-encoding': 'identity',
      ...(accept === undefined ? {} : { accept }),
      ...headers,
    };
    return new Promise((resolve, reject) => {
      const send = this.#secure ? httpsRequest : httpRequest;
      const request = send(this.baseUrl + path, {
        method,
        headers: requestHeaders,
        agent: this.#agent,
        timeout: RESPONSE_TIMEOUT_MS,
      });
      request.on('response', resolve);
      request.on('timeout', () => request.destroy(new Error('it did not answer in time')));
      request.on('error', (error) => {
        reject(this.#unreachable(path, error));
      });
      request.end();
    });
  }

  #unreachable(path: string, error: unknown): PiwError {
    return new PiwError('PIW_UNREACHABLE', `${this.baseUrl}${path} can't be read: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}

/** A header's values, in lower case. */
export function headerValues(headers: IncomingHttpHeaders, name: string): readonly string[] {
  const value = headers[name];
  const text = Array.isArray(value) ? value.join(',') : (value ?? '');
  return text
    .toLowerCase()
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
}

/** The type of an answer, without its parameters. */
export const mediaType = (headers: IncomingHttpHeaders): string =>
  (headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
