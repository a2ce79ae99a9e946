import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Sdist } from '../helpers/sdist.js';

export interface IndexServerOptions {
  /** The login that every request must have. */
  readonly login?: { readonly user: string; readonly password: string };
  /** The status of every answer, with an empty body. */
  readonly status?: number;
  /** If set, every answer is a page of this type without links. */
  readonly emptyPageType?: string;
  /** Files that are listed but do not exist. */
  readonly missingFiles?: readonly Sdist[];
}

/** A simple index (PEP 503) of these sdists on a free port of this machine. */
export class IndexServer {
  readonly #sdists: readonly Sdist[];
  readonly #options: IndexServerOptions;
  readonly #server = createServer((request, response) => {
    this.#respond(request, response);
  });

  private constructor(sdists: readonly Sdist[], options: IndexServerOptions) {
    this.#sdists = sdists;
    this.#options = options;
  }

  static async start(sdists: readonly Sdist[], options: IndexServerOptions = {}): Promise<IndexServer> {
    const server = new IndexServer(sdists, options);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** The address, including the login if there is one. */
  get url(): string {
    const { login } = this.#options;
    const userInfo = login ? `${encodeURIComponent(login.user)}:${encodeURIComponent(login.password)}@` : '';
    return `http://${userInfo}127.0.0.1:${this.port}/simple`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #respond({ url = '', headers }: IncomingMessage, response: ServerResponse): void {
    const { login, status, emptyPageType } = this.#options;
    if (emptyPageType !== undefined) {
      response
        .writeHead(200, { 'content-type': emptyPageType })
        .end('<html><body>We will be back soon</body></html>');
      return;
    }
    if (status !== undefined) {
      response.writeHead(status).end();
      return;
    }
    const expected = login && `Basic ${Buffer.from(`${login.user}:${login.password}`).toString('base64')}`;
    if (headers.authorization !== expected) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="index"' }).end();
      return;
    }
    const [, folder, requested] = decodeURIComponent(url).split('/');
    const file = this.#sdists.find(({ filename }) => folder === 'files' && filename === requested);
    const files = this.#sdists.filter(({ name }) => folder === 'simple' && name === requested);
    if (file && !this.#options.missingFiles?.includes(file))
      response.writeHead(200, { 'content-type': 'application/gzip' }).end(file.contents);
    else if (files.length > 0)
      response.writeHead(200, { 'content-type': 'text/html' }).end(renderPage(files));
    else response.writeHead(404).end();
  }
}

function renderPage(files: readonly Sdist[]): string {
  const anchors = files.map(({ filename, sha256, requiresPython }) => {
    const requires = requiresPython.replaceAll('>', '&gt;');
    return `<a href="/files/${filename}#sha256=${sha256}" data-requires-python="${requires}">${filename}</a>`;
  });
  return `<!DOCTYPE html><html><head><title>Links</title></head><body>${anchors.join('\n')}</body></html>`;
}
