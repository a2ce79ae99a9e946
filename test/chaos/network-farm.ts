/**
 * A farm for test/chaos/network.ts, on hosts of its own (test/helpers/network.ts): three nats-servers, two masters, one
 * more Oracle, two simulated slaves at the farm, and behind a leaf node with a slow link a simulated slave and a real
 * one. PostgreSQL and the index are on the host of this process, which no fault concerns.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CAST } from '../../actors/cast.js';
import { probeInterpreter } from '../../src/builder/interpreter.js';
import { Bus } from '../../src/bus/bus.js';
import { slaveConnection } from '../../src/connection.js';
import { migrate } from '../../src/database/migrations.js';
import { Database } from '../../src/database/pool.js';
import { addReleases } from '../../src/database/versions.js';
import { stageProgram, type StagedProgram } from '../../src/farm/stage.js';
import { DataFolder } from '../../src/servers/data-folder.js';
import { findPostgres } from '../../src/servers/postgres-binaries.js';
import { startPostgres } from '../../src/servers/postgres.js';
import { chownTo, runAs, unprivilegedAccount, type Account } from '../../src/servers/privileges.js';
import { formatConfig } from '../../src/settings/config-file.js';
import { loadSettings } from '../../src/settings/load.js';
import { SMALL_ATTEMPT_LIMIT_MS } from '../../src/slave/master-session.js';
import { IndexServer } from '../builder/index-server.js';
import { until } from '../helpers/bus.js';
import { ControlledNats } from '../helpers/controlled-nats.js';
import { leaderNameOf, untilReplicated } from '../helpers/nats-cluster.js';
import { VirtualNetwork, type VirtualHost } from '../helpers/network.js';
import { insertTarget, someRelease } from '../helpers/rows.js';
import { packFixture, type Sdist } from '../helpers/sdist.js';
import { SimulatedSlave } from '../helpers/simulated-slave.js';
import { LeaderProbe } from './leader-probe.js';
import type { NetworkSlaveEvent, NetworkSlaveOptions } from './network-slave.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const BIN = join(ROOT, 'dist', 'run', 'bin.js');
const CLUSTER_FILES = join(ROOT, 'config', 'nats', 'cluster-files.sh');

const SERVERS = ['nats-1', 'nats-2', 'nats-3'];
const MASTERS = ['master-1', 'master-2'] as const;
type Master = (typeof MASTERS)[number];
const HOSTS = [...SERVERS, ...MASTERS, 'oracle', 'builders', 'site'];
/** The user of the slaves at the farm, and that of the leaf node's. */
const [FARM_USER, SITE_USER] = ['slave', 'attic'];
const SITE = 'site';
/** The rate of the link of the leaf node. */
const SITE_MEGABITS = 10;
const MONITOR_PORT = 8222;
/** RestartSec of the systemd units, milliseconds. */
const RESTART_MS = 5000;
/** What the simulated slaves build for; the real one builds for the machine's own Python. */
const SIMULATED_ABI = 'cp38';
const BUILDS_PER_PACKAGE = 50;
export const LEASES = 'KV_piw-leaders';

/** A nats-server on a host of its own, with the files that cluster-files.sh has written. */
export class NetworkServer extends ControlledNats {
  readonly host: VirtualHost;
  readonly folder: string;

  constructor(binary: string, folder: string, host: VirtualHost, logs: string) {
    const config = join(folder, 'nats-server.conf');
    const log = join(logs, `${host.name}.log`);
    const store = join(folder, 'js');
    const files = { binary, config, log, store, launcher: host.launcher() };
    super(files, MONITOR_PORT, { env: { ...process.env, ...readEnvironment(folder) } }, host.address);
    this.host = host;
    this.folder = folder;
    // The folders are those of this host; and the server reserves the maximum size of every bucket, however small the
    // disk is.
    const text = readFileSync(config, 'utf8')
      .replace('/run/nats/', `${folder}/`)
      .replace('store_dir: "/var/lib/nats"', `store_dir: "${store}", max_file_store: 1TB`);
    writeFileSync(
      config,
      `http: ${host.address}:${MONITOR_PORT}\nlame_duck_duration: 30s\nlame_duck_grace_period: 1s\n${text}`,
    );
  }

  /** Whether the leaf node is connected to this server. */
  async hasLeaf(): Promise<boolean> {
    return (await this.counter('leafz', 'leafnodes')) > 0;
  }
}

function readEnvironment(folder: string): Record<string, string> {
  try {
    const lines = readFileSync(join(folder, 'nats-server.env'), 'utf8').trim().split('\n');
    return Object.fromEntries(lines.map((line) => line.split('=') as [string, string]));
  } catch {
    // A leaf node has none.
    return {};
  }
}

/** A slave, and the builds that it was given and has finished with. */
export class NetworkSlave {
  readonly label: string;
  readonly atSite: boolean;
  readonly given: { readonly build: string; readonly at: number }[] = [];
  readonly done: { readonly build: string; readonly givenAt: number }[] = [];

  constructor(label: string, atSite: boolean, child: ChildProcess) {
    this.label = label;
    this.atSite = atSite;
    let rest = '';
    child.stdout?.on('data', (data: Buffer) => {
      const lines = (rest + data.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#note(JSON.parse(line) as NetworkSlaveEvent);
    });
  }

  /** Whether it has handed in a build that it was given after this time. */
  hasWorkedSince(at: number): boolean {
    return this.done.some(({ givenAt }) => givenAt > at);
  }

  /** Whether it has made a wheel, and not handed it in yet. */
  get isSending(): boolean {
    const last = this.given.at(-1);
    return last !== undefined && this.done.length < this.given.length && performance.now() - last.at > 1000;
  }

  #note({ event, build }: NetworkSlaveEvent): void {
    const now = performance.now();
    if (event === 'given') this.given.push({ build, at: now });
    else this.done.push({ build, givenAt: this.given.at(-1)?.at ?? now });
  }
}

export interface NetworkFarmOptions {
  /** A folder that the caller removes. */
  readonly path: string;
  readonly natsBinary: string;
  /** Only one master, and only simulated slaves at the farm. */
  readonly small: boolean;
  /** How many real builds there can be. */
  readonly realBuilds: number;
  readonly print: (line: string) => void;
}

export interface Audit {
  readonly lost: readonly string[];
  readonly doubled: readonly string[];
}

export class NetworkFarm {
  readonly network: VirtualNetwork;
  readonly servers: readonly NetworkServer[];
  readonly leaf: NetworkServer | undefined;
  readonly slaves: NetworkSlave[] = [];
  readonly probe: LeaderProbe;
  /** A master's connection to the cluster. */
  readonly bus: Bus;
  readonly #options: NetworkFarmOptions;
  readonly #account: Account | undefined;
  readonly #program: StagedProgram;
  readonly #folder: DataFolder;
  readonly #config: string;
  readonly #database: Database;
  readonly #sdists: readonly Sdist[];
  #packages = 0;
  #logStart = new Map<Master, number>();
  #newSlaves = 0;
  #releasedSdists = 0;

  private constructor(
    parts: Pick<NetworkFarm, 'network' | 'servers' | 'leaf' | 'probe' | 'bus'>,
    options: NetworkFarmOptions,
    folder: DataFolder,
    program: StagedProgram,
    config: string,
    database: Database,
    sdists: readonly Sdist[],
  ) {
    this.network = parts.network;
    this.servers = parts.servers;
    this.leaf = parts.leaf;
    this.probe = parts.probe;
    this.bus = parts.bus;
    this.#options = options;
    this.#account = folder.account;
    this.#folder = folder;
    this.#program = program;
    this.#config = config;
    this.#database = database;
    this.#sdists = sdists;
  }

  static async start(options: NetworkFarmOptions): Promise<NetworkFarm> {
    const { path, natsBinary, small, print } = options;
    const account = unprivilegedAccount();
    chmodSync(path, 0o755);
    chownTo(path, account);
    const network = await VirtualNetwork.create(small ? HOSTS.filter((name) => name !== SITE) : HOSTS);
    const folder = DataFolder.open(join(path, 'data'), account);
    const { servers, leaf, masterAddress } = writeServers(
      path,
      folder.subfolder('logs'),
      natsBinary,
      network,
      small,
    );
    await Promise.all([...servers, ...(leaf ? [leaf] : [])].map((server) => server.start()));
    addSlaveUsers(path, servers, leaf, masterAddress);
    print('the nats-servers run');

    const controller = new AbortController();
    const postgres = await startPostgres({
      folder,
      log: print,
      signal: controller.signal,
      onFailure: ({ message }) => {
        print(message);
      },
    });
    await migrate(postgres.adminDsn, { user: postgres.role });
    await postgres.process.stop();
    const dsn = postgres.dsn.replace('127.0.0.1', network.address);
    await servePostgres(folder, dsn);
    const database = await connectDatabase(dsn);
    const sdists = Array.from({ length: options.realBuilds }, (_, n) =>
      packFixture('plain', { version: `1.${n}` }),
    );
    const index = await IndexServer.start(sdists);
    await network.forward(index.port);
    await insertTarget(database, SIMULATED_ABI);
    if (!small) {
      const { abiTag: abi, platformTag: platform } = await probeInterpreter('python3', {});
      await insertTarget(database, abi, { platform });
    }

    const program = stageProgram(ROOT, account);
    const settings = {
      nats: masterAddress,
      dsn,
      'output-path': folder.subfolder('www'),
      'pypi-simple': 'http://127.0.0.1:9/simple',
      'index-url': index.url.replace('127.0.0.1', network.address),
    };
    const config = folder.writeSecret('master.conf', formatConfig(settings));
    const bus = await Bus.connect({ address: masterAddress, name: 'chaos', patienceMs: 60_000 });
    const probeBuses = await Promise.all(
      servers.map(({ host }) =>
        Bus.connect({
          address: masterAddress.replace(/@.*/, `@${host.address}`),
          name: 'probe',
          patienceMs: 60_000,
        }),
      ),
    );
    const singles = CAST.filter(({ kind }) => kind === 'single').map(({ task }) => task);
    const probe = new LeaderProbe(probeBuses, singles);
    const farm = new NetworkFarm(
      { network, servers, leaf, probe, bus },
      options,
      folder,
      program,
      config,
      database,
      sdists,
    );
    await farm.#startProcesses();
    return farm;
  }

  async #startProcesses(): Promise<void> {
    const { small, print } = this.#options;
    await this.addBuilds(10);
    this.startMaster('master-1');
    await until(() => this.probe.allAtWork, 120_000);
    print('the master is at work');
    if (!small) {
      this.startMaster('master-2');
      this.startOracle();
    }
    this.#startSlave('small', 'builders', FARM_USER, 0);
    this.#startSlave('large', 'builders', FARM_USER, 5_000_000);
    if (!small) {
      this.#startSlave('attic', SITE, SITE_USER, 2_000_000);
      this.#startRealSlave();
    }
  }

  server(name: string): NetworkServer {
    const server = this.servers.find(({ host }) => host.address === name);
    if (!server) throw new Error(`there is no server ${name}`);
    return server;
  }

  /** Returns the server that leads the leases. */
  async leader(): Promise<NetworkServer> {
    return this.server(await leaderNameOf(this.bus, LEASES));
  }

  /** Returns the server that the leaf node is connected to. */
  async hub(): Promise<NetworkServer> {
    let hub: NetworkServer | undefined;
    await until(async () => {
      for (const server of this.servers) if (await server.hasLeaf().catch(() => false)) hub = server;
      return hub !== undefined;
    }, 300_000);
    return hub ?? this.server('');
  }

  async untilReplicated(): Promise<void> {
    await untilReplicated(this.bus, LEASES, 300_000);
  }

  startMaster(host: Master): void {
    this.#startProgram(host, ['master', '-c', this.#config], host);
  }

  startOracle(): void {
    this.#startProgram('oracle', ['actor', 'the-oracle', '-c', this.#config], 'oracle');
  }

  /** Adds builds for the simulated slaves. */
  async addBuilds(packages: number): Promise<void> {
    for (const end = this.#packages + packages; this.#packages < end; this.#packages += 1) {
      const name = `p${this.#packages}`;
      const releases = Array.from({ length: BUILDS_PER_PACKAGE }, (_, n) =>
        someRelease(`1.${n}`, { requires_python: '==3.8.*' }),
      );
      await addReleases(this.#database, name, 'feed', releases);
    }
  }

  /** Adds a build for the real slave; returns its version. */
  async addRealBuild(): Promise<string> {
    const sdist = this.#sdists[this.#releasedSdists];
    const version = `1.${this.#releasedSdists}`;
    this.#releasedSdists += 1;
    if (!sdist) throw new Error('there are no more sdists');
    const release = someRelease(version, { requires_python: '>=3.9', sdist_sha256: sdist.sha256 });
    await addReleases(this.#database, sdist.name, 'feed', [release]);
    return version;
  }

  /** Whether the real slave's build of this version has been logged. */
  async isBuilt(version: string): Promise<boolean> {
    const rows = await this.#database.query(
      `select from builds b join versions using (version_id) join packages using (package_id)
       where package = 'piw-fixture-plain' and version = $1 and b.status`,
      [version],
    );
    return rows.length > 0;
  }

  /** Registers a new slave at the farm, which goes away again. Returns how many seconds that took. */
  async helloSeconds(): Promise<number> {
    const began = performance.now();
    const settings = loadSettings({}, join(this.#options.path, `${FARM_USER}.conf`));
    const { user, ...connection } = slaveConnection(settings);
    const session = `new${this.#newSlaves}`;
    this.#newSlaves += 1;
    const bus = await Bus.connect({ ...connection, name: session, patienceMs: 300_000 });
    const slave = new SimulatedSlave(bus, session, { label: user }, SMALL_ATTEMPT_LIMIT_MS);
    for (;;) {
      try {
        await slave.hello();
        break;
      } catch {
        // It is repeated, as a slave does.
      }
    }
    const seconds = (performance.now() - began) / 1000;
    void slave
      .bye()
      .catch(() => undefined)
      .then(() => bus.drain());
    return seconds;
  }

  #logOf(host: Master): string {
    return existsSync(this.#logFile(host)) ? readFileSync(this.#logFile(host), 'utf8') : '';
  }

  #logFile(name: string): string {
    return this.#folder.join('logs', `${name}.log`);
  }

  /** Everything that is logged from now on is new. */
  markLogs(): void {
    for (const host of MASTERS) this.#logStart.set(host, this.#logOf(host).length);
  }

  /** Waits until a master has logged this since markLogs(). */
  async untilLogged(text: string, hosts: readonly Master[] = MASTERS): Promise<void> {
    const newLog = (host: Master) => this.#logOf(host).slice(this.#logStart.get(host) ?? 0);
    await until(() => hosts.some((host) => newLog(host).includes(text)), 120_000);
  }

  /** Returns the master whose Slave Driver is at work. */
  leadingMaster(): Master {
    const lastFence = (name: Master) =>
      Math.max(
        0,
        ...[...this.#logOf(name).matchAll(/slave-driver: at work fence=(\d+)/g)].map(([, fence]) =>
          Number(fence),
        ),
      );
    return MASTERS.reduce((first, second) => (lastFence(second) > lastFence(first) ? second : first));
  }

  /**
   * Returns the builds that slaves have finished with but that are neither logged nor in the queue, and those that were
   * logged or given out more than once.
   */
  async audit(): Promise<Audit> {
    // Before the database is asked: a build that is done later may not be in the answer.
    const done = this.slaves.flatMap((slave) => slave.done.map(({ build }) => build));
    const kept = await this.#database.query<{ name: string; count: number }>(
      `select p.package || ' ' || v.version as name, sum(logged)::int as count
         from (select version_id, status::int as logged from builds
                union all select version_id, 0 from queue) as kept
              join versions v using (version_id) join packages p on p.package_id = v.package_id
        group by 1`,
    );
    const keptNames = new Set(kept.map(({ name }) => name));
    const given = this.slaves.flatMap((slave) => slave.given.map(({ build }) => build));
    const repeated = given.filter((build, i) => given.indexOf(build) < i);
    return {
      lost: done.filter((build) => !keptNames.has(build)),
      doubled: [...new Set([...kept.filter(({ count }) => count > 1).map(({ name }) => name), ...repeated])],
    };
  }

  #startSlave(label: string, host: string, user: string, wheelBytes: number): void {
    const configuration = join(this.#options.path, `${user}.conf`);
    const options: NetworkSlaveOptions = { configuration, label, abi: SIMULATED_ABI, wheelBytes };
    const script = fileURLToPath(new URL('./network-slave.js', import.meta.url));
    const [program, ...args] = [...this.network.host(host).launcher(), process.execPath, script];
    const log = openSync(this.#folder.prepareLog(`${label}.log`), 'a');
    const child = spawn(program, [...args, JSON.stringify(options)], { stdio: ['ignore', 'pipe', log] });
    closeSync(log);
    this.slaves.push(new NetworkSlave(label, host === SITE, child));
  }

  #startRealSlave(): void {
    const home = mkdtempSync(join(this.#options.path, 'home-'));
    chownTo(home, this.#account);
    const config = this.#folder.writeSecret(
      'real.conf',
      `${readFileSync(join(this.#options.path, `${SITE_USER}.conf`), 'utf8')}work-dir = ${home}/work\n`,
    );
    const args = ['slave', '-c', config, '--sandbox', 'none', '--allow-exposed', '--label', 'real'];
    this.#startProgram(SITE, args, 'real');
  }

  #startProgram(host: string, args: readonly string[], log: string): void {
    const [program = '', ...rest] = [
      ...this.network.host(host).launcher(this.#account),
      this.#program.node,
      join(this.#program.root, 'dist', 'run', 'bin.js'),
      ...args,
    ];
    const fd = openSync(this.#folder.prepareLog(`${log}.log`), 'a');
    const child = spawn(program, rest, {
      stdio: ['ignore', fd, fd],
      cwd: this.#folder.path,
      env: {
        PATH: process.env['PATH'],
        HOME: this.#folder.path,
        PIW_FARM_BUILD_ENV: JSON.stringify({ PIP_TRUSTED_HOST: this.network.address, PIP_RETRIES: '0' }),
      },
    });
    closeSync(fd);
    child.unref();
    // As the systemd units do. A signal ends it only together with its host.
    child.once('exit', (status) => {
      if (status === null || [0, 2].includes(status)) return;
      setTimeout(() => {
        this.#startProgram(host, args, log);
      }, RESTART_MS).unref();
    });
  }
}

/** Starts PostgreSQL with the data that startPostgres has created, for all hosts: on the address in the DSN. */
async function servePostgres(folder: DataFolder, dsn: string): Promise<void> {
  const { hostname, port } = new URL(dsn);
  const data = folder.join('postgres');
  appendFileSync(join(data, 'pg_hba.conf'), 'host all all samenet scram-sha-256\n');
  const settings = { listen_addresses: hostname, port, unix_socket_directories: '', max_connections: '200' };
  const options = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const log = openSync(folder.prepareLog('postgres.log'), 'a');
  const { bin } = await findPostgres(folder.account, () => undefined, new AbortController().signal);
  spawn(join(bin, 'postgres'), ['-D', data, ...options], {
    ...runAs(folder.account),
    cwd: folder.path,
    stdio: ['ignore', log, log],
  }).unref();
  closeSync(log);
}

async function connectDatabase(dsn: string): Promise<Database> {
  let database: Database | undefined;
  await until(async () => {
    database = await Database.open(dsn, 'network', { connections: 1 }).catch(() => undefined);
    return database !== undefined;
  });
  return database ?? Database.open(dsn, 'network');
}

/** Writes the configurations of the servers, as docs/master.md has an administrator do it. */
function writeServers(path: string, logs: string, binary: string, network: VirtualNetwork, small: boolean) {
  const files = join(path, 'nats');
  const hosts = SERVERS.map((name) => network.host(name));
  const sites = small ? [] : [SITE];
  execFileSync('sh', [CLUSTER_FILES, files, ...hosts.map(({ address }) => address), ...sites]);
  const servers = hosts.map((host) => new NetworkServer(binary, join(files, host.address), host, logs));
  const leaf = small ? undefined : new NetworkServer(binary, join(files, SITE), network.host(SITE), logs);
  leaf?.host.limitRate(SITE_MEGABITS);
  const masterAddress = readFileSync(join(files, 'piwheels.nats'), 'utf8').trim();
  return { servers, leaf, masterAddress };
}

/** Adds the slaves' users with the product's command: one at the first server, and one at the leaf node. */
function addSlaveUsers(
  path: string,
  servers: readonly NetworkServer[],
  leaf: NetworkServer | undefined,
  masterAddress: string,
): void {
  const addresses = masterAddress.replace(/.*@/, '');
  const add = (server: NetworkServer, name: string, master: string, ...args: readonly string[]) => {
    const pidFile = join(server.folder, 'nats-server.pid');
    const usersFile = join(server.folder, 'piw-slaves.conf');
    const output = join(path, `${name}.conf`);
    const options = [
      '--nats-users',
      usersFile,
      '--nats-pid',
      pidFile,
      '--nats',
      `nats://${server.host.address}`,
    ];
    const command = [BIN, 'slaves', 'add', name, '--master', master, '--output', output, ...options, ...args];
    const [program = '', ...rest] = [...server.host.launcher(), process.execPath, ...command];
    const said = execFileSync(program, rest, { encoding: 'utf8' });
    if (!said.includes('the server accepts its key')) throw new Error(`piw slaves add: ${said}`);
    return { usersFile };
  };
  const [first, ...others] = servers;
  if (!first) return;
  const { usersFile } = add(first, FARM_USER, `nats://${addresses}`);
  for (const { folder } of others) {
    copyFileSync(usersFile, join(folder, 'piw-slaves.conf'));
    process.kill(Number(readFileSync(join(folder, 'nats-server.pid'), 'utf8')), 'SIGHUP');
  }
  if (leaf) add(leaf, SITE_USER, `nats://${leaf.host.address}`, '--leaf');
}
