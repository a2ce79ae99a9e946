/** A network of several hosts on this machine: each is a network namespace, and a bridge joins them. Needs root. */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import type { Account } from '../../src/servers/privileges.js';
import { until } from './bus.js';
import { skipUnlessInstalled } from './missing.js';

/** The network of all hosts; each host's address ends with its number, counted from 1. */
const SUBNET = '10.77.0';
const BRIDGE = 'piw-bridge';
/** Namespaces for network, processes and mounts: when its first process ends, so does everything in it. */
const UNSHARE = ['--net', '--pid', '--fork', '--mount-proc', '--kill-child'];
/** Set in the environment of a process that has its own network. */
const ENTERED = 'PIW_TEST_NETWORK';

/** Returns why there can be no network of namespaces here, or false. */
export function skipWithoutNetwork(): string | false {
  const missing = skipUnlessInstalled('unshare', 'nsenter', 'ip', 'tc');
  if (missing !== false) return missing;
  if (process.getuid?.() !== 0) return 'needs root, for network namespaces';
  const script = `ip link add ${BRIDGE} type bridge && ip link add piw-a type veth peer name piw-b
    tc qdisc add dev piw-a root tbf rate 1mbit burst 32kb latency 100ms`;
  const { status, stderr } = spawnSync('unshare', [...UNSHARE, 'sh', '-ec', script]);
  return status === 0
    ? false
    : `needs network namespaces with bridges and queues: ${String(stderr).trim().split('\n')[0] ?? ''}`;
}

export const hasOwnNetwork = (): boolean => process.env[ENTERED] !== undefined;

/**
 * Runs this process's program again in namespaces of its own, and returns its exit status. However it ends, every
 * process that it has started ends with it, and its network is removed.
 */
export async function runInOwnNetwork(env: Readonly<Record<string, string>>): Promise<number> {
  // The shell is the first process, which has to collect the processes that lost their parents.
  const command = ['sh', '-c', '"$@"; exit $?', 'sh', process.execPath, ...process.argv.slice(1)];
  const child = spawn('unshare', [...UNSHARE, ...command], {
    stdio: 'inherit',
    env: { ...process.env, ...env, [ENTERED]: '1' },
  });
  // Ctrl+C reaches the child, too, which ends.
  const ignore = () => undefined;
  process.on('SIGINT', ignore);
  const terminate = () => child.kill('SIGKILL');
  process.on('SIGTERM', terminate);
  const status = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => {
      resolve(code ?? 1);
    });
  });
  process.off('SIGINT', ignore);
  process.off('SIGTERM', terminate);
  return status;
}

const ip = (...args: readonly string[]): void => {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] });
};

/** A host: a network namespace with one link to the bridge. */
export class VirtualHost {
  readonly name: string;
  readonly address: string;
  readonly #link: string;
  /** A process that does nothing and keeps the namespace. */
  readonly #keeper: ChildProcess;

  private constructor(name: string, number: number, keeper: ChildProcess) {
    this.name = name;
    this.address = `${SUBNET}.${number}`;
    this.#link = `piw-${number}`;
    this.#keeper = keeper;
  }

  static async create(name: string, number: number): Promise<VirtualHost> {
    const keeper = spawn('unshare', ['--net', 'sleep', 'infinity'], { stdio: 'ignore' });
    const host = new VirtualHost(name, number, keeper);
    const namespaceOf = (pid: number | undefined) => readlinkSync(`/proc/${pid ?? 'self'}/ns/net`);
    await until(() => namespaceOf(keeper.pid) !== namespaceOf(undefined));
    ip('link', 'add', host.#link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(keeper.pid));
    ip('link', 'set', host.#link, 'master', BRIDGE, 'up');
    host.#run('ip', 'addr', 'add', `${host.address}/24`, 'dev', 'eth0');
    host.#run('ip', 'link', 'set', 'lo', 'up');
    host.#run('ip', 'link', 'set', 'eth0', 'up');
    return host;
  }

  /** Returns the beginning of a command line that runs the rest of it on this host, in the same process. */
  launcher(account?: Account): readonly string[] {
    const ids = account ? ['-G', String(account.gid), '-S', String(account.uid)] : [];
    return ['nsenter', '-t', String(this.#keeper.pid), '-n', ...ids, '--'];
  }

  /** Takes the link down: what this host and the others send to each other is lost, and no connection is closed. */
  cut(): void {
    ip('link', 'set', this.#link, 'down');
  }

  join(): void {
    ip('link', 'set', this.#link, 'up');
  }

  /** Kills every process on this host. */
  kill(): void {
    const namespaceOf = (pid: string) => {
      try {
        return readlinkSync(`/proc/${pid}/ns/net`);
      } catch {
        // It has ended.
        return undefined;
      }
    };
    const keeper = String(this.#keeper.pid);
    const namespace = namespaceOf(keeper);
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name) && name !== keeper))
      if (namespaceOf(pid) === namespace) process.kill(Number(pid), 'SIGKILL');
  }

  /** Limits each direction of the link; packets wait in a queue for up to 0.3 s, which is then the delay. */
  limitRate(megabits: number): void {
    const limit = ['root', 'tbf', 'rate', `${megabits}mbit`, 'burst', '32kb', 'latency', '300ms'];
    execFileSync('tc', ['qdisc', 'add', 'dev', this.#link, ...limit]);
    this.#run('tc', 'qdisc', 'add', 'dev', 'eth0', ...limit);
  }

  remove(): void {
    this.#keeper.kill('SIGKILL');
  }

  #run(...command: readonly string[]): void {
    const [program = '', ...args] = [...this.launcher(), ...command];
    execFileSync(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  }
}

/** The hosts, and this process's own connection to them. Only in a process that has its own network. */
export class VirtualNetwork {
  /** The address of this process. */
  readonly address = `${SUBNET}.254`;
  readonly #hosts: readonly VirtualHost[];
  readonly #forwarders: Server[] = [];

  private constructor(hosts: readonly VirtualHost[]) {
    this.#hosts = hosts;
  }

  static async create(names: readonly string[]): Promise<VirtualNetwork> {
    ip('link', 'set', 'lo', 'up');
    ip('link', 'add', BRIDGE, 'type', 'bridge');
    ip('addr', 'add', `${SUBNET}.254/24`, 'dev', BRIDGE);
    ip('link', 'set', BRIDGE, 'up');
    const hosts = await Promise.all(names.map((name, i) => VirtualHost.create(name, i + 1)));
    return new VirtualNetwork(hosts);
  }

  host(name: string): VirtualHost {
    const host = this.#hosts.find((candidate) => candidate.name === name);
    if (!host) throw new Error(`the network has no host ${name}`);
    return host;
  }

  /** Gives this process one more address, which ends with this number. */
  addAddress(number: number): string {
    const address = `${SUBNET}.${number}`;
    ip('addr', 'add', `${address}/24`, 'dev', BRIDGE);
    return address;
  }

  /** Forwards connections to this process's address to a port of its loopback address. */
  async forward(port: number): Promise<void> {
    const server = createServer((client) => {
      const upstream = connect(port, '127.0.0.1');
      client.pipe(upstream).pipe(client);
      client.on('error', () => upstream.destroy());
      upstream.on('error', () => client.destroy());
    });
    this.#forwarders.push(server);
    await new Promise<void>((resolve) => server.listen(port, this.address, resolve));
  }

  remove(): void {
    for (const server of this.#forwarders) server.close();
    for (const host of this.#hosts) host.remove();
    ip('link', 'del', BRIDGE);
  }
}
