import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { Agent, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { Agent as SecureAgent, request as httpsRequest } from 'node:https';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { PiwError, errorMessage } from '../errors.js';
import { VERSION } from '../version.js';

/** A response as the server sent it: redirects are not followed, and content is not unpacked. */
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
  /** Closes the connection without reading the body. */
  readonly discardBody?: boolean;
}

const RESPONSE_TIMEOUT_MS = 60_000;
const MAX_PAGE_BYTES = 512 * 1024 * 1024;

/** A low-level HTTP client for one site: it doesn't follow redirects, unpack content or correct responses. */
export class HttpClient {
  /** Ends in `/`. */
  readonly baseUrl: string;
  readonly #secure: boolean;
  readonly #agent: Agent | SecureAgent;

  /** `address`: the URL of a site or of its index. */
  constructor(address: string) {
    const url = new URL(address);
    this.#secure = url.protocol === 'https:';
    this.baseUrl = new URL(url.pathname.replace(/\/*(simple\/?)?$/, '/'), url.origin).href;
    this.#agent = this.#secure ? new SecureAgent({ keepAlive: true }) : new Agent({ keepAlive: true });
  }

  /**
   * Requests `path`, which is encoded and relative to the base URL. Throws PIW_UNREACHABLE if there is no response, and
   * PIW_TOO_LARGE if its body exceeds 512 MiB.
   */
  async request(path: string, options: HttpRequestOptions = {}): Promise<HttpResponse> {
    const response = await this.#send(path, options);
    const chunks: Buffer[] = [];
    let size = 0;
    let truncated = false;
    if (options.discardBody) response.destroy();
    else
      try {
        for await (const chunk of response as AsyncIterable<Buffer>) {
          chunks.push(chunk);
          size += chunk.length;
          if (size > MAX_PAGE_BYTES)
            throw new PiwError('PIW_TOO_LARGE', `${this.baseUrl}${path} is larger than a page may be`);
        }
      } catch (error) {
        if (error instanceof PiwError) throw error;
        truncated = true;
      }
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      body: Buffer.concat(chunks),
      truncated,
    };
  }

  /** Downloads a file to `to`. Throws PIW_UNREACHABLE if there is no response or the connection is lost. */
  async download(path: string, to: string): Promise<{ status: number; sha256: string; size: number }> {
    const response = await this.#send(path, { headers: { 'accept-encoding': 'identity' } });
    const hash = createHash('sha256');
    let size = 0;
    const count = async function* (source: Readable): AsyncGenerator<Buffer> {
      for await (const chunk of source as AsyncIterable<Buffer>) {
        hash.update(chunk);
        size += chunk.length;
        yield chunk;
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
      request.on('timeout', () =>
        request.destroy(new Error(`no response for ${RESPONSE_TIMEOUT_MS / 1000} s`)),
      );
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

/** Returns the comma-separated values of a header, in lower case. */
export function headerValues(headers: IncomingHttpHeaders, name: string): readonly string[] {
  const value = headers[name];
  const text = Array.isArray(value) ? value.join(',') : (value ?? '');
  return text
    .toLowerCase()
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
}

/** Returns the media type of a response in lower case, without parameters; '' if it has none. */
export const mediaType = (headers: IncomingHttpHeaders): string =>
  (headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
