import { createConnection, type OnReadOpts, type Socket } from 'node:net';
import type { ConnectionOptions, NatsConnection } from 'nats';
import { NatsConnectionImpl, setTransportFactory } from 'nats/lib/nats-base-client/internal_mod.js';
import { Parser } from 'nats/lib/nats-base-client/parser.js';
import { ProtocolHandler } from 'nats/lib/nats-base-client/protocol.js';
import { NodeTransport, nodeResolveHost } from 'nats/lib/src/node_transport.js';
import { BufferPool } from './buffer-pool.js';

/*
 * How the client library (nats 2.29) reads and writes its socket, with less garbage. By itself it takes a new
 * buffer for each read, doubles another one as the bytes of a message come, and copies each message before it
 * is written: of 500 MB that pass, that is 2 GB, and the collector takes as much of the processor as everything
 * else. Here one buffer is read into, a large message has room for all of it at once, which is used again where
 * it was given back, and what is large is written as it is.
 *
 * This reaches into the library's own objects, which `nats` is pinned for; test/bus/wire.test.ts holds what is
 * known of them.
 */

/** Bytes that are read at once: fewer calls than with the 64 KB that Node takes by itself. */
const READ = 256 * 1024;
/** Of so many bytes on, a message is large: it isn't copied. */
const LARGE = 64 * 1024;
/** How many rooms of large messages are kept for others. */
const KEPT = 16;
/** Bytes that are copied at once of what isn't the middle of a message. */
const COPIED = 16 * 1024;

/** Buffers that sockets read into, and whether what is in them has been parsed. */
const reading = new WeakMap<ArrayBufferLike, { parsed: boolean }>();
/** Of large messages. */
const rooms = new BufferPool(KEPT, LARGE);

/** As `connect` of the library. */
export async function connectWire(options: ConnectionOptions): Promise<NatsConnection> {
  setTransportFactory({ factory: () => new Wire(), dnsResolveFn: nodeResolveHost });
  return await NatsConnectionImpl.connect(options);
}

/** The bytes of a message are done with: nobody may look at them any more. */
export function giveBack(bytes: Uint8Array): void {
  rooms.giveBack(bytes);
}

/**
 * The library's own transport, except that a connection without TLS reads into one buffer, and that a transport that
 * was given up has no socket.
 *
 * By itself the library forgets a transport whose server accepts the connection (the kernel does, for a server that
 * hangs) but doesn't greet within the time limit. When the server runs on it greets them all: each forgotten transport
 * then counts as connected, is closed by the server because it never logs in, and that close makes the client open
 * another connection beside the one that it has, with every subscription again, which nothing ever closes.
 */
class Wire extends NodeTransport {
  #raw: Socket | undefined;
  #abandoned = false;

  override async connect(...to: Parameters<NodeTransport['connect']>): Promise<void> {
    await super.connect(...to);
    if (!this.#abandoned) return;
    this.#discard();
    throw new Error('given up');
  }

  /** Closes it in whatever state it is: also while it is being dialled, or waits to be greeted. */
  override async close(error?: Error): Promise<void> {
    if (this.connected) await super.close(error);
    else this.#discard();
  }

  /** Leaves a connection that nothing comes from. The library would first wait until all has been written. */
  override disconnect(): void {
    if (this.connected) void this.close();
  }

  #discard(): void {
    this.#abandoned = true;
    this.done = true;
    for (const socket of [this.socket, this.#raw]) {
      // Between two stages of a connection nobody listens, and an error that nobody hears would end the process.
      socket?.on('error', () => undefined);
      socket?.destroy();
    }
  }

  override dial(to: { hostname: string; port: number }): Promise<Socket> {
    return new Promise((resolve, reject) => {
      let failure: Error | undefined;
      const socket = createConnection({
        ...{ host: to.hostname, port: to.port, noDelay: true },
        ...(this.options.tls ? {} : { onread: this.#intoOneBuffer() }),
      });
      this.#raw = socket;
      socket.once('connect', () => {
        socket.removeAllListeners();
        resolve(socket);
      });
      socket.once('error', (error) => (failure = error));
      socket.once('close', () => {
        reject(failure ?? new Error('closed'));
      });
    });
  }

  #intoOneBuffer(): OnReadOpts {
    const buffer = Buffer.allocUnsafeSlow(READ);
    const state = { parsed: true };
    reading.set(buffer.buffer, state);
    return {
      buffer,
      // Node comes back here only when everything has run that waited for these bytes, so that they have been
      // parsed by then.
      callback: (count) => {
        if (!state.parsed) {
          this.#raw?.destroy(new Error('bytes came before those that came before them were read'));
          return false;
        }
        // The greeting is looked at before there is a parser.
        state.parsed = !this.connected;
        const bytes = buffer.subarray(0, count);
        this.#raw?.emit('data', this.connected ? bytes : Buffer.from(bytes));
        return true;
      },
    };
  }
}

const parser: { parse(this: Parser, bytes: Uint8Array): void } = Parser.prototype;
// eslint-disable-next-line @typescript-eslint/unbound-method
const { parse } = parser;
parser.parse = function (bytes) {
  parseInto(this, bytes, (some) => {
    parse.call(this, some);
  });
};
const handler = ProtocolHandler.prototype as unknown as { flushPending(this: ProtocolHandler): void };
// eslint-disable-next-line @typescript-eslint/unbound-method
const { flushPending } = handler;
handler.flushPending = function () {
  if (!writeLarge(this)) flushPending.call(this);
};

/**
 * What the parser finds whole stays in the buffer that it came in. So of a buffer that is read into again, it gets the
 * middle of a message, which it copies, as it is, and anything else as a copy, and little of that: behind it, the
 * middle of a large message may begin.
 */
function parseInto(its: Partial<Parser>, bytes: Uint8Array, parse: (bytes: Uint8Array) => void): void {
  const shared = reading.get(bytes.buffer);
  if (!shared) {
    parse(bytes);
    makeRoom(its);
    return;
  }
  shared.parsed = true;
  for (let at = 0; at < bytes.length;) {
    const { ma, msgBuf } = its;
    const missing = ma && msgBuf ? ma.size - msgBuf.length : 0;
    const some = bytes.subarray(at, at + (missing > 0 ? missing : COPIED));
    parse(missing > 0 ? some : Buffer.from(some));
    makeRoom(its);
    at += some.length;
  }
}

/** A message that has begun to come has room for all of it. */
function makeRoom({ ma, msgBuf }: Partial<Parser>): void {
  const size = ma?.size ?? 0;
  if (!msgBuf || msgBuf._buf.buffer.byteLength >= size) return;
  const room = new Uint8Array(size < LARGE ? new ArrayBuffer(size) : rooms.take(size), 0, msgBuf._buf.length);
  room.set(msgBuf._buf);
  msgBuf._buf = room;
}

/** Writes what is pending as it is, where something large is in it. */
function writeLarge({ infoReceived, connected, outbound, transport }: ProtocolHandler): boolean {
  if (!infoReceived || !connected || transport.isClosed || !(transport instanceof Wire)) return false;
  if (!outbound.buffers.some(({ length }) => length >= LARGE)) return false;
  const { socket } = transport;
  outbound.byteLength = 0;
  socket.cork();
  for (const bytes of outbound.buffers.splice(0)) socket.write(bytes);
  socket.uncork();
  return true;
}
