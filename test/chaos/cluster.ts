/**
 * Runs a farm on a cluster of three nats-servers, and does each of these faults several times: a server is killed,
 * suspended (SIGSTOP, which stands for a cut link), or updated (lame duck mode, then restarted), where the server is
 * the one that leads the leases, or the one that has the slaves' bucket; and two servers are killed at once. Each time
 * a new slave says HELLO during the fault. At the end no build may be lost or logged twice.
 *
 *     node dist/test/chaos/cluster.js [FAULT…] [--times N] [--slaves N]
 *
 * Prints a table: for each fault the median and the longest time until every slave has handed in a build, and until
 * the new slave was registered. Exits with 1 if a build is lost or doubled, or if an outage takes longer than LIMIT_S.
 * With PIW_OUTAGE_LOG set, it also prints everything that the master has logged.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { until } from '../helpers/bus.js';
import { untilReplicated, type ClusterServer } from '../helpers/nats-cluster.js';
import { withClusterFarm, type ClusterFarm } from './cluster-farm.js';

const LEASES = 'KV_piw-leaders';
const BUCKET = 'OBJ_piw-slave-slave';
/** How long an outage may take. Builds that are under way aren't handed in while the leases have no leader. */
const LIMIT_S = 30;
const [SUSPENDED_S, QUORUM_LOST_S] = [15, 12];

interface Fault {
  readonly name: string;
  /** The stream whose leader fails. */
  readonly stream: string;
  readonly begin: (server: ClusterServer, farm: ClusterFarm) => Promise<void>;
  /** Ends what `begin` began, after the farm has recovered from it. */
  readonly end: (server: ClusterServer, farm: ClusterFarm) => Promise<void>;
}

const restarted = (name: string, stream: string, signal: NodeJS.Signals): Fault => ({
  name,
  stream,
  begin: (server) => server.stop(signal),
  end: (server) => server.start(),
});

const suspended = (name: string, stream: string): Fault => ({
  name,
  stream,
  begin: (server) => {
    server.signal('SIGSTOP');
    return Promise.resolve();
  },
  end: async (server) => {
    await sleep(SUSPENDED_S * 1000);
    server.signal('SIGCONT');
  },
});

const twoKilled: Fault = {
  name: 'two killed, one back',
  stream: LEASES,
  begin: async (server, { cluster, log }) => {
    const second = cluster.servers.find((other) => other !== server);
    const logStart = log().length;
    await Promise.all([server.stop('SIGKILL'), second?.stop('SIGKILL')]);
    await sleep(QUORUM_LOST_S * 1000);
    await until(() => log().slice(logStart).includes('has had no leader since'), 60_000);
    await second?.start();
  },
  end: (server) => server.start(),
};

const FAULTS: readonly Fault[] = [
  restarted('kill leases', LEASES, 'SIGKILL'),
  restarted('kill bucket', BUCKET, 'SIGKILL'),
  restarted('lame duck leases', LEASES, 'SIGUSR2'),
  restarted('lame duck bucket', BUCKET, 'SIGUSR2'),
  suspended('suspend leases', LEASES),
  suspended('suspend bucket', BUCKET),
  twoKilled,
];

const { values, positionals } = parseArgs({
  options: { times: { type: 'string', default: '3' }, slaves: { type: 'string', default: '4' } },
  allowPositionals: true,
});
const faults = FAULTS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));

/** Waits until each slave has handed in a build that it was given after now. Returns the seconds. */
async function secondsUntilBuilds({ slaves }: ClusterFarm): Promise<number> {
  const began = performance.now();
  // The next build may have been handed in before the fault, and only be answered now.
  const targets = slaves.map(({ done }) => done.length + 2);
  for (;;) {
    const seconds = (performance.now() - began) / 1000;
    if (seconds > 240 || slaves.every(({ done }, i) => done.length >= (targets[i] ?? 0))) return seconds;
    await sleep(20);
  }
}

const printRow = (...cells: readonly string[]) => {
  console.log(cells.map((cell, n) => (n === 0 ? cell.padEnd(24) : cell.padStart(12))).join(''));
};
const median = (numbers: readonly number[]): number =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? NaN;
const worst = (numbers: readonly number[]): number => Math.max(...numbers);

const failedFaults: string[] = [];
await withClusterFarm(Number(values.slaves), console.error, async (farm) => {
  const { cluster, bus } = farm;
  await secondsUntilBuilds(farm);
  const usualS = await secondsUntilBuilds(farm);
  printRow('no fault', '', usualS.toFixed(1));
  printRow('fault', 'times', 'median, s', 'worst, s', 'HELLO, s', 'lost', 'doubled');
  for (const fault of faults) {
    const outages: number[] = [];
    const hellos: number[] = [];
    for (let n = 0; n < Number(values.times); n += 1) {
      await untilReplicated(bus, LEASES);
      const server = await cluster.leaderOf(bus, fault.stream);
      await fault.begin(server, farm);
      const began = performance.now();
      const hello = farm.startSlave().then(() => hellos.push((performance.now() - began) / 1000));
      outages.push(await secondsUntilBuilds(farm));
      await hello;
      await fault.end(server, farm);
      await secondsUntilBuilds(farm);
    }
    const { lost, doubled } = await farm.audit();
    const isTooLong = worst(outages) > LIMIT_S || worst(hellos) > LIMIT_S;
    const isFailed = lost > 0 || doubled > 0 || isTooLong;
    if (isFailed) failedFaults.push(fault.name);
    printRow(
      fault.name,
      values.times,
      median(outages).toFixed(1),
      worst(outages).toFixed(1),
      worst(hellos).toFixed(1),
      String(lost),
      String(doubled) + (isFailed ? '  FAILED' : ''),
    );
  }
  if (process.env['PIW_OUTAGE_LOG'] !== undefined) console.error(farm.log());
});
process.exitCode = failedFaults.length === 0 ? 0 : 1;
