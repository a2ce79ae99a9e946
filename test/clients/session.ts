import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { AccessLogEntry, RunningWebServer } from '../helpers/web-servers.js';
import type { PackageInstaller } from './installers.js';
import type { Shelf } from './shelf.js';

const exec = promisify(execFile);
const RUN_TIMEOUT_MS = 120_000;

export interface InstallerResult {
  readonly code: number;
  /** stdout and stderr. */
  readonly output: string;
  readonly stdout: string;
}

/** The requests that a server received, by kind. */
export interface RequestSummary {
  /** The projects whose page of the simple index was read. */
  readonly pages: readonly string[];
  /** The filenames of wheels that were read, in whole or in part. */
  readonly wheels: readonly string[];
  /** The filenames of wheels whose metadata was read. */
  readonly metadata: readonly string[];
  /** All other requests, and all that were not answered with an existing file. */
  readonly others: readonly string[];
}

/**
 * A session of a client: a new virtual environment, home and working folder, and the requests that the server receives
 * meanwhile. The client can reach nothing else: its proxy is a port that nobody listens on.
 */
export class InstallerSession {
  readonly folder: string;
  readonly index: string;
  readonly #client: PackageInstaller;
  readonly #server: RunningWebServer;
  readonly shelf: Shelf;
  #firstRequest = 0;
  #seenRequests = 0;

  private constructor(client: PackageInstaller, server: RunningWebServer, shelf: Shelf) {
    this.#client = client;
    this.#server = server;
    this.shelf = shelf;
    this.folder = mkdtempSync(join(tmpdir(), 'piw-client-'));
    this.index = `${server.url}/simple/`;
    for (const name of ['work', 'tmp']) mkdirSync(join(this.folder, name));
  }

  static async open(
    client: PackageInstaller,
    server: RunningWebServer,
    shelf: Shelf,
  ): Promise<InstallerSession> {
    const session = new InstallerSession(client, server, shelf);
    await exec(client.python, ['-m', 'venv', '--without-pip', session.environment], {
      timeout: RUN_TIMEOUT_MS,
    });
    session.#firstRequest = (await server.accessLog()).length;
    session.#seenRequests = session.#firstRequest;
    return session;
  }

  close(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  get environment(): string {
    return join(this.folder, 'environment');
  }

  write(name: string, text: string): string {
    const path = join(this.folder, 'work', name);
    writeFileSync(path, text);
    return path;
  }

  /** Runs the client in the working folder. */
  async run(...args: readonly string[]): Promise<InstallerResult> {
    const [program, ...prefixArgs] = this.#client.command(this.environment);
    return this.#execute(program, [...prefixArgs, ...args]);
  }

  /** Runs the client; throws an error with its output if it fails. */
  async runOrThrow(...args: readonly string[]): Promise<InstallerResult> {
    const result = await this.run(...args);
    if (result.code !== 0)
      throw new Error(`${args.join(' ')} exited with ${result.code}:\n${result.output.slice(-3000)}`);
    return result;
  }

  /** Returns the installed versions by normalised name, as the environment's Python sees them. */
  async installed(): Promise<Record<string, string>> {
    const program = `import json, re, importlib.metadata as m
print(json.dumps({re.sub("[-_.]+", "-", d.metadata["Name"]).lower(): d.version for d in m.distributions()}))`;
    return JSON.parse((await this.#python(program)).stdout) as Record<string, string>;
  }

  /** Returns the build tag that an installed module of the shelf reports. */
  async moduleBuild(module: string): Promise<string> {
    return (await this.#python(`import ${module}; print(${module}.BUILD)`)).stdout.trim();
  }

  /** Returns the requests since the session began, or since the last call. */
  async newRequests(): Promise<RequestSummary> {
    const entries = await this.#server.accessLog();
    const newEntries = entries.slice(this.#seenRequests);
    this.#seenRequests = entries.length;
    return summarise(newEntries);
  }

  /** Returns the requests of the session for missing files, or for files that no installation needs. */
  async strayRequests(): Promise<readonly string[]> {
    return summarise((await this.#server.accessLog()).slice(this.#firstRequest)).others;
  }

  async #python(program: string): Promise<InstallerResult> {
    return this.#execute(join(this.environment, 'bin/python'), ['-I', '-c', program]);
  }

  async #execute(program: string, args: readonly string[]): Promise<InstallerResult> {
    try {
      const { stdout, stderr } = await exec(program, args, {
        cwd: join(this.folder, 'work'),
        env: this.#environmentVariables(),
        timeout: RUN_TIMEOUT_MS,
        maxBuffer: 16 * 1024 * 1024,
      });
      return { code: 0, stdout, output: stdout + stderr };
    } catch (error) {
      const { code, stdout, stderr } = error as { code?: unknown; stdout?: string; stderr?: string };
      if (typeof code !== 'number') throw error;
      return { code, stdout: stdout ?? '', output: `${stdout ?? ''}${stderr ?? ''}` };
    }
  }

  #environmentVariables(): NodeJS.ProcessEnv {
    const { ca } = this.#server;
    const deadProxy = 'http://127.0.0.1:9';
    return {
      PATH: process.env['PATH'],
      HOME: this.folder,
      // uv leaves lock files there.
      TMPDIR: join(this.folder, 'tmp'),
      LANG: 'C.UTF-8',
      NO_COLOR: '1',
      VIRTUAL_ENV: this.environment,
      HTTP_PROXY: deadProxy,
      HTTPS_PROXY: deadProxy,
      http_proxy: deadProxy,
      https_proxy: deadProxy,
      NO_PROXY: 'localhost,127.0.0.1',
      no_proxy: 'localhost,127.0.0.1',
      ...(ca === undefined ? {} : { PIP_CERT: ca, SSL_CERT_FILE: ca, REQUESTS_CA_BUNDLE: ca }),
      PIP_CONFIG_FILE: '/dev/null',
      PIP_NO_INPUT: '1',
      PIP_DISABLE_PIP_VERSION_CHECK: '1',
      PIP_NO_CACHE_DIR: '1',
      PIP_RETRIES: '0',
      UV_CACHE_DIR: join(this.folder, 'uv-cache'),
      UV_PYTHON_DOWNLOADS: 'never',
      UV_HTTP_RETRIES: '0',
      POETRY_CACHE_DIR: join(this.folder, 'poetry-cache'),
      POETRY_CONFIG_DIR: join(this.folder, 'poetry-config'),
      POETRY_NO_INTERACTION: '1',
    };
  }
}

function summarise(requests: readonly AccessLogEntry[]): RequestSummary {
  const pages: string[] = [];
  const wheels: string[] = [];
  const metadata: string[] = [];
  const others: string[] = [];
  for (const { method, path, status } of requests) {
    const served = [200, 206, 304].includes(status) && (method === 'GET' || method === 'HEAD');
    const [, project, file] = /^\/simple\/([^/]+)\/([^/]*)$/.exec(decodeURIComponent(path)) ?? [];
    if (!served || project === undefined || file === undefined) others.push(`${method} ${path} ${status}`);
    else if (file === '') pages.push(project);
    else if (file.endsWith('.whl')) wheels.push(file);
    else if (file.endsWith('.whl.metadata')) metadata.push(file.slice(0, -'.metadata'.length));
    else others.push(`${method} ${path} ${status}`);
  }
  const unique = (names: readonly string[]) => [...new Set(names)].sort();
  return { pages: unique(pages), wheels: [...wheels].sort(), metadata: unique(metadata), others };
}
