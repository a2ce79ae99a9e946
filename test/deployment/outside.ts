/**
 * Lets hosts with a network of their own (test/helpers/network.ts) reach some hosts outside: a process in that network
 * has an address for each of these names, and passes connections on through a Unix socket to a process outside.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { VirtualNetwork } from '../helpers/network.js';

const FORWARDER = fileURLToPath(new URL('outside-forwarder.js', import.meta.url));
const PORTS = [80, 443];
const FIRST_NUMBER = 100;

/** Returns the names of the hosts of PyPI, and of this machine's package archives. */
export function outsideNames(): readonly string[] {
  const folder = '/etc/apt/sources.list.d';
  const files = readdirSync(folder).map((name) => `${folder}/${name}`);
  const sources = [...files, '/etc/apt/sources.list'].map((file) => {
    try {
      return readFileSync(file, 'utf8');
    } catch {
      return '';
    }
  });
  const archives = [...sources.join('\n').matchAll(/^[^#\n]*?https?:\/\/([\w.-]+)/gm)].map(
    ([, name = '']) => name,
  );
  return [...new Set(['pypi.org', 'files.pythonhosted.org', ...archives])];
}

/** Outside: connects to the host and port that the first line of each connection names. */
export async function serveOutside(path: string): Promise<Server> {
  const server = createServer((client) => {
    client.on('error', () => client.destroy());
    client.once('data', (data: Buffer) => {
      const end = data.indexOf('\n');
      const [host = '', port] = data.subarray(0, end).toString().split(' ');
      const upstream = connect(Number(port), host);
      upstream.write(data.subarray(end + 1));
      join(client, upstream);
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return server;
}

/**
 * In the network: returns the lines of /etc/hosts with the addresses at which these hosts are reached. A process of its
 * own (outside-forwarder.ts) passes the connections on, because this one waits for what it runs on the machines.
 */
export async function forwardOutside(
  network: VirtualNetwork,
  path: string,
  names: readonly string[],
): Promise<readonly string[]> {
  const lines = names.map((name, i) => `${network.addAddress(FIRST_NUMBER + i)} ${name}`);
  const forwarder = spawn(process.execPath, [FORWARDER, path, ...lines], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(forwarder.stdout, 'data');
  return lines;
}

/** Passes on what comes to an address on behalf of a host outside. */
export async function forward(path: string, address: string, name: string): Promise<void> {
  for (const port of PORTS) {
    const server = createServer((client) => {
      const upstream = connect(path);
      upstream.write(`${name} ${port}\n`);
      join(client, upstream);
    });
    await new Promise<void>((resolve) => server.listen(port, address, resolve));
  }
}

function join(client: Socket, upstream: Socket): void {
  client.pipe(upstream).pipe(client);
  client.on('error', () => upstream.destroy());
  upstream.on('error', () => client.destroy());
}
