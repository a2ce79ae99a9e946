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
const READ_BUFFER_BYTES = 256 * 1024;
/** Of so many bytes on, a message is large: it isn't copied. */
const LARGE_MESSAGE_BYTES = 64 * 1024;
/** How many rooms of large messages are kept for others. */
const MAX_FREE_BUFFERS = 16;
/** Bytes that are copied at once of what isn't the middle of a message. */
const MAX_COPY_BYTES = 16 * 1024;

/** Buffers that sockets read into, and whether what is in them has been parsed. */
const readBuffers = new WeakMap<ArrayBufferLike, { parsed: boolean }>();
/** Of large messages. */
const largeBuffers = new BufferPool(MAX_FREE_BUFFERS, LARGE_MESSAGE_BYTES);

/** As `connect` of the library. */
export async function connectNats(options: ConnectionOptions): Promise<NatsConnection> {
  setTransportFactory({ factory: () => new SharedBufferTransport(), dnsResolveFn: nodeResolveHost });
  return await NatsConnectionImpl.connect(options);
}

/** The bytes of a message are done with: nobody may look at them any more. */
export function releaseBuffer(bytes: Uint8Array): void {
  largeBuffers.release(bytes);
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
class SharedBufferTransport extends NodeTransport {
  #rawSocket: Socket | undefined;
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
    for (const socket of [this.socket, this.#rawSocket]) {
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
        ...(this.options.tls ? {} : { onread: this.#readOptions() }),
      });
      this.#rawSocket = socket;
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

  #readOptions(): OnReadOpts {
    const buffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);
    const state = { parsed: true };
    readBuffers.set(buffer.buffer, state);
    return {
      buffer,
      // Node comes back here only when everything has run that waited for these bytes, so that they have been
      // parsed by then.
      callback: (count) => {
        if (!state.parsed) {
          this.#rawSocket?.destroy(new Error('bytes came before those that came before them were read'));
          return false;
        }
        // The greeting is looked at before there is a parser.
        state.parsed = !this.connected;
        const bytes = buffer.subarray(0, count);
        this.#rawSocket?.emit('data', this.connected ? bytes : Buffer.from(bytes));
        return true;
      },
    };
  }
}

const parser: { parse(this: Parser, bytes: Uint8Array): void } = Parser.prototype;
// eslint-disable-next-line @typescript-eslint/unbound-method
const { parse: originalParse } = parser;
parser.parse = function (bytes) {
  parseShared(this, bytes, (slice) => {
    originalParse.call(this, slice);
  });
};
const handler = ProtocolHandler.prototype as unknown as { flushPending(this: ProtocolHandler): void };
// eslint-disable-next-line @typescript-eslint/unbound-method
const { flushPending: originalFlushPending } = handler;
handler.flushPending = function () {
  if (!writeUncopied(this)) originalFlushPending.call(this);
};

/**
 * What the parser finds whole stays in the buffer that it came in. So of a buffer that is read into again, it gets the
 * middle of a message, which it copies, as it is, and anything else as a copy, and little of that: behind it, the
 * middle of a large message may begin.
 */
function parseShared(
  parserState: Partial<Parser>,
  bytes: Uint8Array,
  parse: (bytes: Uint8Array) => void,
): void {
  const readState = readBuffers.get(bytes.buffer);
  if (!readState) {
    parse(bytes);
    growMessageBuffer(parserState);
    return;
  }
  readState.parsed = true;
  for (let offset = 0; offset < bytes.length;) {
    const { ma, msgBuf } = parserState;
    const missing = ma && msgBuf ? ma.size - msgBuf.length : 0;
    const slice = bytes.subarray(offset, offset + (missing > 0 ? missing : MAX_COPY_BYTES));
    parse(missing > 0 ? slice : Buffer.from(slice));
    growMessageBuffer(parserState);
    offset += slice.length;
  }
}

/** A message that has begun to come has room for all of it. */
function growMessageBuffer({ ma, msgBuf }: Partial<Parser>): void {
  const size = ma?.size ?? 0;
  if (!msgBuf || msgBuf._buf.buffer.byteLength >= size) return;
  const buffer = new Uint8Array(
    size < LARGE_MESSAGE_BYTES ? new ArrayBuffer(size) : largeBuffers.acquire(size),
    0,
    msgBuf._buf.length,
  );
  buffer.set(msgBuf._buf);
  msgBuf._buf = buffer;
}

/** Writes what is pending as it is, where something large is in it. */
function writeUncopied({ infoReceived, connected, outbound, transport }: ProtocolHandler): boolean {
  if (!infoReceived || !connected || transport.isClosed || !(transport instanceof SharedBufferTransport))
    return false;
  if (!outbound.buffers.some(({ length }) => length >= LARGE_MESSAGE_BYTES)) return false;
  const { socket } = transport;
  outbound.byteLength = 0;
  socket.cork();
  for (const bytes of outbound.buffers.splice(0)) socket.write(bytes);
  socket.uncork();
  return true;
}
