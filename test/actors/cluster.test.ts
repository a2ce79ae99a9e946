import t from 'tap';
import { Bus } from '../../src/bus/bus.js';
import { PiwError } from '../../src/errors.js';
import { until } from '../helpers/bus.js';
import { testMaster } from '../helpers/master.js';
import { startCluster, untilReplicated } from '../helpers/nats-cluster.js';
import { SimulatedSlave } from '../helpers/simulated-slave.js';

t.setTimeout(280_000);

const LEASES = 'KV_piw-leaders';
const BUCKET = 'OBJ_piw-slave-slave';
/** Large enough to be sent in several segments. */
const WHEEL_BYTES = Buffer.alloc(5_000_000, 'x');
const VERSIONS = Array.from({ length: 2000 }, (_, n) => `1.${n}`);

/** Creates the bucket of the leases with one replica, as on a single server that is now one of a cluster. */
async function createLeaseBucket(address: string): Promise<void> {
  const bus = await Bus.connect({ address, name: 'test' });
  const { streams } = await bus.connection.jetstreamManager({ checkAPI: false, timeout: 1000 });
  const config = {
    subjects: ['$KV.piw-leaders.>'],
    max_age: 3e9,
    max_msgs_per_subject: 1,
    first_seq: 2 ** 50,
  };
  await until(() =>
    streams.add({ ...config, name: LEASES, allow_rollup_hdrs: true }).then(
      () => true,
      () => false,
    ),
  );
  await bus.drain();
}

void t.test('a farm goes on when any one of three servers dies', async (t) => {
  const cluster = await startCluster(t);
  await createLeaseBucket(cluster.masterAddress);
  const farm = await testMaster(t, { versions: VERSIONS, nats: cluster.masterAddress });
  const controller = new AbortController();
  t.teardown(() => {
    controller.abort();
  });
  const startSlave = async (session: string) => {
    const bus = await Bus.connect({
      address: cluster.slaveAddress(),
      name: session,
      inboxPrefix: '_INBOX_slave',
      bucket: 'piw-slave-slave',
    });
    t.teardown(() => {
      controller.abort();
      return bus.drain();
    });
    const slave = new SimulatedSlave(bus, session);
    await slave.hello();
    const work = async () => {
      while (!controller.signal.aborted)
        await slave
          .workOnce(() => null, session === 'large' ? WHEEL_BYTES : undefined)
          .catch((error: unknown) => {
            if (!(error instanceof PiwError)) throw error;
          });
    };
    return { slave, ended: work() };
  };
  const slaves = [await startSlave('small'), await startSlave('large')];
  const untilMoreBuilds = async () => {
    const counts = slaves.map(({ slave }) => slave.orders.length);
    await until(() => slaves.every(({ slave }, i) => slave.orders.length > (counts[i] ?? 0) + 1), 60_000);
  };
  await untilMoreBuilds();
  await untilReplicated(farm.bus, LEASES);
  const fences = () => farm.logLines.filter((line) => line.includes('at work'));
  const before = fences();

  const leader = await cluster.leaderOf(farm.bus, LEASES);
  const began = performance.now();
  await leader.stop('SIGKILL');
  await untilMoreBuilds();
  t.comment(`${Math.round(performance.now() - began)} ms without the leases' leader`);
  await leader.start();
  await untilReplicated(farm.bus, LEASES);
  t.comment(`${fences().length - before.length} leases changed hands`);

  const host = await cluster.leaderOf(farm.bus, BUCKET);
  const killed = performance.now();
  await host.stop('SIGKILL');
  await untilMoreBuilds();
  slaves.push(await startSlave('later'));
  await untilMoreBuilds();
  t.comment(`${Math.round(performance.now() - killed)} ms without the bucket's server`);

  controller.abort();
  await Promise.all(slaves.map(({ ended }) => ended));
  const orders = slaves.flatMap(({ slave }) => slave.orders.map(({ version }) => version));
  const builds = await farm.db.query<{ version: string; count: number }>(
    'select version, count(*)::int as count from builds join versions using (version_id) group by 1',
  );
  t.same([...new Set(orders)].sort(), orders.sort(), 'no build was given out twice');
  t.same(builds.map(({ version }) => version).sort(), orders, 'no build is lost');
  t.ok(
    builds.every(({ count }) => count === 1),
    'no build is logged twice',
  );
});
