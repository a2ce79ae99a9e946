import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { PiwError, errorMessage } from '../errors.js';
import { answerRequest } from './answer.js';
import { ConnectionLimiter, clientAddress, type ConnectionLimits } from './connections.js';
import { sendText } from './responses.js';
import { answerSerially } from './serial-answers.js';

/** How long a client may take for its headers, and for all of a request, milliseconds; and how often that is looked at. */
const HTTP_TIMEOUTS = { headersTimeout: 10_000, requestTimeout: 30_000, connectionsCheckingInterval: 5000 };
/** How long a connection without a request stays open, milliseconds. */
const KEEP_ALIVE_MS = 5000;

/** A request that was answered whole. */
export interface AnsweredRequest {
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
  readonly onAnswered?: (answered: AnsweredRequest) => void;
}): Promise<WebServer> {
  const server = createServer({ ...HTTP_TIMEOUTS, keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
    // One of a connection that was refused.
    if (!request.socket.writable) return;
    const host = clientAddress(request.socket);
    response.once('close', () => {
      if (response.writableFinished) options.onAnswered?.(describeAnswer(host, request, response));
    });
    answerSerially(request, response, async () => {
      response.once('close', connections.trackAnswer(request.socket));
      try {
        await answerRequest(options.root, request, response);
      } catch (error) {
        options.onFault?.(`${request.url ?? ''} could not be answered: ${errorMessage(error)}`);
        if (response.headersSent) response.destroy();
        else sendText(response, 500, 'text/plain', 'Something is wrong here.\n');
      }
    });
  });
  const connections = new ConnectionLimiter(server, options.limits);
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

function describeAnswer(host: string, request: IncomingMessage, response: ServerResponse): AnsweredRequest {
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
