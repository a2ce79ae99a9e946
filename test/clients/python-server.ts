import { spawn } from 'node:child_process';
import { freePort } from '../../src/servers/ports.js';
import { until } from '../helpers/bus.js';
import type { RunningWebServer } from '../helpers/web-servers.js';

/**
 * Starts Python's own web server (http.server) on a folder. It serves HTML whatever the Accept header says, and its
 * access log is not read. `kind` has no value for this server, so `piw web` stands in; no caller reads it.
 */
export async function startPythonServer(python: string, folder: string): Promise<RunningWebServer> {
  const port = await freePort();
  const args = ['-m', 'http.server', '--bind', '127.0.0.1', '--directory', folder, String(port)];
  const server = spawn(python, args, { stdio: 'ignore' });
  const url = `http://127.0.0.1:${port}`;
  await until(async () => (await fetch(url).catch(() => undefined)) !== undefined);
  return {
    kind: 'piw web',
    version: '',
    url,
    httpUrl: undefined,
    ca: undefined,
    accessLog: () => Promise.resolve([]),
    passLogToLogger: () => Promise.resolve(),
    stop: async () => {
      const ended = new Promise((resolve) => server.once('exit', resolve));
      server.kill();
      await ended;
    },
  };
}
