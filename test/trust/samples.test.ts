import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Bus } from '../../src/bus/bus.js';
import { newKey } from '../../src/bus/nkey.js';
import { freePort } from '../../src/farm/ports.js';
import { accounts } from '../../src/farm/nats-accounts.js';
import { SlaveUsers } from '../../src/farm/slave-users.js';
import { until } from '../helpers/bus.js';
import { PASSWORDS, sampleServer } from '../helpers/nats.js';

t.setTimeout(120_000);

const local = (port: number) => `127.0.0.1:${String(port)}`;

/** A slave's user in the users' file of a server, which is told; and how it connects. */
function addSlave(server: { folder: string; pid: number }, name: string) {
  const { seed, publicKey } = newKey();
  new SlaveUsers(join(server.folder, 'piw-slaves.conf'), 'piw').add({
    name,
    publicKey,
    label: null,
    added: 'now',
  });
  process.kill(server.pid, 'SIGHUP');
  return (address: string): Promise<Bus> =>
    Bus.connect({
      ...{ address, seed, name, inboxPrefix: `_INBOX_${name}`, bucket: `piw-slave-${name}` },
      patienceMs: 10_000,
    });
}

/** Connects as soon as the server has read its users. */
async function comes(t: Test, connect: () => Promise<Bus>): Promise<Bus> {
  let bus: Bus | undefined;
  await until(async () => {
    bus = await connect().catch(() => undefined);
    return bus !== undefined;
  });
  if (!bus) throw new Error('it did not come');
  const come = bus;
  t.teardown(() => come.drain());
  return come;
}

/** What passes between a slave and a master: a question, chunks, WAKE. And nothing else. */
async function converse(t: Test, master: Bus, slave: Bus, name: string): Promise<void> {
  const line = master.subscribe(`piw.slave.${name}.s.*`);
  const answering = (async () => {
    for await (const incoming of line) await incoming.answer(['HEARD', incoming.body()]);
  })();
  const asked = await slave.ask(`piw.slave.${name}.s.HELLO`, ['HELLO'], { patienceMs: 10_000 });
  t.same(asked, ['HEARD', ['HELLO']]);
  await master.objects.ensure({ name: `piw-slave-${name}`, maxAgeMs: 60_000, maxBytes: 1e7 });
  await slave.objects.write(`piw-slave-${name}`, 'file.a', [Buffer.from('chunk')]);
  t.equal(await master.objects.count(`piw-slave-${name}`, 'file.*'), 1);
  const wakes = slave.subscribe(`piw.wake.${name}.s.*`)[Symbol.asyncIterator]();
  const woken = wakes.next();
  const beat = setInterval(() => void master.publish(`piw.wake.${name}.s.WAKE`, ['WAKE']), 50);
  t.equal((await woken).done, false, 'WAKE arrives');
  clearInterval(beat);
  await t.rejects(slave.ask('piw.oracle.GETABIS', ['GETABIS'], { timeoutMs: 500 }), Error);
  const signal = AbortSignal.timeout(1);
  const other = slave.objects.writer('piw-slave-other', 'x', 0, { signal });
  await t.rejects(other.write(Buffer.from('x')), { code: 'PIW_OBJECT_BROKEN' });
  await line.stop();
  await answering;
}

const masterAt = (port: number) => `nats://master:${PASSWORDS.PIW_MASTER_PASSWORD}@${local(port)}`;

void t.test('a single server, and a leaf of it at another site', async (t) => {
  const [port, hub, site] = [await freePort(), await freePort(), await freePort()];
  const single = await sampleServer(t, 'single.conf', (folder) => ({
    '0.0.0.0:4222': local(port),
    '0.0.0.0:7422': local(hub),
    '/run/nats': folder,
    '/var/lib/nats': join(folder, 'js'),
    '# include "./leaf-hub.conf"': 'include "./leaf-hub.conf"',
  }));
  const leaf = await sampleServer(t, 'leaf.conf', (folder) => ({
    '0.0.0.0:4222': local(site),
    'nats.example.org:7422': local(hub),
    '/run/nats': folder,
  }));
  const master = await Bus.connect({ address: masterAt(port), name: 'master' });
  t.teardown(() => master.drain());
  const admin = await Bus.connect({
    address: `nats://admin:${PASSWORDS.PIW_ADMIN_PASSWORD}@${local(port)}`,
    name: 'admin',
  });
  await admin.drain();
  const near = addSlave(single, 'near');
  await converse(t, master, await comes(t, () => near(`nats://${local(port)}`)), 'near');
  const far = addSlave(leaf, 'far');
  await until(() => leaf.log().includes('Leafnode connection created'));
  await converse(t, master, await comes(t, () => far(`nats://${local(site)}`)), 'far');
  await t.rejects(
    far(`nats://${local(port)}`),
    { code: 'PIW_UNREACHABLE' },
    'it is known at its own site only',
  );
});

void t.test('a cluster of three goes on without one of them', async (t) => {
  const names = ['nats-1', 'nats-2', 'nats-3'];
  const ports = await Promise.all(names.map(() => freePort()));
  const routes = await Promise.all(names.map(() => freePort()));
  const servers = await Promise.all(
    names.map((name, i) =>
      sampleServer(
        t,
        'cluster.conf',
        (folder) => ({
          '0.0.0.0:4222': local(ports[i] ?? 0),
          '0.0.0.0:6222': local(routes[i] ?? 0),
          ...Object.fromEntries(
            names.map((other, j) => [`${other}.example.org:6222`, local(routes[j] ?? 0)]),
          ),
          '/run/nats': folder,
          '/var/lib/nats': join(folder, 'js'),
          ROUTE_SECRET: 'routesecret',
        }),
        { PIW_NATS_NAME: name },
      ),
    ),
  );
  const all = ports.map(local).join(',');
  const master = await Bus.connect({
    address: `nats://master:${PASSWORDS.PIW_MASTER_PASSWORD}@${all}`,
    name: 'm',
  });
  t.teardown(() => master.drain());
  await until(() => servers.some(({ log }) => log().includes('JetStream cluster new metadata leader')));
  const [first, ...others] = servers;
  if (!first) throw new Error('there is no server');
  const connect = addSlave(first, 'pi4');
  // As the administrator copies it.
  const users = readFileSync(join(first.folder, 'piw-slaves.conf'));
  for (const { folder, pid } of others) {
    writeFileSync(join(folder, 'piw-slaves.conf'), users);
    process.kill(pid, 'SIGHUP');
  }
  for (const port of ports) await (await comes(t, () => connect(`nats://${local(port)}`))).drain();
  const slave = await comes(t, () => connect(`nats://${all}`));
  await converse(t, master, slave, 'pi4');
  await others.at(-1)?.stop();
  const line = master.subscribe('piw.slave.pi4.later.*');
  const answering = (async () => {
    for await (const incoming of line) await incoming.answer(['HEARD']);
  })();
  t.same(await slave.ask('piw.slave.pi4.later.IDLE', ['IDLE'], { timeoutMs: 2000, patienceMs: 30_000 }), [
    'HEARD',
  ]);
  await line.stop();
  await answering;
});

void t.test('the samples have the accounts that piw farm gives its own server', (t) => {
  const sample = readFileSync(new URL('../../../config/nats/accounts.conf', import.meta.url), 'utf8');
  const plain = (text: string) =>
    text
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '' && !line.startsWith('#') && !line.startsWith('{ user:'));
  t.same(plain(accounts({ prefix: 'piw', masters: [], slavesFile: './piw-slaves.conf' })), plain(sample));
  t.end();
});
