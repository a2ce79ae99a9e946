import { readFileSync } from 'node:fs';
import type { Server } from 'node:http';
import type { Socket } from 'node:net';

export interface ConnectionLimits {
  /** Connections that one address may have open; uv has up to 50. */
  readonly perAddress: number;
  /** Connections that may be open in all; each may have a file open besides. */
  readonly total: number;
  /** How long a client may take less of its answer than `minRate` asks for, milliseconds. */
  readonly stalledMs: number;
  /** The slowest that an answer may be taken, bytes a second. */
  readonly minRate: number;
}

const MAX_PER_ADDRESS = 128;
const MAX_TOTAL = 4096;
/** Files that are open besides connections and what they are answered with. */
const RESERVED_FILES = 64;
const STALL_TIMEOUT_MS = 30_000;
const MIN_RATE_BYTES_PER_S = 1000;
/** How often connections are looked at, milliseconds. */
const CHECK_INTERVAL_MS = 500;
/** A connection on which nothing has moved for so long makes room for a new one, milliseconds. */
const MIN_IDLE_MS = 1000;
const BUSY =
  'HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n';

interface ClientConnection {
  readonly socket: Socket;
  readonly address: string;
  /** Bytes that it had moved when it was last looked at, and since when that is so. */
  bytesMoved: number;
  lastMovedAt: number;
  /** Set while an answer is sent: the bytes sent when its rate was last measured, and when that was. */
  answer: { sent: number; since: number } | undefined;
}

/**
 * The open connections of a web server, and how many of them each client's address has. No address can use up the
 * server's files, nor keep others waiting:
 *
 * - An address has at most `perAddress` connections, and all of them at most `total`. A new one beyond that takes the
 *   place of the one that has stood still the longest: of the same address, or else of the address that has the most
 *   of them. Where none stands still, the new one is answered 503.
 * - Who takes an answer more slowly than `minRate`, over `stalledMs`, is disconnected, and its file is closed.
 */
export class ConnectionLimiter {
  readonly #limits: ConnectionLimits;
  readonly #byAddress = new Map<string, Map<Socket, ClientConnection>>();
  readonly #timer: NodeJS.Timeout;
  #count = 0;

  constructor(server: Server, limits: Partial<ConnectionLimits> = {}) {
    this.#limits = {
      ...{
        perAddress: MAX_PER_ADDRESS,
        total: defaultTotalLimit(),
        stalledMs: STALL_TIMEOUT_MS,
        minRate: MIN_RATE_BYTES_PER_S,
      },
      ...limits,
    };
    server.on('connection', (socket: Socket) => {
      this.#admit(socket);
    });
    this.#timer = setInterval(
      () => {
        this.#checkRates();
      },
      Math.min(CHECK_INTERVAL_MS, this.#limits.stalledMs / 3),
    ).unref();
    server.once('close', () => {
      clearInterval(this.#timer);
    });
  }

  /** An answer to this client begins; it is over when the function that is returned is called. */
  trackAnswer(socket: Socket): () => void {
    const connection = this.#byAddress.get(clientAddress(socket))?.get(socket);
    if (!connection) return () => undefined;
    const answer = { sent: socket.bytesWritten, since: performance.now() };
    connection.answer = answer;
    return () => {
      if (connection.answer === answer) connection.answer = undefined;
    };
  }

  #admit(socket: Socket): void {
    const address = clientAddress(socket);
    const addressConnections = this.#byAddress.get(address) ?? new Map<Socket, ClientConnection>();
    const addressFull = addressConnections.size >= this.#limits.perAddress;
    if (
      (addressFull || this.#count >= this.#limits.total) &&
      !this.#evictIdlest(addressFull ? addressConnections : this.#largestAddress())
    ) {
      // The response that Node would make to a request of it goes nowhere.
      socket.end(BUSY, () => socket.destroy());
      return;
    }
    const now = performance.now();
    this.#byAddress.set(address, addressConnections);
    addressConnections.set(socket, { socket, address, bytesMoved: 0, lastMovedAt: now, answer: undefined });
    this.#count += 1;
    socket.once('close', () => {
      this.#remove(socket, address);
    });
  }

  #remove(socket: Socket, address: string): void {
    const addressConnections = this.#byAddress.get(address);
    if (addressConnections?.delete(socket) !== true) return;
    this.#count -= 1;
    if (addressConnections.size === 0) this.#byAddress.delete(address);
  }

  /** Ends the connection that has stood still the longest; false if none does. */
  #evictIdlest(connections: ReadonlyMap<Socket, ClientConnection>): boolean {
    let idlest: ClientConnection | undefined;
    for (const connection of connections.values())
      if (!idlest || connection.lastMovedAt < idlest.lastMovedAt) idlest = connection;
    if (!idlest || performance.now() - idlest.lastMovedAt < MIN_IDLE_MS) return false;
    this.#remove(idlest.socket, idlest.address);
    idlest.socket.destroy();
    return true;
  }

  /** The connections of the address that has the most. */
  #largestAddress(): ReadonlyMap<Socket, ClientConnection> {
    let largest: ReadonlyMap<Socket, ClientConnection> = new Map();
    for (const own of this.#byAddress.values()) if (own.size > largest.size) largest = own;
    return largest;
  }

  #checkRates(): void {
    const now = performance.now();
    for (const own of this.#byAddress.values())
      for (const connection of own.values()) {
        const { socket, answer } = connection;
        const totalBytes = socket.bytesRead + socket.bytesWritten;
        if (totalBytes !== connection.bytesMoved)
          [connection.bytesMoved, connection.lastMovedAt] = [totalBytes, now];
        if (answer) this.#enforceMinRate(connection, answer, now);
      }
  }

  #enforceMinRate({ socket }: ClientConnection, answer: { sent: number; since: number }, now: number): void {
    const { stalledMs, minRate } = this.#limits;
    if (now - answer.since < stalledMs) return;
    if (socket.bytesWritten - answer.sent < (minRate * stalledMs) / 1000) socket.destroy();
    else [answer.sent, answer.since] = [socket.bytesWritten, now];
  }
}

/** The client's address; `unknown` for a connection that has ended already. */
export const clientAddress = (socket: Socket): string =>
  (socket.remoteAddress ?? 'unknown').replace(/^::ffff:(?=\d+\.)/, '');

/** Connections that this process may have open, each with a file, by its limit of open files. */
function defaultTotalLimit(): number {
  let files = 1024;
  try {
    files = Number(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? files);
  } catch {
    // No Linux: what is the least anywhere.
  }
  return Math.max(16, Math.min(MAX_TOTAL, Math.floor((files - RESERVED_FILES) / 2)));
}
