import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { PiwError, reason } from '../errors.js';
import { answer } from './web/answer.js';
import { Connections, addressOf, type ConnectionLimits } from './web/connections.js';
import { send } from './web/give.js';
import { inTurn } from './web/turns.js';

/** How long a client may take for its headers, and for all of a request, milliseconds; and how often that is looked at. */
const ASKING = { headersTimeout: 10_000, requestTimeout: 30_000, connectionsCheckingInterval: 5000 };
/** How long a connection without a request stays open, milliseconds. */
const KEPT_MS = 5000;

/** A request that was answered whole. */
export interface Answered {
  /** When it was answered, milliseconds since 1970. */
  readonly time: number;
  readonly host: string;
  readonly method: string;
  readonly url: string;
  readonly status: number;
  readonly agent: string;
}

export interface WebServer {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * The farm's own small web server: it hands out what stands under `root`, and nothing else. Throws
 * PIW_PORT_IN_USE. Port 0: any that is free. `limits`: of connections, see web/connections.ts. `onFault` hears of what
 * should not have happened; who asked is told only that it did. `onAnswered` hears of each answer that was sent whole.
 */
export async function startWebServer(options: {
  readonly root: string;
  readonly host: string;
  readonly port: number;
  readonly limits?: Partial<ConnectionLimits>;
  readonly onFault?: (text: string) => void;
  readonly onAnswered?: (answered: Answered) => void;
}): Promise<WebServer> {
  const server = createServer({ ...ASKING, keepAliveTimeout: KEPT_MS }, (request, response) => {
    // One of a connection that was refused.
    if (!request.socket.writable) return;
    const host = addressOf(request.socket);
    response.once('close', () => {
      if (response.writableFinished) options.onAnswered?.(answeredOf(host, request, response));
    });
    inTurn(request, response, async () => {
      response.once('close', connections.answering(request.socket));
      try {
        await answer(options.root, request, response);
      } catch (error) {
        options.onFault?.(`${request.url ?? ''} could not be answered: ${reason(error)}`);
        if (response.headersSent) response.destroy();
        else send(response, 500, 'text/plain', 'Something is wrong here.\n');
      }
    });
  });
  const connections = new Connections(server, options.limits);
  const port = await listen(server, options.host, options.port);
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeIdleConnections();
        setTimeout(() => {
          server.closeAllConnections();
        }, 2000).unref();
      }),
  };
}

function answeredOf(host: string, request: IncomingMessage, response: ServerResponse): Answered {
  const { method = '', url = '', headers } = request;
  const agent = headers['user-agent'] ?? '';
  return { time: Date.now(), host, method, url, status: response.statusCode, agent };
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE')
        reject(new PiwError('PIW_PORT_IN_USE', `port ${String(port)} is taken by another program`));
      else if (error.code === 'EACCES')
        reject(new PiwError('PIW_PORT_IN_USE', `port ${String(port)} is not for this user`));
      else reject(error);
    });
    server.listen(port, host, () => {
      const address = server.address();
      resolve(address !== null && typeof address === 'object' ? address.port : port);
    });
  });
}
