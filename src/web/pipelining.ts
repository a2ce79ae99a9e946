import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { KeyedQueues } from '../concurrency/keyed-queues.js';

/** How many requests may wait on one connection; installers and browsers send one at a time. */
const MAX_QUEUED_REQUESTS = 100;

const queues = new KeyedQueues<Socket>();

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
  if (queues.length(socket) > MAX_QUEUED_REQUESTS) {
    socket.destroy();
    return;
  }
  void queues.run(socket, async () => {
    // The client is gone.
    if (response.socket === null || response.socket.destroyed) return;
    const closed = new Promise<void>((resolve) => response.once('close', resolve));
    await answer();
    await closed;
  });
}
