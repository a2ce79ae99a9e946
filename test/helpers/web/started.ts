import { execFile, execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { ManagedProcess } from '../../../src/servers/process.js';
import type { DebianFiles } from '../debian.js';
import type { WebServerKind, AccessLogEntry, RunningWebServer } from './served-by.js';
import type { WebServerSetup } from './site.js';

interface WebServerDetails {
  /** The name of its access log, in log/. */
  readonly file: string;
  /** The command that passes the log to piw logger, unless the server does so itself. */
  readonly counter?: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
}

/** Starts a server whose configuration has been written, and waits until it can be reached. */
export async function startServer(
  site: WebServerSetup,
  kind: WebServerKind,
  program: string,
  args: readonly string[],
  files: DebianFiles,
  { file, counter: [counter, ...counterArgs] = [], environment }: WebServerDetails,
): Promise<RunningWebServer> {
  const { folder, ports } = site;
  const env = { PATH: process.env['PATH'], ...files.env, ...environment };
  const server = new ManagedProcess({
    name: kind,
    command: program,
    args,
    env,
    cwd: folder,
    account: undefined,
    logFile: join(folder, 'log/start.log'),
    stopSignal: 'SIGTERM',
    graceMs: 5000,
    ready: (signal) => waitUntilReachable(ports.https, signal),
    stallTimeoutMs: 20_000,
    onFailure: (error) => {
      process.stderr.write(`${error.message}\n`);
    },
    log: () => undefined,
  });
  await server.start();
  const url = `https://localhost:${ports.https}`;
  const readMarkedLog = markedLogReader(site, async () =>
    readFile(join(folder, 'log', file), 'utf8').catch(() => ''),
  );
  return {
    kind,
    version: versionOf(program, env),
    url,
    httpUrl: `http://localhost:${ports.http}`,
    ca: site.ca,
    accessLog: async () => parseAccessLog(await readMarkedLog()),
    passLogToLogger: async () => {
      await readMarkedLog();
      if (counter !== undefined) await promisify(execFile)(counter, counterArgs);
    },
    stop: () => server.stop(),
  };
}

function versionOf(program: string, env: NodeJS.ProcessEnv): string {
  const out = execFileSync('/bin/sh', ['-c', '"$1" -v 2>&1', 'sh', program], { env, encoding: 'utf8' });
  return /(?:nginx|Apache)\/([\d.]+)/.exec(out)?.[1] ?? out.trim();
}

async function waitUntilReachable(port: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect({ port, host: '127.0.0.1' }, () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => {
        resolve(false);
      });
    });
    if (open) return;
    await sleep(20);
  }
}

const MARK_PATH = '/no-such-page-but-a-mark-';

/**
 * Returns a function that makes a marker request and returns the log once it contains it, and so all earlier
 * requests.
 */
function markedLogReader(site: WebServerSetup, read: () => Promise<string>): () => Promise<string> {
  let count = 0;
  return async () => {
    count += 1;
    const path = `${MARK_PATH}${count}`;
    execFileSync('openssl', ['s_client', '-quiet', '-connect', `127.0.0.1:${site.ports.https}`], {
      input: `GET ${path} HTTP/1.0\r\nHost: localhost\r\n\r\n`,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    for (;;) {
      const text = await read();
      if (text.includes(`${path} `)) return text;
      await sleep(10);
    }
  };
}

const LOG_LINE = / "(\S+) (\S+) [^"]*" (\d{3}) \S+ "[^"]*" "(.*)"$/;

function parseAccessLog(text: string): AccessLogEntry[] {
  return text.split('\n').flatMap((line) => {
    const [, method = '', path = '', status, agent = ''] = LOG_LINE.exec(line) ?? [];
    return method === '' || path.startsWith(MARK_PATH)
      ? []
      : [{ method, path, status: Number(status), agent }];
  });
}
