import {
  createServer,
  request,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

/** An answer on its way through. */
export interface Passing {
  status: number;
  headers: OutgoingHttpHeaders;
  body: Buffer;
  /** The connection ends before the body does. */
  cut?: boolean;
}

/** What a server does wrong. */
export interface Misbehaviour {
  /** Changes what the server behind it is asked. */
  readonly asks?: (headers: IncomingHttpHeaders, url: string) => void;
  /** Changes what it answers. */
  readonly answers?: (answer: Passing, asked: IncomingMessage) => void;
}

/** A server that passes everything on to the one at `port`, but for what it does wrong; gives its own address. */
export async function misbehave(t: Test, port: number, { asks, answers }: Misbehaviour): Promise<string> {
  const server = createServer((asked, response) => {
    const headers = { ...asked.headers };
    const { url = '/', method = 'GET' } = asked;
    asks?.(headers, url);
    request({ host: '127.0.0.1', port, path: url, method, headers }, (answer) => {
      const pieces: Buffer[] = [];
      answer.on('data', (piece: Buffer) => pieces.push(piece));
      answer.on('end', () => {
        const passing: Passing = {
          status: answer.statusCode ?? 0,
          headers: { ...answer.headers },
          body: Buffer.concat(pieces),
        };
        const before = passing.body.length;
        delete passing.headers['transfer-encoding'];
        answers?.(passing, asked);
        if (passing.body.length !== before) passing.headers['content-length'] = String(passing.body.length);
        if (passing.cut)
          passing.headers['content-length'] = String(Number(passing.headers['content-length']) + 1);
        if (passing.cut && method !== 'HEAD')
          response.writeHead(passing.status, passing.headers).write(passing.body, () => response.destroy());
        else
          response
            .writeHead(passing.status, passing.headers)
            .end(method === 'HEAD' ? undefined : passing.body);
      });
    }).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/`;
}
