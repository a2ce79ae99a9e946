import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { Agent, request as plainly, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { Agent as SecureAgent, request as securely } from 'node:https';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { PiwError, reason } from '../../errors.js';
import { VERSION } from '../../version.js';

/** An answer as it came: not redirected, not unpacked. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** The connection ended before the body did. */
  readonly cut: boolean;
}

export interface Question {
  readonly accept?: string;
  readonly method?: 'GET' | 'HEAD';
  readonly headers?: Readonly<Record<string, string>>;
  /** The body is of no interest. */
  readonly unread?: boolean;
}

/** No answer is waited for longer, milliseconds. */
const PATIENCE = 60_000;
/** No page is larger, bytes. */
const LARGEST = 512 * 1024 * 1024;

/** A web server, asked as no ordinary client can: nothing is followed, unpacked or tidied up on the way. */
export class Server {
  /** Ends in `/`. */
  readonly address: string;
  readonly #secure: boolean;
  readonly #agent: Agent | SecureAgent;

  /** The address of a site, or that of its index. */
  constructor(address: string) {
    const url = new URL(address);
    this.#secure = url.protocol === 'https:';
    this.address = new URL(url.pathname.replace(/\/*(simple\/?)?$/, '/'), url.origin).href;
    this.#agent = this.#secure ? new SecureAgent({ keepAlive: true }) : new Agent({ keepAlive: true });
  }

  /** One answer. Raises PIW_UNREACHABLE. `path` is encoded, and below the address. */
  async ask(path: string, question: Question = {}): Promise<Answer> {
    const response = await this.#response(path, question);
    const pieces: Buffer[] = [];
    let size = 0;
    let cut = false;
    if (question.unread) response.destroy();
    else
      try {
        for await (const piece of response as AsyncIterable<Buffer>) {
          pieces.push(piece);
          size += piece.length;
          if (size > LARGEST)
            throw new PiwError('PIW_TOO_LARGE', `${this.address}${path} is too large for a page`);
        }
      } catch (error) {
        if (error instanceof PiwError) throw error;
        cut = true;
      }
    return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(pieces), cut };
  }

  /** Writes a file's bytes to `to`; gives what came. Raises PIW_UNREACHABLE, also where the line broke. */
  async download(path: string, to: string): Promise<{ status: number; sha256: string; size: number }> {
    const response = await this.#response(path, { headers: { 'accept-encoding': 'identity' } });
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

  #response(path: string, { accept, method = 'GET', headers = {} }: Question): Promise<IncomingMessage> {
    const all = {
      'user-agent': `piw/${VERSION} check`,
      'accept-encoding': 'identity',
      ...(accept === undefined ? {} : { accept }),
      ...headers,
    };
    return new Promise((resolve, reject) => {
      const ask = this.#secure ? securely : plainly;
      const asked = ask(this.address + path, { method, headers: all, agent: this.#agent, timeout: PATIENCE });
      asked.on('response', resolve);
      asked.on('timeout', () => asked.destroy(new Error('it did not answer in time')));
      asked.on('error', (error) => {
        reject(this.#unreachable(path, error));
      });
      asked.end();
    });
  }

  #unreachable(path: string, error: unknown): PiwError {
    return new PiwError('PIW_UNREACHABLE', `${this.address}${path} can't be read: ${reason(error)}`, {
      cause: error,
    });
  }
}

/** A header's values, in lower case. */
export function words(headers: IncomingHttpHeaders, name: string): readonly string[] {
  const value = headers[name];
  const text = Array.isArray(value) ? value.join(',') : (value ?? '');
  return text
    .toLowerCase()
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
}

/** The type of an answer, without its parameters. */
export const typeOf = (headers: IncomingHttpHeaders): string =>
  (headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
