import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** How many requests may wait on one connection; installers and browsers send one at a time. */
const MAX_QUEUED_REQUESTS = 100;

/** The queue of each connection. */
const serialQueues = new WeakMap<Socket, { last: Promise<void>; waiting: number }>();

/**
 * Answers the requests of one connection one after the other. A client may pipeline requests: send more before it has
 * read the first answer; and Node emits all of them as they arrive. If all were answered at once, each would keep a file
 * open for as long as the client likes, and for ever if the connection ended before its answer was due. A connection
 * with too many waiting requests is closed. `answer` must not throw, and must end the response.
 */
export function answerSerially(
  { socket }: IncomingMessage,
  response: ServerResponse,
  answer: () => Promise<void>,
): void {
  const serialQueue = serialQueues.get(socket) ?? { last: Promise.resolve(), waiting: 0 };
  serialQueues.set(socket, serialQueue);
  if (serialQueue.waiting >= MAX_QUEUED_REQUESTS) {
    socket.destroy();
    return;
  }
  serialQueue.waiting += 1;
  serialQueue.last = serialQueue.last.then(async () => {
    serialQueue.waiting -= 1;
    // The client is gone.
    if (response.socket === null || response.socket.destroyed) return;
    const closed = new Promise<void>((resolve) => response.once('close', resolve));
    await answer();
    await closed;
  });
}
