import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { PiwError } from '../errors.js';
import type { LogMethod } from '../log.js';
import { answerRequest } from './answer.js';
import { ConnectionLimiter, clientAddress, type ConnectionLimits } from './connections.js';
import { sendText } from './responses.js';
import { answerSerially } from './pipelining.js';

/** The time limits for a request's headers and for the whole request, and how often they are checked, milliseconds. */
const HTTP_TIMEOUTS = { headersTimeout: 10_000, requestTimeout: 30_000, connectionsCheckingInterval: 5000 };
/** How long an idle connection stays open, milliseconds. */
const KEEP_ALIVE_MS = 5000;

/** A request whose answer was sent completely. */
export interface AnsweredRequest {
  /** The time of the answer, milliseconds since 1970. */
  readonly time: number;
  readonly host: string;
  readonly method: string;
  readonly url: string;
  readonly status: number;
  readonly agent: string;
}

interface WebServer {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * Starts the farm's own small web server, which serves the files under `root` and nothing else. Port 0 means any free
 * port. `limits` are those of connections, see web/connections.ts. `onFault` receives the details of an internal error,
 * of which the client sees only status 500. `onAnswered` is called for each answer that was sent completely. Throws
 * PIW_PORT_IN_USE.
 */
export async function startWebServer(options: {
  readonly root: string;
  readonly host: string;
  readonly port: number;
  readonly limits?: Partial<ConnectionLimits>;
  readonly onFault?: LogMethod;
  readonly onAnswered?: (answered: AnsweredRequest) => void;
}): Promise<WebServer> {
  const server = createServer({ ...HTTP_TIMEOUTS, keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
    // The connection was refused (see ConnectionLimiter).
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
        options.onFault?.('request failed', { url: request.url }, error);
        if (response.headersSent) response.destroy();
        else sendText(response, 500, 'text/plain', 'Internal server error.\n');
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
        reject(new PiwError('PIW_PORT_IN_USE', `port ${port} is already in use`));
      else if (error.code === 'EACCES')
        reject(new PiwError('PIW_PORT_IN_USE', `this user is not allowed to listen on port ${port}`));
      else reject(error);
    });
    server.listen(port, host, () => {
      const address = server.address();
      resolve(address !== null && typeof address === 'object' ? address.port : port);
    });
  });
}
