import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { Bus, type BusOptions } from '../../src/bus/bus.js';
import { LEASE_TTL_MS, LeaderLeaseBucket } from '../../src/bus/lease-bucket.js';
import { LeaderLease } from '../../src/bus/lease.js';
import { until } from '../helpers/bus.js';
import { startLatencyProxy } from '../helpers/latency-proxy.js';
import { startCluster, untilReplicated } from '../helpers/nats-cluster.js';

t.setTimeout(100_000);

/** Longer than the test may take. */
const NEVER_MS = 600_000;
const PONG_LIMIT_MS = 500;

/** Connects, as often as it takes, until the server is one that `isWanted`. */
async function connectTo(
  t: Test,
  address: string,
  isWanted: (bus: Bus) => boolean,
  options: Partial<BusOptions> = {},
): Promise<Bus> {
  for (;;) {
    const bus = await Bus.connect({ address, name: 'test', ...options });
    t.teardown(() => bus.drain());
    if (isWanted(bus)) return bus;
  }
}

const serverOf = (bus: Bus) => bus.connection.info?.server_name ?? '';

void t.test('a cluster whose servers fail', async (t) => {
  const cluster = await startCluster(t);

  await t.test('a request that a lost server had is sent again at once', async (t) => {
    const asker = await connectTo(t, cluster.masterAddress, () => true);
    const responder = await connectTo(t, cluster.masterAddress, (bus) => serverOf(bus) !== serverOf(asker));
    const silent = responder.subscribe('question');
    const iterator = silent[Symbol.asyncIterator]();
    const received = [iterator.next(), iterator.next()];
    await responder.connection.flush();
    let onceSettled = false;
    const askOnce = () =>
      asker.request('question', 1, { timeoutMs: NEVER_MS, once: true }).finally(() => (onceSettled = true));
    const answer = asker.request('question', 1, { timeoutMs: NEVER_MS, patienceMs: NEVER_MS });
    await received[0];
    const unrepeated = askOnce().catch(() => 'ended');
    await Promise.all(received);

    const lost = cluster.server(serverOf(responder));
    responder.connection.close().catch(() => undefined);
    const other = asker.subscribe('question');
    const answering = (async () => {
      for await (const message of other) await message.respond('answer');
    })();
    await lost.stop('SIGKILL');
    t.equal(await answer, 'answer', 'another one answers');
    t.notOk(onceSettled, 'a request that may not be repeated still waits');
    await other.stop();
    await answering;
    await asker.drain();
    t.equal(await unrepeated, 'ended');
    await lost.start();
  });

  await t.test('a connection moves away from a server that hangs, but not from a slow link', async (t) => {
    const [slow, good] = cluster.servers;
    if (!slow || !good) throw new Error('no servers');
    const proxy = await startLatencyProxy(Number(slow.address.split(':')[1]), 0);
    t.teardown(() => proxy.close());
    const credentials = cluster.masterAddress.replace(/@.*/, '@');
    const address = `${credentials}127.0.0.1:${proxy.port},${good.address}`;
    const connect = async () => {
      const statuses: string[] = [];
      const bus = await connectTo(t, address, (bus) => serverOf(bus) === slow.name, {
        pongLimitMs: PONG_LIMIT_MS,
        onStatus: (text) => statuses.push(text),
      });
      return { bus, statuses };
    };
    const idle = await connect();
    const sending = await connect();
    await sending.bus.connection.flush();
    sending.bus.connection.publish('file', Buffer.alloc(500_000));
    proxy.stall();
    // Perhaps to the same server, at the address that it tells clients.
    await until(() => idle.statuses.includes('connected to NATS again'));
    t.equal(idle.statuses[0], 'NATS does not answer');
    await sleep(PONG_LIMIT_MS * 3);
    t.same(sending.statuses, [], 'a pong may wait behind a file');
  });

  await t.test(
    'after an election the holder of a lease goes on, unless the database has refused it',
    async (t) => {
      const [own, ...others] = cluster.servers;
      const connect = () => connectTo(t, cluster.masterAddress, (bus) => serverOf(bus) === own?.name);
      const [holderBus, waiterBus] = [await connect(), await connect()];
      const stop = new AbortController();
      const lease = await LeaderLease.acquire(holderBus, 'task', 'holder', stop.signal);
      if (!lease) throw new Error('no lease');
      await untilReplicated(holderBus, `KV_${holderBus.prefix}-leaders`);
      let other: LeaderLease | undefined;
      const waiting = LeaderLease.acquire(waiterBus, 'task', 'waiter', stop.signal).then(
        (won) => (other = won),
      );
      const bucket = new LeaderLeaseBucket(holderBus.connection, holderBus.prefix);
      const revision = () =>
        bucket.read('task').then(
          (entry) => entry?.revision ?? 0,
          () => 0,
        );
      const suspend = async () => {
        for (const server of others) server.signal('SIGSTOP');
        await sleep(LEASE_TTL_MS + 1000);
        t.ok(lease.held, 'nobody else can get it');
      };

      const untilRenewed = async (since: number) => until(async () => (await revision()) > since);
      const before = await revision();
      await suspend();
      for (const server of others) server.signal('SIGCONT');
      await untilRenewed(before);
      await sleep(LEASE_TTL_MS);
      t.ok(lease.held);
      t.equal(other, undefined);
      lease.dispute();
      t.ok(lease.held, 'it was renewed just now');
      await untilRenewed(await revision());

      await suspend();
      lease.dispute();
      t.notOk(lease.held, 'the database has seen a newer holder');
      await lease.lost;
      for (const server of others) server.signal('SIGCONT');
      await waiting;
      await other?.release();
    },
  );

  await t.test('a server that hangs and has no others is reported once', async (t) => {
    const [server] = cluster.servers;
    if (!server) throw new Error('no servers');
    const proxy = await startLatencyProxy(Number(server.address.split(':')[1]), 0);
    const statuses: string[] = [];
    await connectTo(t, cluster.masterAddress.replace(/@.*/, `@127.0.0.1:${proxy.port}`), () => true, {
      onStatus: (text) => statuses.push(text),
    });
    proxy.stall();
    await until(() => statuses.length > 0);
    await sleep(2500);
    t.same(statuses, ['NATS does not answer']);
    await proxy.close();
  });
});
