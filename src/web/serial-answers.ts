import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** So many requests may wait on one connection; installers and browsers have one at a time. */
const MAX_QUEUED_REQUESTS = 100;

/** What waits on each connection. */
const serialQueues = new WeakMap<Socket, { last: Promise<void>; waiting: number }>();

/**
 * Answers the requests of one connection one after the other. A client may send more before it has read its first
 * answer (pipelining), and Node hands over all of them as they come. Begun at once, each would hold an open file for
 * as long as the client likes, and for ever if the connection ends before its turn has come. A connection on which
 * too many wait is ended. `answer` raises nothing, and ends the response.
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
    // Nobody is there to be answered any more.
    if (response.socket === null || response.socket.destroyed) return;
    const closed = new Promise<void>((resolve) => response.once('close', resolve));
    await answer();
    await closed;
  });
}
