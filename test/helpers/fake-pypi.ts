import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { NOT_FOUND, redirect, sendResponse, applyFault, type PypiResponse } from './fake-pypi/answers.js';
import type { RandomSource } from './random.js';
import {
  FaultInjector,
  type RequestKind,
  type PypiFault,
  type FaultConfig,
} from './fake-pypi/misbehaviour.js';
import {
  HTML_TYPE,
  JSON_TYPE,
  legacyJson,
  projectHtml,
  projectJson,
  rootHtml,
  rootJson,
  listedProjects,
} from './fake-pypi/pages.js';
import { normaliseName, type World } from './fake-pypi/world.js';
import { responseXml, faultXml, parseCall, type XmlRpcCall, type XmlValue } from './fake-pypi/xmlrpc.js';

export { randomWorld } from './fake-pypi/random-world.js';
export type { FaultConfig } from './fake-pypi/misbehaviour.js';
export * from './fake-pypi/world.js';

export interface FakePypiOptions {
  /** The maximum number of events in one answer, by default 50,000. */
  readonly pageSize?: number;
  /** The last serial that the changelog shows, by default all; pages always show the current state. */
  readonly visible?: number;
  /** How the changelog represents a missing version, by default nil. */
  readonly noVersion?: 'nil' | 'empty';
  /**
   * Whether pages have serials and ETags. These two and the next two options are true by default; with false the server
   * behaves like an index other than PyPI.
   */
  readonly serials?: boolean;
  readonly etags?: boolean;
  /** Whether the simple API offers JSON in addition to HTML. */
  readonly json?: boolean;
  /** Whether there are the changelog and the JSON API. */
  readonly pypi?: boolean;
  readonly misbehaviour?: FaultConfig;
}

interface RecordedRequest {
  readonly method: string;
  readonly path: string;
  readonly userAgent: string;
  /** Milliseconds since 1970. */
  readonly time: number;
  /** The XML-RPC call, e.g. `changelog_since_serial(12)`; null for any other request. */
  readonly call: string | null;
  readonly status: number;
  readonly fault: PypiFault | null;
}

const XML_TYPE = 'text/xml; charset=utf-8';

/** A fake PyPI: serves a World by XML-RPC, the JSON API and the simple API, on a port of 127.0.0.1. */
export class FakePypi {
  /** All requests, in the order in which they were answered. */
  readonly requests: RecordedRequest[] = [];
  visible: number;
  readonly #server: Server;
  readonly #options: FakePypiOptions;
  /** The last answer for each page, which a stale cache would return. */
  readonly #cache = new Map<string, PypiResponse>();
  #faults: FaultInjector;
  /** The highest serial that the changelog has shown: an event that has been shown can no longer be late. */
  #highestShownSerial = 0;

  private constructor(
    readonly world: World,
    options: FakePypiOptions,
  ) {
    this.#options = options;
    this.visible = options.visible ?? Infinity;
    this.#faults = new FaultInjector();
    this.setFaults(options.misbehaviour ?? {});
    this.#server = createServer((request, response) => {
      void this.#handle(request, response).catch(() => response.destroy());
    });
  }

  static async start(world: World, options: FakePypiOptions = {}): Promise<FakePypi> {
    const pypi = new FakePypi(world, options);
    await new Promise<void>((resolve) => pypi.#server.listen(0, '127.0.0.1', resolve));
    return pypi;
  }

  /** http://127.0.0.1:PORT, without a trailing slash. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  /** Makes the changelog show `events` more events; returns the last serial that it shows now. */
  advance(events = 1): number {
    this.visible = this.world.serialAfter(Math.min(this.visible, this.world.serial), events);
    return this.visible;
  }

  /** Replaces the configured faults. */
  setFaults(config: FaultConfig): void {
    if (config.disorder !== undefined) this.world.disorder = config.disorder;
    if (config.gaps !== undefined) this.world.gaps = config.gaps;
    this.#faults = new FaultInjector(config, this.#highestShownSerial);
  }

  /** Injects each of these faults once, into the next answer to which it applies. */
  injectNext(...faults: readonly PypiFault[]): void {
    this.#faults.enqueue(faults);
  }

  /** Removes all faults and shows all events. */
  stopMisbehaving(): void {
    this.visible = Infinity;
    this.setFaults({});
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const time = Date.now();
    const method = request.method ?? '';
    const path = request.url ?? '';
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString('utf8');
    const isCall = method === 'POST' && /^\/(pypi\/?|RPC2)$/.test(path) && this.#options.pypi !== false;
    const call = isCall ? parseCall(body) : undefined;
    const kind = isCall ? kindOfCall(call) : kindOfPath(path);
    const { fault, random } = this.#faults.faultFor(kind, call?.method ?? path);
    const answer = isCall ? this.#call(call, fault, random) : this.#page(request, path, fault);
    const sent = applyFault(answer, isCall, fault, random);
    this.requests.push({
      method,
      path,
      userAgent: request.headers['user-agent'] ?? '',
      time,
      call: call ? `${call.method}(${call.params.join(', ')})` : null,
      status: sent.status,
      fault: fault ?? null,
    });
    sendResponse(response, sent, fault);
  }

  #call(call: XmlRpcCall | undefined, fault: PypiFault | undefined, random: RandomSource): PypiResponse {
    const answer = (body: string): PypiResponse => ({
      status: 200,
      headers: { 'content-type': XML_TYPE },
      body,
    });
    if (!call) return answer(faultXml(-32700, 'server error; parse error; not well formed'));
    const { method, params } = call;
    const serial = params[0];
    if (method === 'changelog_last_serial' && params.length === 0) {
      const last = this.#faults.lastSerial(this.world, this.visible);
      return answer(responseXml(fault === 'serialBack' ? lowerSerial(last, random) : last));
    }
    if (method === 'changelog_since_serial' && params.length === 1 && typeof serial === 'number') {
      const size = this.#options.pageSize ?? 50_000;
      const events =
        fault === 'noEvents' ? [] : this.#faults.eventsSince(this.world, serial, this.visible, size, random);
      this.#highestShownSerial = Math.max(
        this.#highestShownSerial,
        ...events.slice(-3).map((event) => event[4]),
      );
      const missingVersion = this.#options.noVersion === 'empty' ? '' : null;
      return answer(
        responseXml(
          events.map(([name, version, ...rest]): XmlValue => [name, version ?? missingVersion, ...rest]),
        ),
      );
    }
    return method.startsWith('changelog_')
      ? answer(faultXml(-32602, 'server error; invalid method parameters'))
      : answer(faultXml(-32601, 'server error; method not found'));
  }

  #page(request: IncomingMessage, path: string, fault: PypiFault | undefined): PypiResponse {
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return { status: 405, headers: { allow: 'GET, HEAD', 'content-type': 'text/plain' }, body: '' };
    const type = this.#options.json === false ? 'text/html' : negotiateType(request.headers.accept ?? '');
    const key = `${path} ${type}`;
    const cached = fault === 'stale' ? this.#cache.get(key) : undefined;
    const answer = cached ?? this.#fresh(path, type, fault);
    if (fault !== 'emptyRoot' && fault !== 'serialBack') this.#cache.set(key, answer);
    const etag = answer.headers['etag'];
    const clientEtags = request.headers['if-none-match']
      ?.split(',')
      .map((tag) => tag.trim().replace(/^W\//, ''));
    return etag !== undefined && (clientEtags?.includes(etag) ?? false)
      ? { status: 304, headers: answer.headers, body: '' }
      : answer;
  }

  #fresh(path: string, type: string, fault: PypiFault | undefined): PypiResponse {
    const { pathname } = new URL(path, this.url);
    const [, legacy] = /^\/pypi\/([^/]+)\/json\/?$/.exec(pathname) ?? [];
    if (legacy !== undefined && this.#options.pypi !== false) return this.#legacy(decodeURIComponent(legacy));
    if (pathname === '/simple') return redirect('/simple/');
    if (pathname === '/simple/') return this.#root(type, fault);
    const [, simple, slash] = /^\/simple\/([^/]+)(\/?)$/.exec(pathname) ?? [];
    return simple === undefined ? NOT_FOUND : this.#simple(decodeURIComponent(simple), slash === '/', type);
  }

  #legacy(name: string): PypiResponse {
    const project = this.world.projects.get(normaliseName(name));
    const body = project && legacyJson(this.world, project);
    if (!body) return NOT_FOUND;
    if (project.normalised !== name) return redirect(`/pypi/${project.normalised}/json`);
    return this.#ok('application/json', JSON.stringify(body), project.serial);
  }

  #root(type: string, fault: PypiFault | undefined): PypiResponse {
    const options = { serials: this.#options.serials !== false };
    const projects = fault === 'emptyRoot' ? [] : listedProjects(this.world);
    const serial = fault === 'serialBack' ? Math.floor(this.world.serial / 2) : this.world.serial;
    const body =
      type === JSON_TYPE
        ? JSON.stringify(rootJson(projects, serial, options))
        : rootHtml(projects, serial, options);
    return this.#ok(type, body, serial);
  }

  #simple(name: string, hasTrailingSlash: boolean, type: string): PypiResponse {
    const options = { serials: this.#options.serials !== false };
    const project = this.world.projects.get(normaliseName(name));
    if (!project) return { ...NOT_FOUND, headers: { 'content-type': 'text/plain' }, body: '404 Not Found' };
    if (project.normalised !== name || !hasTrailingSlash) return redirect(`/simple/${project.normalised}/`);
    const body =
      type === JSON_TYPE
        ? JSON.stringify(projectJson(this.world, project, options))
        : projectHtml(project, options);
    return this.#ok(type, body, project.serial);
  }

  #ok(type: string, body: string, serial: number): PypiResponse {
    const tag = createHash('sha256').update(type).update(body).digest('hex').slice(0, 22);
    return {
      status: 200,
      headers: {
        'content-type': type === 'text/html' ? `${type}; charset=UTF-8` : type,
        'cache-control': 'max-age=600, public',
        vary: 'Accept, Accept-Encoding',
        ...(this.#options.etags === false ? {} : { etag: `"${tag}"` }),
        ...(this.#options.serials === false ? {} : { 'x-pypi-last-serial': String(serial) }),
      },
      body,
    };
  }
}

function kindOfCall(call: XmlRpcCall | undefined): RequestKind {
  if (call?.method === 'changelog_last_serial') return 'last-serial';
  return call?.method === 'changelog_since_serial' ? 'since-serial' : 'other';
}

function kindOfPath(path: string): RequestKind {
  if (path.startsWith('/pypi/')) return 'json';
  if (path === '/simple/') return 'root';
  return path.startsWith('/simple/') ? 'project' : 'other';
}

const lowerSerial = (serial: number, random: RandomSource): number => Math.floor(serial * random());

/** Negotiates the content type as PyPI does: the one with the highest quality wins, HTML if none matches. */
function negotiateType(accept: string): string {
  let best = { type: 'text/html', quality: 0 };
  for (const part of accept.split(',')) {
    const [name = '', ...parameters] = part.split(';').map((field) => field.trim().toLowerCase());
    const quality = Number(parameters.find((parameter) => parameter.startsWith('q='))?.slice(2) ?? 1);
    const type = name.replace('.latest+', '.v1+').replace('*/*', 'text/html');
    if ([JSON_TYPE, HTML_TYPE, 'text/html'].includes(type) && quality > best.quality)
      best = { type, quality };
  }
  return best.type;
}
