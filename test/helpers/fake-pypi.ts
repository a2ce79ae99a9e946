import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { NOT_FOUND, redirect, send, spoilt, type Answer } from './fake-pypi/answers.js';
import type { Chance } from './fake-pypi/chance.js';
import { Mischief, type Asked, type Fault, type Misbehaviour } from './fake-pypi/misbehaviour.js';
import {
  HTML_TYPE,
  JSON_TYPE,
  legacyJson,
  projectHtml,
  projectJson,
  rootHtml,
  rootJson,
  rootOf,
} from './fake-pypi/pages.js';
import { normalised, type World } from './fake-pypi/world.js';
import { answerXml, faultXml, parseCall, type Call, type XmlValue } from './fake-pypi/xmlrpc.js';

export { randomWorld, type RandomWorldOptions } from './fake-pypi/random-world.js';
export type { Fault, Misbehaviour } from './fake-pypi/misbehaviour.js';
export * from './fake-pypi/world.js';

export interface FakePypiOptions {
  /** Events in one answer, at most. Default 50,000. */
  readonly pageSize?: number;
  /** The changelog shows the events up to this serial; pages are always as of now. Default all. */
  readonly visible?: number;
  /** How the changelog says that an event has no version. Default nil. */
  readonly noVersion?: 'nil' | 'empty';
  /** Whether pages tell serials and have ETags. This and what follows is true by default; false makes it any index. */
  readonly serials?: boolean;
  readonly etags?: boolean;
  /** Whether the simple API is spoken in JSON, or only in HTML. */
  readonly json?: boolean;
  /** Whether there is the changelog and the JSON API. */
  readonly pypi?: boolean;
  readonly misbehaviour?: Misbehaviour;
}

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly userAgent: string;
  /** Milliseconds, as Date.now() has it. */
  readonly time: number;
  /** An XML-RPC call, as `changelog_since_serial(12)`; else null. */
  readonly call: string | null;
  readonly status: number;
  readonly fault: Fault | null;
}

const XML = 'text/xml; charset=utf-8';

/** A PyPI, as its readers see it: XML-RPC, JSON and the simple API of a world, on a port of 127.0.0.1. */
export class FakePypi {
  /** In the order in which they were answered. */
  readonly requests: SeenRequest[] = [];
  visible: number;
  readonly #server: Server;
  readonly #options: FakePypiOptions;
  /** The last answers, as caches have them. */
  readonly #cache = new Map<string, Answer>();
  #mischief: Mischief;
  /** The highest serial that a page of the changelog has shown: what has been shown can't come late any more. */
  #shown = 0;

  private constructor(
    readonly world: World,
    options: FakePypiOptions,
  ) {
    this.#options = options;
    this.visible = options.visible ?? Infinity;
    this.#mischief = new Mischief();
    this.misbehave(options.misbehaviour ?? {});
    this.#server = createServer((request, response) => {
      void this.#handle(request, response).catch(() => response.destroy());
    });
  }

  static async start(world: World, options: FakePypiOptions = {}): Promise<FakePypi> {
    const pypi = new FakePypi(world, options);
    await new Promise<void>((resolve) => pypi.#server.listen(0, '127.0.0.1', resolve));
    return pypi;
  }

  /** http://127.0.0.1:PORT, without a slash at its end. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  /** Lets the changelog show so many events more; says up to which serial it does now. */
  advance(events = 1): number {
    this.visible = this.world.further(Math.min(this.visible, this.world.serial), events);
    return this.visible;
  }

  /** From now on it misbehaves in these ways and no others. */
  misbehave(how: Misbehaviour): void {
    if (how.disorder !== undefined) this.world.disorder = how.disorder;
    if (how.gaps !== undefined) this.world.gaps = how.gaps;
    this.#mischief = new Mischief(how, this.#shown);
  }

  /** These befall the next answers that they can befall, one each. */
  next(...faults: readonly Fault[]): void {
    this.#mischief.next(faults);
  }

  /** It behaves well and shows all. */
  settle(): void {
    this.visible = Infinity;
    this.misbehave({});
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const time = Date.now();
    const method = request.method ?? '';
    const path = request.url ?? '';
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const body = Buffer.concat(pieces).toString('utf8');
    const isCall = method === 'POST' && /^\/(pypi\/?|RPC2)$/.test(path) && this.#options.pypi !== false;
    const call = isCall ? parseCall(body) : undefined;
    const what = isCall ? askedBy(call) : askedFor(path);
    const { fault, random } = this.#mischief.befalls(what, call?.method ?? path);
    const answer = isCall ? this.#call(call, fault, random) : this.#page(request, path, fault);
    const sent = spoilt(answer, isCall, fault, random);
    this.requests.push({
      method,
      path,
      userAgent: request.headers['user-agent'] ?? '',
      time,
      call: call ? `${call.method}(${call.params.join(', ')})` : null,
      status: sent.status,
      fault: fault ?? null,
    });
    send(response, sent, fault);
  }

  #call(call: Call | undefined, fault: Fault | undefined, random: Chance): Answer {
    const answer = (body: string): Answer => ({ status: 200, headers: { 'content-type': XML }, body });
    if (!call) return answer(faultXml(-32700, 'server error; parse error; not well formed'));
    const { method, params } = call;
    const serial = params[0];
    if (method === 'changelog_last_serial' && params.length === 0) {
      const last = this.#mischief.lastSerial(this.world, this.visible);
      return answer(answerXml(fault === 'serialBack' ? back(last, random) : last));
    }
    if (method === 'changelog_since_serial' && params.length === 1 && typeof serial === 'number') {
      const size = this.#options.pageSize ?? 50_000;
      const events =
        fault === 'noEvents' ? [] : this.#mischief.since(this.world, serial, this.visible, size, random);
      this.#shown = Math.max(this.#shown, ...events.slice(-3).map((event) => event[4]));
      const none = this.#options.noVersion === 'empty' ? '' : null;
      return answer(
        answerXml(events.map(([name, version, ...rest]): XmlValue => [name, version ?? none, ...rest])),
      );
    }
    return method.startsWith('changelog_')
      ? answer(faultXml(-32602, 'server error; invalid method parameters'))
      : answer(faultXml(-32601, 'server error; method not found'));
  }

  #page(request: IncomingMessage, path: string, fault: Fault | undefined): Answer {
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return { status: 405, headers: { allow: 'GET, HEAD', 'content-type': 'text/plain' }, body: '' };
    const type = this.#options.json === false ? 'text/html' : chosenType(request.headers.accept ?? '');
    const key = `${path} ${type}`;
    const cached = fault === 'stale' ? this.#cache.get(key) : undefined;
    const answer = cached ?? this.#fresh(path, type, fault);
    if (fault !== 'emptyRoot' && fault !== 'serialBack') this.#cache.set(key, answer);
    const etag = answer.headers['etag'];
    const known = request.headers['if-none-match']?.split(',').map((tag) => tag.trim().replace(/^W\//, ''));
    return etag !== undefined && (known?.includes(etag) ?? false)
      ? { status: 304, headers: answer.headers, body: '' }
      : answer;
  }

  #fresh(path: string, type: string, fault: Fault | undefined): Answer {
    const { pathname } = new URL(path, this.url);
    const [, legacy] = /^\/pypi\/([^/]+)\/json\/?$/.exec(pathname) ?? [];
    if (legacy !== undefined && this.#options.pypi !== false) return this.#legacy(decodeURIComponent(legacy));
    if (pathname === '/simple') return redirect('/simple/');
    if (pathname === '/simple/') return this.#root(type, fault);
    const [, simple, slash] = /^\/simple\/([^/]+)(\/?)$/.exec(pathname) ?? [];
    return simple === undefined ? NOT_FOUND : this.#simple(decodeURIComponent(simple), slash === '/', type);
  }

  #legacy(name: string): Answer {
    const project = this.world.projects.get(normalised(name));
    const body = project && legacyJson(this.world, project);
    if (!body) return NOT_FOUND;
    if (project.normalised !== name) return redirect(`/pypi/${project.normalised}/json`);
    return this.#ok('application/json', JSON.stringify(body), project.serial);
  }

  #root(type: string, fault: Fault | undefined): Answer {
    const options = { serials: this.#options.serials !== false };
    const projects = fault === 'emptyRoot' ? [] : rootOf(this.world);
    const serial = fault === 'serialBack' ? Math.floor(this.world.serial / 2) : this.world.serial;
    const body =
      type === JSON_TYPE
        ? JSON.stringify(rootJson(projects, serial, options))
        : rootHtml(projects, serial, options);
    return this.#ok(type, body, serial);
  }

  #simple(name: string, slash: boolean, type: string): Answer {
    const options = { serials: this.#options.serials !== false };
    const project = this.world.projects.get(normalised(name));
    if (!project) return { ...NOT_FOUND, headers: { 'content-type': 'text/plain' }, body: '404 Not Found' };
    if (project.normalised !== name || !slash) return redirect(`/simple/${project.normalised}/`);
    const body =
      type === JSON_TYPE
        ? JSON.stringify(projectJson(this.world, project, options))
        : projectHtml(project, options);
    return this.#ok(type, body, project.serial);
  }

  #ok(type: string, body: string, serial: number): Answer {
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

function askedBy(call: Call | undefined): Asked {
  if (call?.method === 'changelog_last_serial') return 'last-serial';
  return call?.method === 'changelog_since_serial' ? 'since-serial' : 'other';
}

function askedFor(path: string): Asked {
  if (path.startsWith('/pypi/')) return 'json';
  if (path === '/simple/') return 'root';
  return path.startsWith('/simple/') ? 'project' : 'other';
}

const back = (serial: number, random: Chance): number => Math.floor(serial * random());

/** As PyPI chooses: the highest quality wins, and HTML where nothing fits. */
function chosenType(accept: string): string {
  let best = { type: 'text/html', quality: 0 };
  for (const part of accept.split(',')) {
    const [name = '', ...parameters] = part.split(';').map((each) => each.trim().toLowerCase());
    const quality = Number(parameters.find((each) => each.startsWith('q='))?.slice(2) ?? 1);
    const type = name.replace('.latest+', '.v1+').replace('*/*', 'text/html');
    if ([JSON_TYPE, HTML_TYPE, 'text/html'].includes(type) && quality > best.quality)
      best = { type, quality };
  }
  return best.type;
}
