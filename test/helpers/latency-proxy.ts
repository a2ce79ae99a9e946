/**
 * A proxy that delays each direction of a connection by a number of milliseconds, without limiting its bandwidth. As a
 * process (`node latency-proxy.js PORT DELAY_MS`) it sends its port over IPC.
 */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { pathToFileURL } from 'node:url';

export interface LatencyProxy {
  readonly port: number;
  /** Destroys every connection. */
  cut(): void;
  /** Stops forwarding on the connections that there are. */
  stall(): void;
  close(): Promise<void>;
}

/** How many bytes may be delayed in one direction; more wait in the sender's socket. */
const MAX_IN_FLIGHT_BYTES = 64 * 1024 * 1024;

/** Starts a proxy to `port`; `delayMs` is the delay of each direction. */
export async function startLatencyProxy(
  port: number,
  delayMs: number,
  host = '127.0.0.1',
): Promise<LatencyProxy> {
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port, host, noDelay: true });
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      forwardDelayed(from, to, delayMs);
      from.once('error', () => to.destroy());
      from.once('close', () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
    stall: () => {
      for (const socket of sockets) socket.removeAllListeners('data').pause();
    },
    close: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) =>
        server.close(() => {
          resolve();
        }),
      );
    },
  };
}

/** Forwards each chunk of data `delayMs` after it has arrived. */
function forwardDelayed(from: Socket, to: Socket, delayMs: number): void {
  const queue: { readonly due: number; readonly data: Buffer }[] = [];
  let queuedBytes = 0;
  let timer: NodeJS.Timeout | undefined;
  const flush = (): void => {
    timer = undefined;
    const now = performance.now();
    for (let next = queue[0]; next !== undefined && next.due <= now; next = queue[0]) {
      queue.shift();
      queuedBytes -= next.data.length;
      to.write(next.data);
    }
    if (from.isPaused() && queuedBytes < MAX_IN_FLIGHT_BYTES) from.resume();
    const next = queue[0];
    if (next) timer = setTimeout(flush, Math.max(0, next.due - now));
  };
  from.on('data', (data) => {
    queue.push({ due: performance.now() + delayMs, data });
    queuedBytes += data.length;
    if (queuedBytes >= MAX_IN_FLIGHT_BYTES) from.pause();
    timer ??= setTimeout(flush, delayMs);
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [port = 0, delayMs = 0] = process.argv.slice(2).map(Number);
  process.send?.({ port: (await startLatencyProxy(port, delayMs)).port });
  process.once('disconnect', () => process.exit());
}
