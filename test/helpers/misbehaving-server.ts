import {
  createServer,
  request,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

/** A response that passes through the proxy. */
export interface ProxiedResponse {
  status: number;
  headers: OutgoingHttpHeaders;
  body: Buffer;
  /** Closes the connection before the end of the body. */
  cut?: boolean;
}

/** The faults of a proxy. */
export interface ProxyFaults {
  /** Changes the headers of a request before it is passed on. */
  readonly onRequest?: (headers: IncomingHttpHeaders, url: string) => void;
  /** Changes the response before it is passed on. */
  readonly onResponse?: (response: ProxiedResponse, request: IncomingMessage) => void;
}

/** Starts a proxy with these faults before the server at `port`; returns the proxy's address. */
export async function startFaultyProxy(
  t: Test,
  port: number,
  { onRequest, onResponse }: ProxyFaults,
): Promise<string> {
  const server = createServer((incoming, response) => {
    const headers = { ...incoming.headers };
    const { url = '/', method = 'GET' } = incoming;
    onRequest?.(headers, url);
    request({ host: '127.0.0.1', port, path: url, method, headers }, (upstreamResponse) => {
      const chunks: Buffer[] = [];
      upstreamResponse.on('data', (chunk: Buffer) => chunks.push(chunk));
      upstreamResponse.on('end', () => {
        const proxied: ProxiedResponse = {
          status: upstreamResponse.statusCode ?? 0,
          headers: { ...upstreamResponse.headers },
          body: Buffer.concat(chunks),
        };
        const originalLength = proxied.body.length;
        delete proxied.headers['transfer-encoding'];
        onResponse?.(proxied, incoming);
        if (proxied.body.length !== originalLength)
          proxied.headers['content-length'] = String(proxied.body.length);
        if (proxied.cut)
          proxied.headers['content-length'] = String(Number(proxied.headers['content-length']) + 1);
        if (proxied.cut && method !== 'HEAD')
          response.writeHead(proxied.status, proxied.headers).write(proxied.body, () => response.destroy());
        else
          response
            .writeHead(proxied.status, proxied.headers)
            .end(method === 'HEAD' ? undefined : proxied.body);
      });
    }).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}
