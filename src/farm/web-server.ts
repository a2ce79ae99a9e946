import { deferred } from '../concurrency/deferred.js';
import { PiwError } from '../errors.js';
import { freePort, isFree } from '../servers/ports.js';
import type { FarmProcesses } from './processes.js';
import { WAVES } from './shutdown.js';

const DEFAULT_PORT = 8080;

/**
 * Returns the port for the farm's web server: the requested one, where 0 means any free port; by default 8080, or any
 * free port if it is taken. Throws PIW_PORT_IN_USE if the requested one is taken.
 */
export async function choosePort(port: number | undefined): Promise<number> {
  if (port === 0) return await freePort();
  if (await isFree(port ?? DEFAULT_PORT)) return port ?? DEFAULT_PORT;
  if (port === undefined) return await freePort();
  throw new PiwError('PIW_PORT_IN_USE', `port ${port} is already in use`);
}

interface WebServerOptions {
  readonly name: string;
  /** The folder to serve. */
  readonly root: string;
  readonly port: number;
  readonly extraArgs: readonly string[];
}

/** Starts a web server, and waits until it listens. */
export async function startWebServer(
  processes: FarmProcesses,
  { name, root, port, extraArgs }: WebServerOptions,
): Promise<void> {
  const listening = deferred();
  await processes.spawn({
    name,
    args: ['web', ...extraArgs, '-o', root, '--port', String(port)],
    wave: WAVES.web,
    ready: () => listening.promise,
    onMessage: () => {
      listening.resolve();
    },
  });
}
