import { createServer, type Server } from 'node:http';
import { PiwError, reason } from '../errors.js';
import { answer } from './web/answer.js';
import { send } from './web/give.js';

export interface WebServer {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * The farm's own small web server: it hands out what stands under `root`, and nothing else. Raises
 * PIW_PORT_IN_USE. Port 0: any that is free.
 */
export async function startWebServer(options: {
  readonly root: string;
  readonly host: string;
  readonly port: number;
}): Promise<WebServer> {
  const server = createServer(
    { requestTimeout: 30_000, headersTimeout: 10_000, keepAliveTimeout: 5000 },
    (request, response) => {
      void answer(options.root, request, response).catch((error: unknown) => {
        if (!response.headersSent) send(response, 500, 'text/plain', `${reason(error)}\n`);
        else response.destroy();
      });
    },
  );
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
