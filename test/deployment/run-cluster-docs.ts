/**
 * Runs the shell blocks of docs/master.md about a farm of several machines as they stand, in their order, on clean
 * machines (clean-machine.ts) in a network of their own: three nats-servers in a cluster, PostgreSQL on a host of its
 * own, a master, a standby, a host that runs only an Oracle, a leaf node, and a builder behind it. All connections use
 * TLS; the standby reaches the database through an SSH tunnel.
 *
 * Then it takes the first host away, with its nats-server and the master that works, and checks that the standby and
 * the builder go on.
 *
 *     node dist/test/deployment/run-cluster-docs.js [--keep-logs]
 *
 * Needs root, Debian, network namespaces, Debian's package archive and PyPI. What systemd and scp would do is done by
 * stand-ins, and the output path is a folder that the masters share. Prints a line for each block and check; exits with
 * 1 if one fails, or with 0 and a line that begins with `skipped` if it can't run here.
 */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { shellBlocks, type ShellBlock } from '../docs/blocks.js';
import { VirtualNetwork, hasOwnNetwork, runInOwnNetwork, skipWithoutNetwork } from '../helpers/network.js';
import { RUN_CLUSTER_DOCS } from '../docs/runners.js';
import { BlockFailed, blocksUnder, check, copyClone, report, reportEnd, runBlock } from './chapters.js';
import { CleanMachine } from './clean-machine.js';
import { forwardOutside, outsideNames, serveOutside } from './outside.js';

const { values: options } = parseArgs({ options: { 'keep-logs': { type: 'boolean', default: false } } });
/** The folder of this run, in the environment of the process that has its own network. */
const FOLDER_VARIABLE = 'PIW_TEST_CLUSTER_FOLDER';

const SERVERS = ['nats-1.farm.example', 'nats-2.farm.example', 'nats-3.farm.example'] as const;
const DATABASE = 'db.farm.example';
const LEAF = 'attic.farm.example';
const BUILDER = 'pi4';
const MACHINES = [...SERVERS, DATABASE, LEAF, BUILDER];
/** The builder knows the leaf node alone. */
const KNOWN_TO_BUILDER = [LEAF, BUILDER];
const MASTER = 'docs/master.md';
const SERVER = 'docs/server.md';

async function main(): Promise<void> {
  const missing = existsSync('/etc/debian_version') ? skipWithoutNetwork() : 'needs Debian';
  if (missing !== false) {
    process.stdout.write(`skipped: ${missing}\n`);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'piw-docs-'));
  chmodSync(folder, 0o755);
  const outside = await serveOutside(join(folder, 'outside'));
  process.exitCode = await runInOwnNetwork({ [FOLDER_VARIABLE]: folder });
  outside.close();
  if (options['keep-logs']) process.stdout.write(`logs: ${folder}/*.log\n`);
  else rmSync(folder, { recursive: true, force: true });
}

/** What is done in the network of the machines. */
async function mainInNetwork(folder: string): Promise<void> {
  const startMs = performance.now();
  const network = await VirtualNetwork.create(MACHINES);
  const outside = await forwardOutside(network, join(folder, 'outside'), outsideNames());
  const homes = Object.fromEntries(MACHINES.map((name) => [name, join(folder, `home-${name}`)]));
  const shared = join(folder, 'output-path');
  for (const path of [...Object.values(homes), shared]) mkdirSync(path);
  const machines = new Map<string, CleanMachine>();
  try {
    for (const name of MACHINES) {
      const known = name === BUILDER ? KNOWN_TO_BUILDER : MACHINES;
      const hosts = known.map((host) => `${network.host(host).address} ${host} ${host.split('.')[0] ?? ''}`);
      const machine = await CleanMachine.start({
        name,
        fqdn: name,
        hosts: [...hosts, ...outside],
        folder,
        homes,
        ...(name.startsWith('nats-') ? { shared } : {}),
        launcher: network.host(name).launcher(),
      });
      machines.set(name, machine);
      machine.prepare();
    }
    report(true, `${MACHINES.length} clean machines`, startMs);
    await new Chapters(network, machines, homes).run();
  } catch (error) {
    if (!(error instanceof BlockFailed)) throw error;
  } finally {
    for (const machine of machines.values()) await machine.close();
    network.remove();
  }
  reportEnd(RUN_CLUSTER_DOCS);
}

class Chapters {
  readonly #network: VirtualNetwork;
  readonly #machines: ReadonlyMap<string, CleanMachine>;
  readonly #homes: Readonly<Record<string, string>>;

  constructor(
    network: VirtualNetwork,
    machines: ReadonlyMap<string, CleanMachine>,
    homes: Readonly<Record<string, string>>,
  ) {
    this.#network = network;
    this.#machines = machines;
    this.#homes = homes;
  }

  async run(): Promise<void> {
    await this.#startServers();
    await this.#prepareDatabase();
    await this.#startMasters();
    await this.#startSite();
    await this.#run(MASTER, 'Updating', [SERVERS[2]]);
    await this.#machine(SERVERS[0]).run('cd "$HOME/piw"');
    await this.#run(MASTER, 'From a tarball', [SERVERS[0]]);
    this.#checkTls();
    await this.#run('docs/operations.md', 'How the farm is', [SERVERS[1]]);
    await this.#run('docs/operations.md', 'When something does not work', [SERVERS[0]]);
    await this.#loseFirstHost();
  }

  #machine(name: string): CleanMachine {
    const machine = this.#machines.get(name);
    if (!machine) throw new Error(`there is no machine ${name}`);
    return machine;
  }

  /** Runs the blocks under a heading: all of them on each of the hosts. */
  async #run(page: string, heading: string, hosts: readonly string[]): Promise<void> {
    for (const host of hosts)
      for (const block of blocksUnder(page, heading)) await runBlock(this.#machine(host), block);
  }

  /** Runs the blocks under a heading, each on its own hosts. */
  async #runEach(page: string, heading: string, hosts: readonly (readonly string[])[]): Promise<void> {
    const blocks = blocksUnder(page, heading);
    if (blocks.length !== hosts.length)
      throw new Error(`${page} has ${blocks.length} blocks under "${heading}", and not ${hosts.length}`);
    for (const [i, block] of blocks.entries())
      for (const host of hosts[i] ?? []) await runBlock(this.#machine(host), block);
  }

  async #startServers(): Promise<void> {
    const [first, ...others] = SERVERS;
    const [programs, tarball] = shellBlocks(SERVER).filter(({ headings }) => headings.includes('Programs'));
    const run = (name: string, block: ShellBlock | undefined) =>
      block ? runBlock(this.#machine(name), block) : undefined;
    for (const name of [...SERVERS, DATABASE, LEAF]) await run(name, programs);
    copyClone(join(this.#homes[first] ?? '', 'piw'), this.#machine(first));
    await this.#machine(first).run('cd "$HOME/piw"');
    await run(first, tarball);
    const [files, start, user] = blocksUnder(MASTER, 'A cluster of nats-servers');
    await run(first, files);
    const installers = [...others, LEAF];
    await this.#run('docs/builder.md', 'piw', installers);
    for (const name of [...SERVERS, LEAF]) await run(name, start);
    for (const name of SERVERS) await run(name, user);
  }

  async #prepareDatabase(): Promise<void> {
    const [first, second] = SERVERS;
    const database = this.#machine(DATABASE);
    const startMs = performance.now();
    database.asRoot('apt-get -q install -y --no-install-recommends openssh-server && /etc/init.d/ssh start');
    report(true, 'sshd for the tunnel', startMs);
    await this.#machine(first).run(`scp piw-*.tgz ${DATABASE}:`);
    await this.#run('docs/builder.md', 'piw', [DATABASE]);
    await this.#run(SERVER, 'Database', [DATABASE]);
    await this.#runEach(MASTER, 'By password and TLS', [[first], [DATABASE], SERVERS]);
    check(
      database,
      'PostgreSQL refuses a connection without TLS',
      `PGPASSWORD=x psql 'host=${DATABASE} user=piwheels dbname=piwheels sslmode=disable' 2>&1 || true`,
      /no pg_hba\.conf entry|no encryption/,
    );
    await this.#runEach(MASTER, 'Through an SSH tunnel of the socket', [[second], [DATABASE], [second]]);
  }

  async #startMasters(): Promise<void> {
    const [first, second, third] = SERVERS;
    await this.#run(MASTER, 'The first master', [first]);
    await this.#run(SERVER, 'ABI', [first]);
    await this.#run(MASTER, 'A standby', [second]);
    await this.#run(MASTER, 'Tasks on further hosts', [third]);
    check(
      this.#machine(third),
      'the third host runs an Oracle and no other task',
      'ps -eo user:20,args --no-headers | grep "^piwheels"',
      /^(?:piwheels .*(?:actor|the-oracle).*\n)+$/,
    );
  }

  /** Starts the builder behind the leaf node, and waits for its build. */
  async #startSite(): Promise<void> {
    await this.#run(MASTER, 'A leaf node at another site', [LEAF]);
    for (const block of shellBlocks('docs/builder.md')) await runBlock(this.#machine(BUILDER), block);
    this.#checkBuilt(SERVERS[0], 'markupsafe', '');
  }

  /** Waits until a master says that the package was built, and finds its wheel. */
  #checkBuilt(master: string, name: string, version: string): void {
    check(
      this.#machine(master),
      `${name}${version && ` ${version}`} was built behind the leaf node`,
      `cd /tmp
      for second in $(seq 400); do
        sudo -u piwheels piw logs ${name} ${version} > /tmp/log 2>&1 && break
        sleep 2
      done
      cat /tmp/log
      for second in $(seq 300); do ls /var/www/piwheels/simple/${name}/ 2> /dev/null | grep '\\.whl$' && break; sleep 1; done`,
      new RegExp(`^${name}-${version || '.*'}-cp\\d+-cp\\d+-linux_\\w+\\.whl$`, 'm'),
    );
  }

  #checkTls(): void {
    const [first, second] = SERVERS;
    for (const [port, whose] of [
      [4222, 'clients'],
      [7422, 'leaf nodes'],
    ] as const)
      check(
        this.#machine(second),
        `nats-server requires TLS of ${whose}`,
        `exec 3<> /dev/tcp/${first}/${port}
        printf 'CONNECT {"verbose":false,"tls_required":false}\\r\\nPING\\r\\n' >&3
        timeout 10 cat <&3 || true`,
        /^(?![^]*PONG)INFO [^\n]*"tls_required":true/,
      );
    check(
      this.#machine(second),
      'nats-server requires a certificate of other servers',
      `(sleep 5; echo) | openssl s_client -connect ${first}:6222 2>&1 || true`,
      /^(?=[^]*subject=CN ?= ?nats-1\.farm\.example)[^]*certificate required/,
    );
    check(
      this.#machine(LEAF),
      'a leaf node without a certificate is refused',
      `mkdir /tmp/other
      sed -e '/^ *tls {/,/^ *}/{/_file/{/ca_file/!d}}' -e 's/^server_name: .*/server_name: other/' \\
        -e 's/4222"/4333"/' -e '/^pid_file/d' -e '/^tls {/,/^}/d' /etc/nats/nats-server.conf > /tmp/other/nats-server.conf
      cp /etc/nats/piw-slaves.conf /tmp/other/
      timeout 10 nats-server -c /tmp/other/nats-server.conf 2>&1 || true`,
      /Leafnode connection closed/,
    );
    check(
      this.#machine(first),
      'and the server says why',
      'grep "TLS leafnode handshake error" /var/log/units/nats-server.log',
      /client didn't provide a certificate/,
    );
  }

  /** Cuts the first host off and ends everything on it. */
  async #loseFirstHost(): Promise<void> {
    const [first, second] = SERVERS;
    const startMs = performance.now();
    const standby = this.#machine(second);
    this.#network.host(first).cut();
    await this.#machine(first).close();
    report(true, 'the first host is lost', startMs);
    check(
      standby,
      'the standby has taken over',
      `cd /tmp
      for second in $(seq 300); do
        sudo -u piwheels piw status --json > /tmp/status && ! grep -q nats-1 /tmp/status && break
        sleep 1
      done
      sudo -u piwheels piw status || true`,
      /^(?![^]*nats-1)[^]*nats-2, nats-3|nats-3, nats-2/,
    );
    check(standby, 'a build is requested', 'sudo -u piwheels piw add --yes markupsafe 2.1.5 2>&1', /./);
    this.#checkBuilt(second, 'markupsafe', '2.1.5');
  }
}

if (hasOwnNetwork()) await mainInNetwork(process.env[FOLDER_VARIABLE] ?? '');
else await main();
