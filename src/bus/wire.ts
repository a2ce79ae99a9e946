import { createConnection, type OnReadOpts, type Socket } from 'node:net';
import {
  ErrorCode,
  NatsError,
  connect,
  nuid,
  type ConnectionOptions,
  type Msg,
  type MsgHdrs,
  type NatsConnection,
} from 'nats';
import { NatsConnectionImpl, setTransportFactory } from 'nats/lib/nats-base-client/internal_mod.js';
import { Parser } from 'nats/lib/nats-base-client/parser.js';
import { ProtocolHandler } from 'nats/lib/nats-base-client/protocol.js';
import { NodeTransport, nodeResolveHost } from 'nats/lib/src/node_transport.js';
import { BufferPool } from './buffer-pool.js';

/*
 * Makes the client library (nats 2.29) read, write and send requests with less work. Unpatched, it
 *
 * - allocates a new buffer for each read, grows another one by doubling as the bytes of a message arrive, and copies
 *   each message before it writes it: for 500 MB of traffic that is 2 GB of garbage, and its collection takes as much
 *   CPU time as everything else. Here each socket reads into one buffer, a large message gets a buffer of its full
 *   size at once, which is reused after releaseBuffer(), and large messages are written without a copy;
 * - writes after each message: here once per turn of the event loop;
 * - makes three promises, a timer and an error with a stack trace for each request.
 *
 * Measured with `bench -- publish` on two cores (one run each, 30 s): 17.3 ms of processor time a published build
 * without it, 15.1 ms with it; of that, the Slave Driver 2.17 and 1.74 ms, nats-server 1.67 and 1.35 ms.
 *
 * This reaches into the library's internals. So it is off with any version but the one that it was tested with, and
 * with PIW_NATS_UNPATCHED=1, which is for tests; test/bus/wire.test.ts checks what this file relies on.
 */

/** The version of the library that this was tested with. */
const TESTED_VERSION = '2.29.3';
/** Whether the library is patched. */
export const isPatched =
  new NodeTransport().version === TESTED_VERSION && process.env.PIW_NATS_UNPATCHED !== '1';

/** The size of a read, bytes: fewer calls than with Node's default of 64 KB. */
const READ_BUFFER_BYTES = 256 * 1024;
/** Messages of at least this size, bytes, are not copied. */
const LARGE_MESSAGE_BYTES = 64 * 1024;
/** How many released buffers of large messages are kept for reuse. */
const MAX_FREE_BUFFERS = 20;
/** How many bytes are copied at once outside the middle of a message. */
const MAX_COPY_BYTES = 16 * 1024;

/** The buffers that sockets read into, and whether their contents have been parsed. */
const readBuffers = new WeakMap<ArrayBufferLike, { parsed: boolean }>();
/** The buffers of large messages. */
const largeBuffers = new BufferPool(MAX_FREE_BUFFERS, LARGE_MESSAGE_BYTES);

/** Connects as the library's `connect` does. */
export async function connectNats(options: ConnectionOptions): Promise<NatsConnection> {
  if (!isPatched) return await connect(options);
  setTransportFactory({ factory: () => new SharedBufferTransport(), dnsResolveFn: nodeResolveHost });
  return await NatsConnectionImpl.connect(options);
}

/**
 * Makes a connection to one of several servers try the others first when it breaks. Unpatched, the library first tries
 * the server that it has just lost, and if that was cut off, waits for the time limit of connecting.
 */
export function tryOthersFirst(nc: NatsConnection): void {
  if (!(nc instanceof NatsConnectionImpl) || !isPatched) return;
  const { servers } = nc.protocol;
  // The next server is the first in the list, and a selected one moves to its end.
  if (servers.next() === servers.getCurrentServer()) servers.selectServer();
}

/**
 * Sends one request through `nc`, and calls `settle` once: with the answer, or with the library's error. Returns a
 * function that forgets the request instead. Throws the library's error if it can't be sent.
 */
export function sendRequest(
  nc: NatsConnection,
  subject: string,
  payload: Uint8Array,
  options: { readonly timeoutMs: number; readonly headers: MsgHdrs | undefined },
  settle: (error: unknown, answer?: Msg) => void,
): () => void {
  const headers = options.headers ? { headers: options.headers } : {};
  if (!(nc instanceof NatsConnectionImpl) || !isPatched) {
    void nc.request(subject, payload, { timeout: options.timeoutMs, ...headers }).then(
      (answer) => {
        settle(null, answer);
      },
      (error: unknown) => {
        settle(error);
      },
    );
    return () => undefined;
  }
  nc._check(subject, true, true);
  const { protocol } = nc;
  const { muxSubscriptions } = protocol;
  const forget = (): void => {
    clearTimeout(timer);
    muxSubscriptions.cancel(request);
  };
  const request = {
    token: nuid.next(),
    requestSubject: subject,
    received: 0,
    resolver: (error: Error | null, answer?: Msg): void => {
      forget();
      settle(error, answer);
    },
    cancel: forget,
  };
  const timer = setTimeout(() => {
    request.resolver(NatsError.errorForCode(ErrorCode.Timeout));
  }, options.timeoutMs);
  protocol.request(request);
  try {
    protocol.publish(subject, payload, {
      reply: muxSubscriptions.baseInbox + request.token,
      ...headers,
    });
  } catch (error) {
    forget();
    throw error;
  }
  return forget;
}

/** Releases the buffer of a message for reuse; nobody may read its bytes afterwards. */
export function releaseBuffer(bytes: Uint8Array): void {
  largeBuffers.release(bytes);
}

/**
 * The library's own transport, except that a connection without TLS reads into one buffer, and that an abandoned
 * transport has no socket.
 *
 * Unpatched, the library forgets a transport whose server accepts the connection (the kernel does, for a server that
 * hangs) but does not send its INFO within the time limit. When the server resumes, it sends INFO to all of them.
 * Each forgotten transport then counts as connected until the server closes it because it never authenticates, and
 * that close makes the client open a second connection, with every subscription again, which nothing ever closes.
 */
class SharedBufferTransport extends NodeTransport {
  #rawSocket: Socket | undefined;
  #abandoned = false;

  override async connect(...args: Parameters<NodeTransport['connect']>): Promise<void> {
    await super.connect(...args);
    if (!this.#abandoned) return;
    this.#discard();
    throw new Error('the connection attempt was abandoned');
  }

  /** Closes the transport in any state, also while it dials or waits for the server's INFO. */
  override async close(error?: Error): Promise<void> {
    if (this.connected) await super.close(error);
    else this.#discard();
  }

  /** Closes a connection that delivers nothing. The library would first wait until everything has been written. */
  override disconnect(): void {
    if (this.connected) void this.close();
  }

  #discard(): void {
    this.#abandoned = true;
    this.done = true;
    for (const socket of [this.socket, this.#rawSocket]) {
      // Between two stages of connecting there is no error handler, and an unhandled 'error' would end the process.
      socket?.on('error', () => undefined);
      socket?.destroy();
    }
  }

  override dial(server: { hostname: string; port: number }): Promise<Socket> {
    return new Promise((resolve, reject) => {
      let failure: Error | undefined;
      const socket = createConnection({
        host: server.hostname,
        port: server.port,
        noDelay: true,
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
      // Node calls this again only after everything that waited for these bytes has run, so they have been parsed by
      // then.
      callback: (count) => {
        if (!state.parsed) {
          this.#rawSocket?.destroy(new Error('socket data arrived before the previous read was parsed'));
          return false;
        }
        // The server's INFO is read before there is a parser.
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
interface Handler extends Pick<ProtocolHandler, 'connectedOnce' | 'connectError'> {
  disconnected(this: Handler, error: NatsError | undefined): Promise<void>;
}
const handler = ProtocolHandler.prototype as unknown as Handler & {
  flushPending(this: ProtocolHandler): void;
};
// eslint-disable-next-line @typescript-eslint/unbound-method
const { flushPending: originalFlushPending, disconnected: originalDisconnected } = handler;
if (isPatched) {
  parser.parse = function (bytes) {
    parseShared(this, bytes, (slice) => {
      originalParse.call(this, slice);
    });
  };
  handler.flushPending = function () {
    if (this.outbound.size() >= this.pendingLimit) flush(this);
    else flushLater(this);
  };
  // A server that ends the first connection before it has answered, as it does if it refuses our certificate, says why.
  // Unpatched, the library forgets that, and waits for the time limit of connecting.
  handler.disconnected = async function (error) {
    if (this.connectedOnce || !this.connectError) await originalDisconnected.call(this, error);
    else this.connectError(error ?? NatsError.errorForCode(ErrorCode.Disconnect));
  };
}

/** The connections that will be flushed at the end of the current turn of the event loop. */
const flushedLater = new WeakSet<ProtocolHandler>();

/**
 * Writes what is pending at the end of this turn of the event loop. The library does so at the first microtask: an
 * actor that answers twenty messages in one turn then makes twenty system calls, each of which costs more than the
 * message.
 */
function flushLater(connection: ProtocolHandler): void {
  if (flushedLater.has(connection)) return;
  flushedLater.add(connection);
  setImmediate(() => {
    flushedLater.delete(connection);
    flush(connection);
  });
}

function flush(connection: ProtocolHandler): void {
  if (!writeUncopied(connection)) originalFlushPending.call(connection);
}

/**
 * Parses bytes from a buffer that the socket will read into again. A message that the parser finds complete stays in
 * the buffer in which it arrived, but the parser copies the middle of a message itself. So it gets the middle of a
 * message without a copy, and everything else as a copy, in small slices, because the middle of a large message may
 * begin after any of them.
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

/** Replaces the buffer of a partly received message with one that is large enough for all of it. */
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

/** Writes what is pending without copying it, if a large message is in it; returns whether it did. */
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
