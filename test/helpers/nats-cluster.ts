import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { generateUserKey } from '../../src/bus/nkey.js';
import { freePort } from '../../src/servers/ports.js';
import { formatUsers } from '../../src/servers/slave-users.js';
import type { Bus } from '../../src/bus/bus.js';
import { until } from './bus.js';
import { ControlledNats } from './controlled-nats.js';
import { SAMPLE_PASSWORDS, natsBinary } from './nats.js';

/** config/nats, as it is shipped. */
const SAMPLE_CONFIG_DIR = fileURLToPath(new URL('../../../config/nats/', import.meta.url));
const NAMES = ['nats-1', 'nats-2', 'nats-3'];

interface ServerPorts {
  readonly client: number;
  readonly route: number;
  readonly leaf: number;
  readonly monitor: number;
}

/** One server of a cluster. */
export class ClusterServer extends ControlledNats {
  readonly name: string;
  /** `host:port` for clients, and for leaf nodes. */
  readonly address: string;
  readonly leafAddress: string;

  constructor(binary: string, folder: string, name: string, ports: ServerPorts) {
    const files = {
      binary,
      config: join(folder, 'cluster.conf'),
      log: join(folder, 'log'),
      store: join(folder, 'js'),
    };
    super(files, ports.monitor, { env: { ...process.env, ...SAMPLE_PASSWORDS, PIW_NATS_NAME: name } });
    this.name = name;
    this.address = `127.0.0.1:${ports.client}`;
    this.leafAddress = `127.0.0.1:${ports.leaf}`;
  }
}

/**
 * Three nats-servers with config/nats/cluster.conf, and one slave's user, `slave`. It lets leaf nodes in, too, as
 * config/nats/leaf-hub.conf has it.
 */
export class NatsCluster {
  readonly servers: readonly ClusterServer[];
  readonly #slaveSeed: string;

  private constructor(servers: readonly ClusterServer[], slaveSeed: string) {
    this.servers = servers;
    this.#slaveSeed = slaveSeed;
  }

  /** Writes the configuration of the servers to `folder`. */
  static async create(binary: string, folder: string): Promise<NatsCluster> {
    const ports: ServerPorts[] = [];
    while (ports.length < NAMES.length)
      ports.push({
        client: await freePort(),
        route: await freePort(),
        leaf: await freePort(),
        monitor: await freePort(),
      });
    const key = generateUserKey();
    const users = formatUsers(
      [{ name: 'slave', publicKey: key.publicKey, label: null, added: 'now' }],
      'piw',
    );
    const routes = NAMES.map((name, i): [string, string] => [
      `${name}.example.org:6222`,
      `127.0.0.1:${ports[i]?.route ?? 0}`,
    ]);
    const servers = NAMES.map((name, i) => {
      const { client, route, leaf, monitor } = ports[i] ?? { client: 0, route: 0, leaf: 0, monitor: 0 };
      const serverFolder = join(folder, name);
      mkdirSync(serverFolder);
      cpSync(SAMPLE_CONFIG_DIR, serverFolder, { recursive: true });
      const substitutions = Object.entries<string>({
        '0.0.0.0:4222': `127.0.0.1:${client}`,
        '0.0.0.0:6222': `127.0.0.1:${route}`,
        '0.0.0.0:7422': `127.0.0.1:${leaf}`,
        ...Object.fromEntries(routes),
        '/run/nats': serverFolder,
        // The server reserves the maximum size of every bucket, however small the disk is.
        'store_dir: "/var/lib/nats"': `store_dir: "${join(serverFolder, 'js')}", max_file_store: 1TB`,
        ROUTE_SECRET: 'routesecret',
        LEAF_SECRET: 'leafsecret',
        'pid_file:': `http: 127.0.0.1:${monitor}\nlame_duck_duration: 30s\nlame_duck_grace_period: 1s\npid_file:`,
        'include "./accounts.conf"': 'include "./accounts.conf"\ninclude "./leaf-hub.conf"',
      });
      for (const file of readdirSync(serverFolder)) {
        const path = join(serverFolder, file);
        const text = readFileSync(path, 'utf8');
        writeFileSync(
          path,
          substitutions.reduce((replaced, [from, to]) => replaced.replaceAll(from, to), text),
        );
      }
      writeFileSync(join(serverFolder, 'piw-slaves.conf'), users);
      return new ClusterServer(binary, serverFolder, name, { client, route, leaf, monitor });
    });
    return new NatsCluster(servers, key.seed);
  }

  /** Starts those of the servers that are named, by default all. */
  async start(names: readonly string[] = NAMES): Promise<void> {
    await Promise.all(
      this.servers.filter(({ name }) => names.includes(name)).map((server) => server.start()),
    );
  }

  async stop(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.stop('SIGKILL')));
  }

  /** The address of all servers, as a master and as an administrator configure it. */
  get masterAddress(): string {
    return `nats://master:${SAMPLE_PASSWORDS.PIW_MASTER_PASSWORD}@${this.#addresses}`;
  }

  /** The address of all servers with the slave's credentials, or of other servers, e.g. a leaf node. */
  slaveAddress(servers = this.#addresses): string {
    return `nats://slave:${this.#slaveSeed}@${servers}`;
  }

  get #addresses(): string {
    return this.servers.map(({ address }) => address).join(',');
  }

  server(name: string): ClusterServer {
    const server = this.servers.find((candidate) => candidate.name === name);
    if (!server) throw new Error(`the cluster has no server ${name}`);
    return server;
  }

  /** Returns the server that leads a stream, as soon as one does. */
  async leaderOf(bus: Bus, stream: string): Promise<ClusterServer> {
    return this.server(await leaderNameOf(bus, stream));
  }
}

/** Returns the name of the server that leads a stream, as soon as one does. */
export async function leaderNameOf(bus: Bus, stream: string): Promise<string> {
  const manager = await bus.connection.jetstreamManager({ checkAPI: false, timeout: 1000 });
  let leader: string | undefined;
  await until(async () => {
    leader = (await manager.streams.info(stream).catch(() => undefined))?.cluster?.leader;
    return leader !== undefined && leader !== '';
  }, 60_000);
  return leader ?? '';
}

/** Waits until a stream has three replicas, of which all are up to date. */
export async function untilReplicated(bus: Bus, stream: string, limitMs = 60_000): Promise<void> {
  const manager = await bus.connection.jetstreamManager({ checkAPI: false, timeout: 1000 });
  await until(async () => {
    const cluster = (await manager.streams.info(stream).catch(() => undefined))?.cluster;
    const replicas = cluster?.replicas ?? [];
    return (
      replicas.length === NAMES.length - 1 && replicas.every(({ current, offline }) => current && !offline)
    );
  }, limitMs);
}

/** Creates a cluster, starts its servers, and stops them when the test ends. */
export async function startCluster(t: Test): Promise<NatsCluster> {
  const folder = mkdtempSync(join(tmpdir(), 'piw-cluster-'));
  const cluster = await NatsCluster.create(await natsBinary(t), folder);
  t.teardown(async () => {
    await cluster.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  await cluster.start();
  return cluster;
}
