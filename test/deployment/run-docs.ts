/**
 * Runs the shell blocks of docs/server.md and docs/builder.md as they stand, in their order, on two clean machines
 * (clean-machine.ts): a farm with a user for each service, and TLS. Then it checks that a package was built, that one
 * was imported and one removed, that pip has downloaded both, and that the downloads were counted.
 *
 *     node dist/test/deployment/run-docs.js [--keep-logs]
 *
 * Then it runs the blocks that have nats-server require certificates (docs/master.md), and backs the farm up, removes
 * it and restores it (docs/backup.md).
 *
 * Needs root, Debian, its package archive and PyPI, and the ports 80, 443, 4222 and 5432. What systemd would do is done
 * by a stand-in (systemctl.ts). A block after `<!-- not run: REASON -->` is not run. Prints a line for each block; exits with 1 if
 * one fails, or with 0 and a line that begins with `skipped` if this is not root on Debian.
 */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { shellBlocks, type ShellBlock } from '../docs/blocks.js';
import { RUN_DOCS } from '../docs/runners.js';
import { BlockFailed, blocksUnder, check, copyClone, report, reportEnd, runBlock } from './chapters.js';
import { CleanMachine } from './clean-machine.js';

const { values: options } = parseArgs({ options: { 'keep-logs': { type: 'boolean', default: false } } });
const PORTS = [80, 443, 4222, 5432];
/** The names of both machines, which share this machine's network. */
const HOSTS = ['127.0.0.1 wheels.farm.test wheels pi4'];
/** The heading of the server's chapter after which the builder's chapter is run. */
const BUILDER_AFTER = 'The first builder';

async function isInUse(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => {
      resolve(false);
    });
  });
}

async function main(): Promise<void> {
  if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version')) {
    process.stdout.write('skipped: this needs root on Debian\n');
    return;
  }
  for (const port of PORTS) if (await isInUse(port)) throw new Error(`port ${port} is in use`);
  const folder = mkdtempSync(join(tmpdir(), 'piw-docs-'));
  const homes = Object.fromEntries(['wheels', 'pi4'].map((name) => [name, join(folder, `home-${name}`)]));
  chmodSync(folder, 0o755);
  for (const home of Object.values(homes)) mkdirSync(home);
  const machines: CleanMachine[] = [];
  const startMs = performance.now();
  try {
    const start = async (name: string): Promise<CleanMachine> => {
      const fqdn = `${name}.farm.test`;
      const machine = await CleanMachine.start({ name, fqdn, hosts: HOSTS, folder, homes });
      machines.push(machine);
      return machine;
    };
    const server = await start('wheels');
    const builder = await start('pi4');
    for (const machine of machines) machine.prepare();
    report(true, 'two clean machines', startMs);
    await runChapters(server, builder, homes['wheels'] ?? '');
  } catch (error) {
    if (!(error instanceof BlockFailed)) throw error;
  } finally {
    for (const machine of machines) await machine.close();
    if (options['keep-logs']) process.stdout.write(`logs: ${folder}/*.log\n`);
    else rmSync(folder, { recursive: true, force: true });
  }
  reportEnd(RUN_DOCS);
}

async function runChapters(server: CleanMachine, builder: CleanMachine, home: string): Promise<void> {
  copyClone(join(home, 'piw'), server);
  await server.run('cd "$HOME/piw"');
  for (const block of shellBlocks('docs/commands.md')) await runBlock(server, block);
  const blocks = shellBlocks('docs/server.md');
  const isApache = (block: ShellBlock): boolean => block.headings.includes('Apache');
  const builderAt = blocks.findLastIndex(({ headings }) => headings.includes(BUILDER_AFTER)) + 1;
  for (const block of blocks.slice(0, builderAt)) if (!isApache(block)) await runBlock(server, block);
  for (const block of shellBlocks('docs/builder.md')) await runBlock(builder, block);
  for (const block of blocks.slice(builderAt)) await runBlock(server, block);
  checkFarm(server, builder);
  const startMs = performance.now();
  server.asRoot('systemctl disable --now piw-logger.timer nginx');
  report(true, 'nginx makes way for Apache', startMs);
  for (const block of blocks.filter(isApache)) await runBlock(server, block);
  checkDownloads(server, 'Apache');
  await requireCertificates(server, builder);
  await backUpAndRestore(server);
}

/** Has nats-server ask for certificates, by the blocks of docs/master.md, of which the second is the builder's. */
async function requireCertificates(server: CleanMachine, builder: CleanMachine): Promise<void> {
  for (const [i, block] of blocksUnder('docs/master.md', 'Certificates for all roles').entries())
    await runBlock(i === 1 ? builder : server, block);
  check(
    server,
    'a client without a certificate is refused',
    'cd /tmp; grep -v tls-cert /etc/piwheels.conf | grep -v tls-key > /tmp/without.conf; sudo -u piwheels piw status -c /tmp/without.conf 2>&1 || true',
    /^piw: can't connect to NATS/m,
  );
  check(
    server,
    'the slave is connected again',
    'for second in $(seq 60); do sudo -u piwheels piw status | grep "^slaves *1 waiting" && exit; sleep 2; done',
    /waiting/,
  );
}

/** Backs the farm up by the blocks of docs/backup.md, removes it, and restores it. */
async function backUpAndRestore(server: CleanMachine): Promise<void> {
  for (const block of blocksUnder('docs/backup.md', 'Backing up')) await runBlock(server, block);
  const startMs = performance.now();
  server.asRoot(`systemctl stop piw-master
    rm -r /etc/piwheels.conf /etc/piwheels.nats
    find /var/www/piwheels -mindepth 1 -delete
    cd /tmp
    sudo -u postgres dropdb --force piwheels
    sudo -u postgres dropuser piwheels`);
  report(true, 'database, output path and settings are removed', startMs);
  const [restore] = blocksUnder('docs/backup.md', 'Restoring');
  if (restore !== undefined) await runBlock(server, restore);
  check(
    server,
    'the restored farm is well',
    'for second in $(seq 60); do sudo -u piwheels piw status && exit; sleep 2; done',
    /^packages *2, 2 with a wheel/m,
  );
  checkDownloads(server, 'Apache, after the restore');
  await restoreDatabaseAlone(server);
}

/** Removes only the database, and restores it by the blocks for a farm whose output path has survived. */
async function restoreDatabaseAlone(server: CleanMachine): Promise<void> {
  const [restore, resume] = blocksUnder('docs/backup.md', 'If the output path has survived');
  const startMs = performance.now();
  server.asRoot(`systemctl stop piw-master
    cd /tmp
    sudo -u postgres dropdb --force piwheels
    sudo -u postgres createdb --owner piwheels piwheels`);
  report(true, 'the database alone is removed', startMs);
  if (restore !== undefined) await runBlock(server, restore);
  check(
    server,
    'the farm with the restored database is at work',
    `systemctl start piw-master
    cd /tmp
    for second in $(seq 60); do sudo -u piwheels piw status && exit; sleep 2; done`,
    /^packages *2, 2 with a wheel/m,
  );
  if (resume !== undefined) await runBlock(server, resume);
}

/** Prints for each user of a service how many processes it has, and their share of the memory (PSS). */
const MEMORY = `for pid in $(ls /proc | grep -x '[0-9]*'); do
  pss=$(awk '/^Pss:/ { print $2 }' /proc/$pid/smaps_rollup 2> /dev/null) || continue
  [ -z "$pss" ] || echo "$(stat -c %U /proc/$pid) $pss"
done | awk '{ count[$1] += 1; sum[$1] += $2 }
  END { for (user in sum) printf "  %-12s %3d processes %6d MB\\n", user, count[user], sum[user] / 1024 }' | sort
`;

function checkFarm(server: CleanMachine, builder: CleanMachine): void {
  for (const machine of [server, builder])
    process.stdout.write(`${machine.name}: processes and memory by user\n${machine.asRoot(MEMORY)}`);
  const users = 'ps -eo user:20,args --no-headers';
  check(server, 'nats-server runs as nats', users, /^nats +\S*nats-server/m);
  check(server, 'the master and its tasks run as piwheels', users, /^piwheels .*piw master/m);
  check(builder, 'the slave runs as piw-slave', users, /^piw-slave .*piw slave/m);
  check(
    server,
    'nats-server refuses a connection without TLS',
    `exec 3<> /dev/tcp/127.0.0.1/4222
    printf 'CONNECT {"verbose":false,"pedantic":false,"tls_required":false}\r\nPING\r\n' >&3
    timeout 10 cat <&3 || true`,
    /^(?![^]*PONG)INFO [^\n]*"tls_required":true/,
  );
  check(
    server,
    'MarkupSafe was built, and has a compiled wheel',
    'ls /var/www/piwheels/simple/markupsafe/',
    /^markupsafe-.*-cp\d+-cp\d+-linux_\w+\.whl$/m,
  );
  check(
    server,
    'six 1.17.0 was imported, and 1.16.0 removed',
    'ls /var/www/piwheels/simple/six/',
    /^(?![^]*six-1\.16)[^]*six-1\.17\.0-py2\.py3-none-any\.whl$/m,
  );
  check(
    builder,
    'the builder has no PostgreSQL from npm',
    'find /usr/local/lib/node_modules -path "*embedded-postgres*" -name postgres',
    /^$/,
  );
  checkDownloads(server, 'nginx');
}

/** Has pip download from the farm, and waits for the number of downloads to rise. */
function checkDownloads(server: CleanMachine, kind: string): void {
  const count =
    'sudo -u piwheels piw status --json | python3 -c \'import json, sys; print(json.load(sys.stdin)["statistics"]["downloads"])\'';
  check(
    server,
    `a download through ${kind} is counted`,
    `before=$(${count})
    rm -rf /tmp/counted
    pip() { /home/admin/try/bin/pip "$@"; }
    until pip download --quiet --cert /usr/local/share/ca-certificates/piwheels.crt --no-cache-dir --no-deps \\
      --index-url https://wheels.farm.test/simple/ --dest /tmp/counted six; do sleep 5; done
    for second in $(seq 180); do
      after=$(${count})
      [ "$after" -gt "$before" ] && break
      sleep 1
    done
    echo "downloads: $before, then $after"
    [ "$after" -gt "$before" ] && echo counted`,
    /^counted$/m,
  );
}

await main();
