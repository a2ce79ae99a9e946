import { createServer, type Server } from 'node:http';
import { PiwError, reason } from '../errors.js';
import { answer } from './web/answer.js';
import { Connections, type ConnectionLimits } from './web/connections.js';
import { send } from './web/give.js';
import { inTurn } from './web/turns.js';

/** How long a client may take for its headers, and for all of a request, milliseconds; and how often that is looked at. */
const ASKING = { headersTimeout: 10_000, requestTimeout: 30_000, connectionsCheckingInterval: 5000 };
/** How long a connection without a request stays open, milliseconds. */
const KEPT_MS = 5000;

export interface WebServer {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * The farm's own small web server: it hands out what stands under `root`, and nothing else. Throws
 * PIW_PORT_IN_USE. Port 0: any that is free. `limits`: of connections, see web/connections.ts. `onFault` hears of what
 * should not have happened; who asked is told only that it did.
 */
export async function startWebServer(options: {
  readonly root: string;
  readonly host: string;
  readonly port: number;
  readonly limits?: Partial<ConnectionLimits>;
  readonly onFault?: (text: string) => void;
}): Promise<WebServer> {
  const server = createServer({ ...ASKING, keepAliveTimeout: KEPT_MS }, (request, response) => {
    // One of a connection that was refused.
    if (!request.socket.writable) return;
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
