import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { startWebServer } from '../../../src/web/web-server.js';
import type { AccessLogEntry, RunningWebServer } from './served-by.js';

/** Starts our own web server in this process; its requests are recorded from Node's diagnostics channel. */
export async function servePiwWeb(output: string): Promise<RunningWebServer> {
  const server = await startWebServer({ root: output, host: '127.0.0.1', port: 0 });
  const requests: AccessLogEntry[] = [];
  const onFinish = (message: unknown): void => {
    const { request, response } = message as { request: IncomingMessage; response: ServerResponse };
    if (request.socket.localPort !== server.port) return;
    requests.push({
      method: request.method ?? '',
      path: request.url ?? '',
      status: response.statusCode,
      agent: request.headers['user-agent'] ?? '',
    });
  };
  subscribe('http.server.response.finish', onFinish);
  return {
    kind: 'piw web',
    version: '',
    url: `http://127.0.0.1:${server.port}`,
    httpUrl: undefined,
    ca: undefined,
    accessLog: () => Promise.resolve([...requests]),
    passLogToLogger: () => Promise.resolve(),
    stop: async () => {
      unsubscribe('http.server.response.finish', onFinish);
      await server.close();
    },
  };
}
