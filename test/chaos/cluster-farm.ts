/** A farm for test/chaos/cluster.ts: three nats-servers, a real master, and simulated slaves. */
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Bus } from '../../src/bus/bus.js';
import { migrate } from '../../src/database/migrations.js';
import { Database } from '../../src/database/pool.js';
import { PiwError } from '../../src/errors.js';
import { DataFolder } from '../../src/servers/data-folder.js';
import { findNatsServer } from '../../src/servers/nats-server.js';
import { startPostgres } from '../../src/servers/postgres.js';
import { chownTo, unprivilegedAccount } from '../../src/servers/privileges.js';
import { findPython } from '../../src/servers/python.js';
import { fillQueue } from '../bench/dispatch.js';
import { NatsCluster } from '../helpers/nats-cluster.js';
import { SimulatedSlave } from '../helpers/simulated-slave.js';
import { startMaster } from './start-master.js';

const QUEUED_BUILDS = 50_000;
/** Large enough to be sent in several segments. */
const LARGE_WHEEL = Buffer.alloc(8_000_000, 'x');
/** How long a slave pretends to build, milliseconds. */
const BUILD_MS = 100;

export interface ClusterFarm {
  readonly cluster: NatsCluster;
  /** A master's connection to the cluster. */
  readonly bus: Bus;
  readonly slaves: readonly ClusterSlave[];
  /** Starts one more slave; returns when it has registered. */
  startSlave(): Promise<void>;
  /** Returns everything that the master has logged. */
  log(): string;
  /** Returns how many builds were handed in but aren't in the database, and how many are there twice. */
  audit(): Promise<{ readonly lost: number; readonly doubled: number }>;
}

/** A simulated slave, and the builds that it has handed in. */
export class ClusterSlave {
  readonly done: string[] = [];
  readonly #slave: SimulatedSlave;
  readonly #member: Buffer | undefined;

  constructor(slave: SimulatedSlave, member: Buffer | undefined) {
    this.#slave = slave;
    this.#member = member;
  }

  /** Works until the signal is aborted. A request that fails is a fault of the farm, and printed. */
  async work(signal: AbortSignal, print: (line: string) => void): Promise<void> {
    for (;;) {
      if (signal.aborted) return;
      try {
        const order = await this.#slave.workOnce(() => null, this.#member);
        if (order) this.done.push(`${order.package} ${order.version}`);
      } catch (error) {
        if (!(error instanceof PiwError)) throw error;
        print(`a slave's request failed: ${error.message}`);
      }
      await new Promise((resolve) => setTimeout(resolve, BUILD_MS));
    }
  }
}

/** Runs a farm with `slaves` slaves while `run` is running. */
export async function withClusterFarm(
  slaves: number,
  print: (line: string) => void,
  run: (farm: ClusterFarm) => Promise<void>,
): Promise<void> {
  const account = unprivilegedAccount();
  const path = mkdtempSync(join(tmpdir(), 'piw-cluster-'));
  chmodSync(path, 0o755);
  chownTo(path, account);
  const folder = DataFolder.open(join(path, 'data'), account);
  const controller = new AbortController();
  const stops: (() => Promise<unknown>)[] = [];
  try {
    const services = { folder, log: print, signal: controller.signal };
    const python = await findPython(undefined, account);
    const binary = await findNatsServer({ ...services, python });
    const cluster = await NatsCluster.create(binary, path);
    stops.push(() => cluster.stop());
    await cluster.start();
    const onFailure = (error: Error) => {
      print(error.message);
    };
    const postgres = await startPostgres({ ...services, onFailure });
    stops.push(() => postgres.process.stop());
    await migrate(postgres.adminDsn, { user: postgres.role });
    await fillQueue(postgres.dsn, QUEUED_BUILDS, print);
    const logFile = folder.prepareLog('master.log');
    stops.push(startMaster(folder, cluster.masterAddress, postgres.dsn, logFile));
    const database = await Database.open(postgres.dsn, 'cluster', { connections: 1 });
    stops.push(() => database.close());
    const bus = await Bus.connect({ address: cluster.masterAddress, name: 'chaos', patienceMs: 60_000 });
    stops.push(() => bus.drain());
    const running: ClusterSlave[] = [];
    const startSlave = async () => {
      const session = `s${running.length}`;
      const slaveBus = await Bus.connect({
        address: cluster.slaveAddress(),
        name: session,
        inboxPrefix: '_INBOX_slave',
        bucket: 'piw-slave-slave',
        patienceMs: 60_000,
      });
      const simulated = new SimulatedSlave(slaveBus, session);
      await simulated.hello();
      const slave = new ClusterSlave(simulated, running.length % 2 === 1 ? LARGE_WHEEL : undefined);
      running.push(slave);
      const ended = slave.work(controller.signal, print);
      stops.push(async () => {
        await ended;
        await slaveBus.drain();
      });
    };
    while (running.length < slaves) await startSlave();
    await run({
      cluster,
      bus,
      slaves: running,
      startSlave,
      log: () => readFileSync(logFile, 'utf8'),
      audit: async () => {
        // Builds that are handed in later need not be in the answer.
        const done = running.flatMap((slave) => slave.done);
        const rows = await database.query<{ name: string; count: number }>(
          `select p.package || ' ' || v.version as name, count(*)::int as count
             from builds b join versions v using (version_id) join packages p using (package_id)
            group by 1`,
        );
        const counts = new Map(rows.map(({ name, count }) => [name, count]));
        return {
          lost: done.filter((name) => !counts.has(name)).length,
          doubled: rows.filter(({ count }) => count > 1).length + done.length - new Set(done).size,
        };
      },
    });
  } finally {
    controller.abort();
    for (const stop of stops.reverse()) await stop();
    folder.close();
    rmSync(path, { recursive: true, force: true });
  }
}
