import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectWithTls } from 'node:tls';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { Bus } from '../../src/bus/bus.js';
import { messageBucket } from '../../src/bus/claims.js';
import { generateUserKey } from '../../src/bus/nkey.js';
import type { TlsFiles } from '../../src/bus/security.js';
import { freePort } from '../../src/servers/ports.js';
import { formatAccounts } from '../../src/servers/nats-accounts.js';
import { chunkBucket } from '../../src/transfer/chunk-bucket.js';
import { SlaveUsers } from '../../src/commands/slaves/user-file.js';
import { deferred } from '../../src/concurrency/deferred.js';
import { until } from '../helpers/bus.js';
import { succeedingBuild, testMaster, testSlave, type BuildStub } from '../helpers/master.js';
import { skipUnlessInstalled } from '../helpers/missing.js';
import { SAMPLE_PASSWORDS, startSampleServer } from '../helpers/nats.js';

t.setTimeout(120_000);

const CLUSTER_FILES = fileURLToPath(new URL('../../../config/nats/cluster-files.sh', import.meta.url));

const localAddress = (port: number) => `127.0.0.1:${port}`;

/**
 * Adds a slave's user to the users file of a server and has the server reload it. Returns a function that
 * connects.
 */
function addSlave(server: { folder: string; pid: number }, name: string) {
  const { seed, publicKey } = generateUserKey();
  new SlaveUsers(join(server.folder, 'piw-slaves.conf'), 'piw').add({
    name,
    publicKey,
    label: null,
    added: 'now',
  });
  process.kill(server.pid, 'SIGHUP');
  return (address: string, tls: TlsFiles = {}): Promise<Bus> =>
    Bus.connect({
      address,
      tls,
      seed,
      name,
      inboxPrefix: `_INBOX_${name}`,
      bucket: `piw-slave-${name}`,
      patienceMs: 10_000,
    });
}

/** Connects as soon as the server has read its users. */
async function connectEventually(t: Test, connect: () => Promise<Bus>): Promise<Bus> {
  let bus: Bus | undefined;
  await until(async () => {
    bus = await connect().catch(() => undefined);
    return bus !== undefined;
  });
  if (!bus) throw new Error('it did not connect');
  const connected = bus;
  t.teardown(() => connected.drain());
  return connected;
}

/** Checks what passes between a slave and a master: a request, chunks, WAKE, and nothing else. */
async function exchangeMessages(t: Test, master: Bus, slave: Bus, name: string): Promise<void> {
  const subscription = master.subscribe(`piw.slave.${name}.s.*`);
  const answering = (async () => {
    for await (const incoming of subscription) await incoming.respond(['HEARD', incoming.body()]);
  })();
  const answer = await slave.request(`piw.slave.${name}.s.HELLO`, ['HELLO'], { patienceMs: 10_000 });
  t.same(answer, ['HEARD', ['HELLO']]);
  const bucket = `piw-slave-${name}`;
  await master.objects.buckets.ensure(chunkBucket(bucket));
  await master.objects.buckets.ensure(messageBucket(bucket));
  // A site's server may not know of the bucket yet, and nobody acknowledges a chunk.
  await until(async () => {
    slave.objects.publisher(bucket, 'file.a', 0).write(Buffer.from('chunk'));
    return (await master.objects.countChunks(bucket, 'file.*')) > 0;
  });
  await slave.objects.write(bucket, 'claim.a', Buffer.from('large message'));

  const wakes = slave.subscribe(`piw.wake.${name}.s.*`)[Symbol.asyncIterator]();
  const woken = wakes.next();
  const wakeTimer = setInterval(() => void master.publish(`piw.wake.${name}.s.WAKE`, ['WAKE']), 50);
  t.equal((await woken).done, false, 'WAKE arrives');
  clearInterval(wakeTimer);
  await t.rejects(slave.request('piw.oracle.GETABIS', ['GETABIS'], { timeoutMs: 500 }), Error);
  await master.objects.buckets.ensure(chunkBucket('piw-slave-other'));
  slave.objects.publisher('piw-slave-other', 'file.x', 0).write(Buffer.from('x'));
  await slave.rtt();
  t.equal(await master.objects.countChunks('piw-slave-other', 'file.*'), 0, 'nor a chunk for another bucket');
  await subscription.stop();
  await answering;
}

const masterAddress = (port: number) =>
  `nats://master:${SAMPLE_PASSWORDS.PIW_MASTER_PASSWORD}@${localAddress(port)}`;

/** Starts a single server for a farm, and its leaf node at another site. */
async function startServerWithLeaf(t: Test) {
  const [port, hub, site] = [await freePort(), await freePort(), await freePort()];
  const single = await startSampleServer(t, 'single.conf', (folder) => ({
    '0.0.0.0:4222': localAddress(port),
    '0.0.0.0:7422': localAddress(hub),
    '/run/nats': folder,
    '/var/lib/nats': join(folder, 'js'),
    '# include "./leaf-hub.conf"': 'include "./leaf-hub.conf"',
  }));
  const leaf = await startSampleServer(t, 'leaf.conf', (folder) => ({
    '0.0.0.0:4222': localAddress(site),
    'nats.example.org:7422': localAddress(hub),
    '/run/nats': folder,
  }));
  await until(() => leaf.log().includes('Leafnode connection created'));
  return { single, port, leaf, site };
}

void t.test('slaves connect to a single server, and to its leaf node at another site', async (t) => {
  const { single, port, leaf, site } = await startServerWithLeaf(t);
  const master = await Bus.connect({ address: masterAddress(port), name: 'master' });
  t.teardown(() => master.drain());
  const admin = await Bus.connect({
    address: `nats://admin:${SAMPLE_PASSWORDS.PIW_ADMIN_PASSWORD}@${localAddress(port)}`,
    name: 'admin',
  });
  await admin.drain();
  const connectNear = addSlave(single, 'near');
  await exchangeMessages(
    t,
    master,
    await connectEventually(t, () => connectNear(`nats://${localAddress(port)}`)),
    'near',
  );
  const connectFar = addSlave(leaf, 'far');
  await exchangeMessages(
    t,
    master,
    await connectEventually(t, () => connectFar(`nats://${localAddress(site)}`)),
    'far',
  );
  await t.rejects(
    connectFar(`nats://${localAddress(port)}`),
    { code: 'PIW_UNREACHABLE' },
    'it is known only at its own site',
  );
});

void t.test('a build behind a leaf node is followed, and its wheel arrives', async (t) => {
  const { port, leaf, site } = await startServerWithLeaf(t);
  const { control, untilSlave, slaves, db } = await testMaster(t, { nats: masterAddress(port) });
  const connect = addSlave(leaf, 'far');
  const bus = await connectEventually(t, () => connect(`nats://${localAddress(site)}`));
  const seen = deferred();
  const build: BuildStub = async (request, workDir) => {
    request.onLine('compiling');
    await seen.promise;
    return await succeedingBuild(request, workDir);
  };
  await testSlave(t, 'piw', build, { bus, user: 'far' });
  await untilSlave(({ state }) => state === 'building');
  const [slave] = await slaves();
  await until(async () => {
    const request = { slave_id: slave?.slave_id ?? 0, lease: null, from: 0 };
    const answer = await control.request('FOLLOW', request);
    return answer.verb === 'OUTPUT' && answer.lines.includes('compiling');
  });
  seen.resolve();
  await until(async () => (await db.query('select from files')).length === 1);
});

void t.test('a cluster of three works without one of them', async (t) => {
  const names = ['nats-1', 'nats-2', 'nats-3'];
  const ports = await Promise.all(names.map(() => freePort()));
  const routes = await Promise.all(names.map(() => freePort()));
  const servers = await Promise.all(
    names.map((name, i) =>
      startSampleServer(
        t,
        'cluster.conf',
        (folder) => ({
          '0.0.0.0:4222': localAddress(ports[i] ?? 0),
          '0.0.0.0:6222': localAddress(routes[i] ?? 0),
          ...Object.fromEntries(
            names.map((other, j) => [`${other}.example.org:6222`, localAddress(routes[j] ?? 0)]),
          ),
          '/run/nats': folder,
          '/var/lib/nats': join(folder, 'js'),
          ROUTE_SECRET: 'routesecret',
        }),
        { PIW_NATS_NAME: name },
      ),
    ),
  );
  const allAddresses = ports.map(localAddress).join(',');
  const master = await Bus.connect({
    address: `nats://master:${SAMPLE_PASSWORDS.PIW_MASTER_PASSWORD}@${allAddresses}`,
    name: 'm',
  });
  t.teardown(() => master.drain());
  await until(() => servers.some(({ log }) => log().includes('JetStream cluster new metadata leader')));
  const [first, ...others] = servers;
  if (!first) throw new Error('no server was started');
  const connect = addSlave(first, 'pi4');
  // As an administrator would copy it.
  const users = readFileSync(join(first.folder, 'piw-slaves.conf'));
  for (const { folder, pid } of others) {
    writeFileSync(join(folder, 'piw-slaves.conf'), users);
    process.kill(pid, 'SIGHUP');
  }
  for (const port of ports)
    await (await connectEventually(t, () => connect(`nats://${localAddress(port)}`))).drain();
  const slave = await connectEventually(t, () => connect(`nats://${allAddresses}`));
  await exchangeMessages(t, master, slave, 'pi4');
  await others.at(-1)?.stop();
  const subscription = master.subscribe('piw.slave.pi4.later.*');
  const answering = (async () => {
    for await (const incoming of subscription) await incoming.respond(['HEARD']);
  })();
  t.same(await slave.request('piw.slave.pi4.later.IDLE', ['IDLE'], { timeoutMs: 2000, patienceMs: 30_000 }), [
    'HEARD',
  ]);
  await subscription.stop();
  await answering;
});

/**
 * Completes a TLS handshake without a certificate, after the server's INFO if it sends one first; returns the server's
 * objection.
 */
async function objectionWithoutCertificate(
  host: string,
  port: number,
  ca: string,
  infoFirst: boolean,
): Promise<string> {
  const socket = connect(port, host);
  await once(socket, infoFirst ? 'data' : 'connect');
  const secured = connectWithTls({ socket, ca: readFileSync(ca), checkServerIdentity: () => undefined });
  const objection = new Promise<string>((resolve) => {
    secured.on('error', (error: Error) => {
      resolve(error.message);
    });
    secured.once('close', () => {
      resolve('none');
    });
  });
  secured.resume();
  const message = await objection;
  socket.destroy();
  return message;
}

void t.test(
  'the servers of a cluster, and its leaf nodes, connect to each other by TLS and with certificates alone',
  { skip: skipUnlessInstalled('openssl') },
  async (t) => {
    const base = mkdtempSync(join(tmpdir(), 'piw-cluster-tls-'));
    const [files, authority] = [join(base, 'files'), join(base, 'authority')];
    // Each host has an address of its own for the ports that they have in common.
    const hosts = ['127.0.0.1', '127.0.0.2', '127.0.0.3'];
    const site = '127.0.0.4';
    const [port, routePort, leafPort] = [await freePort(), await freePort(), await freePort()];
    execFileSync('sh', [CLUSTER_FILES, '--authority', authority, files, ...hosts, site]);
    const start = (host: string) => {
      const environment = join(files, host, 'nats-server.env');
      const variables = existsSync(environment) ? readFileSync(environment, 'utf8').trim().split('\n') : [];
      return startSampleServer(
        t,
        'nats-server.conf',
        (folder) => ({
          '0.0.0.0:': `${host}:`,
          ':4222"': `:${port}"`,
          ':6222"': `:${routePort}"`,
          ':7422"': `:${leafPort}"`,
          '/etc/nats': folder,
          '/run/nats': folder,
          '/var/lib/nats': join(folder, 'js'),
        }),
        Object.fromEntries(variables.map((line) => line.split('=', 2) as [string, string])),
        join(files, host),
      );
    };
    const servers = await Promise.all(hosts.map(start));
    const leaf = await start(site);
    const tls = { ca: join(authority, 'ca.pem') };
    await until(() => servers.some(({ log }) => log().includes('JetStream cluster new metadata leader')));
    const address = readFileSync(join(files, 'piwheels.nats'), 'utf8').trim();
    const master = await Bus.connect({
      address: address.replace(/@.*/, `@${hosts.map((host) => `${host}:${port}`).join(',')}`),
      name: 'master',
      tls,
      patienceMs: 10_000,
    });
    t.teardown(() => master.drain());
    const connectFar = addSlave(leaf, 'far');
    await until(() => leaf.log().includes('Leafnode connection created'));
    const slave = await connectEventually(t, () => connectFar(`tls://${site}:${port}`, tls));
    await exchangeMessages(t, master, slave, 'far');
    await t.rejects(connectFar(`nats://${site}:${port}`), { code: 'PIW_UNREACHABLE' }, 'its slaves need TLS');
    for (const [whose, serverPort, infoFirst] of [
      ['another server', routePort, false],
      ['a leaf node', leafPort, true],
    ] as const)
      t.match(
        await objectionWithoutCertificate(hosts[0] ?? '', serverPort, tls.ca, infoFirst),
        /certificate required|bad certificate/,
        `${whose} needs a certificate`,
      );
  },
);

void t.test('the samples have the same accounts as the server of piw farm', (t) => {
  const sample = readFileSync(new URL('../../../config/nats/accounts.conf', import.meta.url), 'utf8');
  const significantLines = (text: string) =>
    text
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '' && !line.startsWith('#') && !line.startsWith('{ user:'));
  t.same(
    significantLines(formatAccounts({ prefix: 'piw', masters: [], slavesFile: './piw-slaves.conf' })),
    significantLines(sample),
  );
  t.end();
});
