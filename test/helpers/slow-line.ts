/**
 * A line to a server that is so many milliseconds long: what comes from either side is handed on that much later,
 * in the same order, as fast as it came. As a process (`node slow-line.js PORT DELAY_MS`) it says its port by IPC.
 */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { pathToFileURL } from 'node:url';

export interface SlowLine {
  readonly port: number;
  /** Cuts every connection, without a word to either side. */
  cut(): void;
  close(): Promise<void>;
}

/** What may be on its way in one direction, bytes; more waits in the sender's socket. */
const IN_FLIGHT = 64 * 1024 * 1024;

/** `delayMs` is for one direction. */
export async function slowLine(port: number, delayMs: number, host = '127.0.0.1'): Promise<SlowLine> {
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ port, host, noDelay: true });
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      hold(from, to, delayMs);
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

/** Hands on what `from` gives, each piece `delayMs` after it came. */
function hold(from: Socket, to: Socket, delayMs: number): void {
  const waiting: { readonly due: number; readonly data: Buffer }[] = [];
  let held = 0;
  let timer: NodeJS.Timeout | undefined;
  const hand = (): void => {
    timer = undefined;
    const now = performance.now();
    for (let next = waiting[0]; next !== undefined && next.due <= now; next = waiting[0]) {
      waiting.shift();
      held -= next.data.length;
      to.write(next.data);
    }
    if (from.isPaused() && held < IN_FLIGHT) from.resume();
    const next = waiting[0];
    if (next) timer = setTimeout(hand, Math.max(0, next.due - now));
  };
  from.on('data', (data) => {
    waiting.push({ due: performance.now() + delayMs, data });
    held += data.length;
    if (held >= IN_FLIGHT) from.pause();
    timer ??= setTimeout(hand, delayMs);
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [port = 0, delayMs = 0] = process.argv.slice(2).map(Number);
  process.send?.({ port: (await slowLine(port, delayMs)).port });
  process.once('disconnect', () => process.exit());
}
