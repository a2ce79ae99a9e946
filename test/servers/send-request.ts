import { readFileSync } from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';

export interface ServerAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Sends one request on a connection of its own, with the path as it is: `fetch` would normalise it. */
export function sendRequest(
  base: string,
  ca: string | undefined,
  path: string,
  { method = 'GET', headers = {} }: { method?: string; headers?: Readonly<Record<string, string>> } = {},
): Promise<ServerAnswer> {
  const { hostname, port } = new URL(base);
  // The servers listen on 127.0.0.1, whatever localhost resolves to on this machine.
  const common = {
    host: hostname === 'localhost' ? '127.0.0.1' : hostname,
    port,
    path,
    method,
    agent: false,
  };
  const allHeaders = { host: `${hostname}:${port}`, ...headers };
  return new Promise((resolve, reject) => {
    const clientRequest = ca
      ? httpsRequest({ ...common, headers: allHeaders, ca: readFileSync(ca), servername: 'localhost' })
      : httpRequest({ ...common, headers: allHeaders });
    clientRequest.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) });
      });
    });
    clientRequest.on('error', reject);
    clientRequest.end();
  });
}
