import { readFileSync } from 'node:fs';
import type { Server } from 'node:http';
import type { Socket } from 'node:net';

export interface ConnectionLimits {
  /** Connections that one address may have open; uv has up to 50. */
  readonly perAddress: number;
  /** Connections that may be open in total; each may also have a file open. */
  readonly total: number;
  /** The period over which an answer's rate is measured, milliseconds. */
  readonly stalledMs: number;
  /** The lowest rate at which a client may receive its answer, bytes per second. */
  readonly minRate: number;
}

const MAX_PER_ADDRESS = 128;
const MAX_TOTAL = 4096;
/** Open files other than connections and the files that they are answered with. */
const RESERVED_FILES = 64;
const STALL_TIMEOUT_MS = 30_000;
const MIN_RATE_BYTES_PER_S = 1000;
/** How often connections are checked, milliseconds. */
const CHECK_INTERVAL_MS = 500;
/** A connection that has been idle for this long may be closed for a new one, milliseconds. */
const MIN_IDLE_MS = 1000;
const BUSY =
  'HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n';

interface ClientConnection {
  readonly socket: Socket;
  readonly address: string;
  /** The bytes read and written at the last check, and when that number last changed. */
  bytesMoved: number;
  lastMovedAt: number;
  /** Set while an answer is being sent: the bytes sent at the last measurement of its rate, and the time of it. */
  answer: { sent: number; since: number } | undefined;
}

/**
 * Limits the open connections of a web server, in total and per client address. No address can use up the server's
 * file descriptors or keep others waiting:
 *
 * - One address has at most `perAddress` connections, and all addresses together at most `total`. A connection beyond
 *   that replaces the one that has been idle the longest: of the same address, or, if the total is reached, of the
 *   address with the most connections. If none is idle, the new connection is answered with 503.
 * - A client that receives its answer more slowly than `minRate`, over `stalledMs`, is disconnected, and its file is
 *   closed.
 */
export class ConnectionLimiter {
  readonly #limits: ConnectionLimits;
  readonly #byAddress = new Map<string, Map<Socket, ClientConnection>>();
  readonly #timer: NodeJS.Timeout;
  #count = 0;

  constructor(server: Server, limits: Partial<ConnectionLimits> = {}) {
    this.#limits = {
      perAddress: MAX_PER_ADDRESS,
      total: defaultTotalLimit(),
      stalledMs: STALL_TIMEOUT_MS,
      minRate: MIN_RATE_BYTES_PER_S,
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

  /** Marks the beginning of an answer to this client; the function that it returns marks the end. */
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
      // Node may still emit a request of this connection; the web server ignores it.
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

  /** Closes the connection that has been idle the longest; returns false if none is idle. */
  #evictIdlest(connections: ReadonlyMap<Socket, ClientConnection>): boolean {
    let idlest: ClientConnection | undefined;
    for (const connection of connections.values())
      if (!idlest || connection.lastMovedAt < idlest.lastMovedAt) idlest = connection;
    if (!idlest || performance.now() - idlest.lastMovedAt < MIN_IDLE_MS) return false;
    this.#remove(idlest.socket, idlest.address);
    idlest.socket.destroy();
    return true;
  }

  /** Returns the connections of the address with the most. */
  #largestAddress(): ReadonlyMap<Socket, ClientConnection> {
    let largest: ReadonlyMap<Socket, ClientConnection> = new Map();
    for (const connections of this.#byAddress.values())
      if (connections.size > largest.size) largest = connections;
    return largest;
  }

  #checkRates(): void {
    const now = performance.now();
    for (const connections of this.#byAddress.values())
      for (const connection of connections.values()) {
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

/** Returns the client's address; `unknown` if the connection has already ended. */
export const clientAddress = (socket: Socket): string =>
  (socket.remoteAddress ?? 'unknown').replace(/^::ffff:(?=\d+\.)/, '');

/** Returns how many connections, each with an open file, this process's limit of open files allows. */
function defaultTotalLimit(): number {
  let files = 1024;
  try {
    files = Number(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? files);
  } catch {
    // Not Linux: assume a limit that every system allows.
  }
  return Math.max(16, Math.min(MAX_TOTAL, Math.floor((files - RESERVED_FILES) / 2)));
}
