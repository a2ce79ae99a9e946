import { createPrivateKey, sign } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { parseAddress } from '../../src/bus/address.js';
import { publicKeyOf } from '../../src/bus/nkey.js';
import { until } from './bus.js';

/** A received message. */
interface RawMessage {
  readonly subject: string;
  readonly body: Buffer;
}

export interface RawRequestOptions {
  readonly reply?: string;
  /** The header block as it is sent, including its final empty line. */
  readonly headers?: string | Buffer;
  /** The announced length of the header block, bytes; by default its real length. */
  readonly headerLength?: number;
  readonly timeoutMs?: number;
}

/** Fields of CONNECT with other values than the honest ones. */
interface ConnectOverrides {
  readonly nkey?: string;
  readonly sig?: string;
  readonly user?: string;
  readonly pass?: string;
}

/**
 * A bare NATS client: it sends exactly what a test tells it to, and records the server's errors. The address has to
 * be that of a user with an nkey.
 */
export class RawNats {
  readonly user: string;
  /** The texts of the server's -ERR messages. */
  readonly errors: string[] = [];
  readonly received: RawMessage[] = [];
  #socket: Socket;
  #buffer: Buffer = Buffer.alloc(0);
  #pongs = 0;
  #idCounter = 0;
  #closed = false;
  #nonce: string | undefined;
  readonly #pendingRequests = new Map<string, (message: RawMessage) => void>();

  private constructor(user: string, socket: Socket) {
    this.user = user;
    this.#socket = socket;
    socket.on('data', (data) => {
      this.#buffer = this.#buffer.length === 0 ? data : Buffer.concat([this.#buffer, data]);
      this.#parseBuffer();
    });
    socket.on('close', () => (this.#closed = true));
    socket.on('error', () => (this.#closed = true));
  }

  get closed(): boolean {
    return this.#closed;
  }

  static async connect(address: string, overrides: ConnectOverrides = {}): Promise<RawNats> {
    const { servers, seed = '', user = '' } = parseAddress(address);
    const [host, port] = (servers[0] ?? '').split(':');
    const client = new RawNats(user, connect(Number(port), host));
    await until(() => client.#nonce !== undefined || client.closed);
    const nkey = publicKeyOf(seed);
    const sig = sign(null, Buffer.from(client.#nonce ?? ''), privateKeyOf(seed)).toString('base64url');
    const options = { verbose: false, pedantic: false, protocol: 1, headers: true, no_responders: true };
    client.write(
      `CONNECT ${JSON.stringify({ ...options, lang: 'raw', version: '0', nkey, sig, ...overrides })}\r\n`,
    );
    await client.flush();
    client.write(`SUB _INBOX_${user}.> 1\r\n`);
    return client;
  }

  write(data: string | Buffer): void {
    if (!this.#closed) this.#socket.write(data);
  }

  publish(
    subject: string,
    body: string | Uint8Array,
    { reply = '', headers, headerLength }: RawRequestOptions = {},
  ): void {
    const bytes = Buffer.from(body);
    const subjects = reply === '' ? subject : `${subject} ${reply}`;
    if (headers === undefined)
      this.write(Buffer.concat([Buffer.from(`PUB ${subjects} ${bytes.length}\r\n`), bytes, CRLF]));
    else {
      const head = Buffer.from(headers);
      const lengths = `${headerLength ?? head.length} ${head.length + bytes.length}`;
      this.write(Buffer.concat([Buffer.from(`HPUB ${subjects} ${lengths}\r\n`), head, bytes, CRLF]));
    }
  }

  subscribe(subject: string, queue = ''): void {
    this.write(`SUB ${subject} ${queue} ${(this.#idCounter += 1) + 1}\r\n`);
  }

  /** Sends a request and returns its answer; undefined if none came in time. */
  async ask(
    subject: string,
    body: string | Uint8Array,
    options: RawRequestOptions = {},
  ): Promise<Buffer | undefined> {
    if (this.#closed) throw new Error(`the server has ended the connection: ${this.errors.join()}`);
    const reply = `_INBOX_${this.user}.raw.${(this.#idCounter += 1)}`;
    const answer = new Promise<Buffer | undefined>((resolve) => {
      const timer = setTimeout(() => {
        this.#pendingRequests.delete(reply);
        resolve(undefined);
      }, options.timeoutMs ?? 10_000);
      this.#pendingRequests.set(reply, ({ body: responseBody }) => {
        clearTimeout(timer);
        resolve(responseBody);
      });
    });
    this.publish(subject, body, { ...options, reply });
    return await answer;
  }

  /** Waits until the server has read everything sent so far, or has closed the connection. */
  async flush(): Promise<void> {
    const before = this.#pongs;
    this.write('PING\r\n');
    await until(() => this.#pongs > before || this.#closed, 60_000);
  }

  /** Waits, if more than 1 MB is buffered, until most of it has been sent. */
  async waitForDrain(): Promise<void> {
    if (this.#socket.writableLength < 1024 * 1024) return;
    await until(() => this.#socket.writableLength < 64 * 1024 || this.#closed, 60_000);
  }

  close(): void {
    this.#socket.destroy();
  }

  #parseBuffer(): void {
    for (;;) {
      const end = this.#buffer.indexOf('\r\n');
      if (end < 0) return;
      const line = this.#buffer.subarray(0, end).toString('latin1');
      const [verb, ...rest] = line.split(' ');
      if (verb !== 'MSG' && verb !== 'HMSG') {
        this.#buffer = this.#buffer.subarray(end + 2);
        this.#handleLine(line);
        continue;
      }
      const total = Number(rest.at(-1));
      if (this.#buffer.length < end + 2 + total + 2) return;
      const head = verb === 'HMSG' ? Number(rest.at(-2)) : 0;
      const body = Buffer.from(this.#buffer.subarray(end + 2 + head, end + 2 + total));
      this.#buffer = this.#buffer.subarray(end + 2 + total + 2);
      const message = { subject: rest[0] ?? '', body };
      const resolveRequest = this.#pendingRequests.get(message.subject);
      this.#pendingRequests.delete(message.subject);
      if (resolveRequest) resolveRequest(message);
      else this.received.push(message);
    }
  }

  #handleLine(line: string): void {
    if (line.startsWith('INFO')) {
      const info = JSON.parse(line.slice(5)) as { nonce?: string };
      this.#nonce ??= info.nonce ?? '';
    } else if (line === 'PING') this.write('PONG\r\n');
    else if (line === 'PONG') this.#pongs += 1;
    else if (line.startsWith('-ERR')) this.errors.push(line.slice(5));
  }
}

const CRLF = Buffer.from('\r\n');

/** Returns the private key of a seed, which is base32 of a prefix of two bytes and the key's 32 bytes. */
function privateKeyOf(seed: string) {
  const bits = seed
    .split('')
    .map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0'))
    .join('');
  const bytes = Buffer.from(bits.match(/.{8}/g)?.map((byte) => parseInt(byte, 2)) ?? []);
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), bytes.subarray(2, 34)]);
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
}
