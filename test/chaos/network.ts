/**
 * Runs a farm on hosts of its own (network namespaces): three nats-servers, two masters, one more Oracle, two simulated
 * slaves, and behind a leaf node with a slow link a simulated slave and a real one. Does each of these faults several
 * times:
 *
 *   kill, stop, suspend, lame duck, cut   the server that leads the leases: SIGKILL, SIGTERM, SIGSTOP, SIGUSR2, or its
 *                                         link is down for 30 s (15 s with --small)
 *   cut two                               two servers are cut off for 30 s: the farm says so, and waits
 *   cut leaf                              the leaf node's link is down for 2 minutes, during builds and a transfer
 *   cut hub                               the server that the leaf node is connected to is cut off for 2 minutes
 *   move leaf                             that server is killed
 *   lose master                           the host of the master that leads is cut off and dies; it comes back after 30 s
 *   cut master                            the same host is only cut off for 30 s
 *   lose oracle                           the host of the further Oracle is cut off and dies
 *
 *     node dist/test/chaos/network.js [FAULT…] [--times N] [--small] [--no-limits]
 *
 * Prints for each fault, in seconds, median and longest: for how long a task of which only one process works had none;
 * how long after the fault each slave had handed in a build that it was given after it, or after the end of the fault if
 * the slave can't work during it; how long that took after the end of the fault; and how long a new slave took to
 * register. Then, how many builds were lost and done twice. Exits with 1 if any was, if the real slave has not built what
 * it should, or if a limit was exceeded (not with --no-limits, for busy machines). --small leaves out the second master,
 * the Oracle and the leaf node. With PIW_NETWORK_LOGS=FOLDER the logs are kept there.
 *
 * Needs root, and `ip`, `tc`, `unshare` and `nsenter`. Everything is removed when the script ends, in any way. The slow
 * link has a limited rate and a queue; it has no delay of its own, which not every kernel can add (netem).
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { DataFolder } from '../../src/servers/data-folder.js';
import { findNatsServer } from '../../src/servers/nats-server.js';
import { unprivilegedAccount } from '../../src/servers/privileges.js';
import { findPython } from '../../src/servers/python.js';
import { until } from '../helpers/bus.js';
import { hasOwnNetwork, runInOwnNetwork, skipWithoutNetwork } from '../helpers/network.js';
import { NetworkFarm, type NetworkSlave } from './network-farm.js';

const { values, positionals } = parseArgs({
  options: {
    times: { type: 'string', default: '20' },
    small: { type: 'boolean', default: false },
    'no-limits': { type: 'boolean', default: false },
  },
  allowPositionals: true,
});

const CUT_S = values.small ? 15 : 30;
const LEAF_CUT_S = 120;
/** How long a task of which only one process works may have none, seconds. */
const TASK_LIMIT_S = 6;
/** A round is repeated if all processes stood still for longer than this, milliseconds. */
const MAX_STALL_MS = 2000;
/** How long anything may take until it counts as failed for good. */
const GIVE_UP_S = 400;

type End = () => unknown;

interface Fault {
  readonly name: string;
  /** The longest outage of a task, by default TASK_LIMIT_S, and of a slave, seconds. */
  readonly taskLimitS?: number;
  readonly limitS: number;
  /** How long the fault lasts at least, seconds. */
  readonly lastsS: number;
  /** Whether a slave can work while the fault lasts, by default every one. */
  readonly canWork?: (slave: NetworkSlave) => boolean;
  /** Whether it is for a farm with a leaf node and a second master. */
  readonly isLarge?: boolean;
  /** Begins the fault; returns the function that ends it. */
  readonly begin: (farm: NetworkFarm) => End | Promise<End>;
}

const signalled = (name: string, signal: NodeJS.Signals): Fault => ({
  name,
  limitS: 30,
  lastsS: 0,
  begin: async (farm) => {
    const server = await farm.leader();
    const ended = server.stop(signal);
    return async () => {
      await ended;
      await server.start();
    };
  },
});

const FAULTS: readonly Fault[] = [
  {
    name: 'cut',
    limitS: 30,
    lastsS: CUT_S,
    begin: async (farm) => {
      const { host } = await farm.leader();
      host.cut();
      return () => {
        host.join();
      };
    },
  },
  signalled('kill', 'SIGKILL'),
  signalled('stop', 'SIGTERM'),
  signalled('lame duck', 'SIGUSR2'),
  {
    name: 'suspend',
    limitS: 30,
    lastsS: CUT_S,
    begin: async (farm) => {
      const server = await farm.leader();
      server.signal('SIGSTOP');
      return () => {
        server.signal('SIGCONT');
      };
    },
  },
  {
    name: 'cut two',
    taskLimitS: CUT_S + 15,
    limitS: 30,
    lastsS: CUT_S,
    canWork: () => false,
    begin: async (farm) => {
      const leader = await farm.leader();
      const hosts = [leader, farm.servers.find((server) => server !== leader)].flatMap((server) =>
        server ? [server.host] : [],
      );
      for (const host of hosts) host.cut();
      return async () => {
        await farm.untilLogged('has had no leader since');
        for (const host of hosts) host.join();
      };
    },
  },
  {
    name: 'cut leaf',
    isLarge: true,
    limitS: 60,
    lastsS: LEAF_CUT_S,
    canWork: ({ atSite }) => !atSite,
    begin: async ({ leaf, slaves }) => {
      const slave = slaves.find(({ atSite }) => atSite);
      // So that a transfer is under way.
      await until(() => slave?.isSending ?? true);
      leaf?.host.cut();
      return () => {
        leaf?.host.join();
      };
    },
  },
  {
    name: 'cut hub',
    isLarge: true,
    limitS: 60,
    lastsS: LEAF_CUT_S,
    begin: async (farm) => {
      const { host } = await farm.hub();
      host.cut();
      return () => {
        host.join();
      };
    },
  },
  {
    name: 'move leaf',
    isLarge: true,
    limitS: 30,
    lastsS: 0,
    begin: async (farm) => {
      const server = await farm.hub();
      await server.stop('SIGKILL');
      return () => server.start();
    },
  },
  {
    name: 'lose master',
    isLarge: true,
    limitS: 30,
    lastsS: CUT_S,
    begin: (farm) => {
      const name = farm.leadingMaster();
      const host = farm.network.host(name);
      host.cut();
      host.kill();
      return () => {
        host.join();
        farm.startMaster(name);
        return farm.untilLogged('lumberjack: at work', [name]);
      };
    },
  },
  {
    name: 'cut master',
    isLarge: true,
    limitS: 30,
    lastsS: CUT_S,
    begin: (farm) => {
      const host = farm.network.host(farm.leadingMaster());
      host.cut();
      return () => {
        host.join();
      };
    },
  },
  {
    name: 'lose oracle',
    isLarge: true,
    limitS: 30,
    lastsS: CUT_S,
    begin: (farm) => {
      const host = farm.network.host('oracle');
      host.cut();
      host.kill();
      return () => {
        host.join();
        farm.startOracle();
      };
    },
  },
];

const unknown = positionals.filter((name) => !FAULTS.some((fault) => fault.name === name));
if (unknown.length > 0) throw new Error(`unknown fault: ${unknown.join(', ')}`);
const faults = FAULTS.filter(
  ({ name, isLarge }) =>
    (positionals.length === 0 || positionals.includes(name)) && !(values.small && isLarge),
);
const times = Number(values.times);

/** What one fault has brought, seconds. */
interface Round {
  readonly tasksS: number;
  readonly buildsS: number;
  readonly afterS: number;
  readonly helloS: number;
}

const since = (began: number): number => (performance.now() - began) / 1000;

/** Notes for how long this process has stood still, as it does when the machine is suspended. */
class StallWatch {
  longestMs = 0;
  #last = performance.now();

  constructor() {
    setInterval(() => {
      const now = performance.now();
      this.longestMs = Math.max(this.longestMs, now - this.#last);
      this.#last = now;
    }, 100).unref();
  }
}

/** Waits until each of these slaves has handed in a build that it was given after `began`. Returns the seconds. */
async function secondsUntilBuilds(slaves: readonly NetworkSlave[], began: number): Promise<number> {
  await until(() => slaves.every((slave) => slave.hasWorkedSince(began)), GIVE_UP_S * 1000).catch(() => {
    const idle = slaves.filter((slave) => !slave.hasWorkedSince(began)).map(({ label }) => label);
    throw new Error(`no build within ${GIVE_UP_S} s by ${idle.join(', ')}`);
  });
  return since(began);
}

async function runRound(fault: Fault, farm: NetworkFarm): Promise<Round> {
  const { slaves, probe } = farm;
  const canWork = fault.canWork ?? (() => true);
  await farm.untilReplicated();
  await farm.addBuilds(fault.lastsS > CUT_S ? 10 : 5);
  await secondsUntilBuilds(slaves, performance.now());
  await until(() => probe.allAtWork);
  farm.markLogs();
  const version = values.small ? undefined : await farm.addRealBuild();
  probe.restart();
  const began = performance.now();
  const end = await fault.begin(farm);
  const hello = farm.helloSeconds();
  const duringS = await secondsUntilBuilds(slaves.filter(canWork), began);
  await sleep(Math.max(0, fault.lastsS - since(began)) * 1000);
  await end();
  const afterS = await secondsUntilBuilds(slaves, performance.now());
  await until(() => probe.allAtWork, GIVE_UP_S * 1000);
  const helloS = await hello;
  if (version !== undefined) await until(() => farm.isBuilt(version), GIVE_UP_S * 1000);
  const { task, seconds: tasksS } = probe.longestGap();
  const buildsS = slaves.some(canWork) ? duringS : afterS;
  const figures = Object.entries({ [task]: tasksS, builds: buildsS, after: afterS, HELLO: helloS });
  console.error(
    `${fault.name}: ${figures.map(([name, seconds]) => `${name} ${seconds.toFixed(1)}`).join(', ')}`,
  );
  return { tasksS, buildsS, afterS, helloS };
}

const COLUMNS = ['tasksS', 'buildsS', 'afterS', 'helloS'] as const;
const printRow = (...cells: readonly string[]) => {
  console.log(cells.map((cell, n) => (n === 0 ? cell.padEnd(12) : cell.padStart(14))).join(''));
};
const longest = (rounds: readonly Round[], key: keyof Round): number =>
  Math.max(...rounds.map((round) => round[key]));
function summary(rounds: readonly Round[], key: keyof Round): string {
  const seconds = rounds.map((round) => round[key]).toSorted((a, b) => a - b);
  return `${(seconds[Math.floor(seconds.length / 2)] ?? NaN).toFixed(1)} / ${longest(rounds, key).toFixed(1)}`;
}

/** Does all faults, and returns whether any had consequences that it must not have. */
async function runFaults(farm: NetworkFarm): Promise<boolean> {
  const stalls = new StallWatch();
  let failed = false;
  const audited = new Set<string>();
  printRow('fault', 'times', 'no task', 'no build', '… after it', 'HELLO', 'lost', 'doubled');
  for (const fault of faults) {
    const rounds: Round[] = [];
    while (rounds.length < times) {
      stalls.longestMs = 0;
      const round = await runRound(fault, farm);
      if (stalls.longestMs <= MAX_STALL_MS) rounds.push(round);
      else console.error(`everything stood still for ${Math.round(stalls.longestMs)} ms: not counted`);
    }
    const audit = await farm.audit();
    const lost = audit.lost.filter((build) => !audited.has(build));
    const doubled = audit.doubled.filter((build) => !audited.has(build));
    for (const build of [...lost, ...doubled]) audited.add(build);
    for (const build of lost) console.error(`lost: ${build}`);
    for (const build of doubled) console.error(`doubled: ${build}`);
    const isTooLong =
      longest(rounds, 'tasksS') > (fault.taskLimitS ?? TASK_LIMIT_S) ||
      Math.max(longest(rounds, 'buildsS'), longest(rounds, 'afterS')) > fault.limitS;
    const isFailed = lost.length + doubled.length > 0 || (isTooLong && !values['no-limits']);
    failed ||= isFailed;
    const counts = [String(lost.length), `${doubled.length}${isFailed ? '  FAILED' : ''}`];
    printRow(fault.name, String(times), ...COLUMNS.map((key) => summary(rounds, key)), ...counts);
  }
  return failed;
}

/** Runs this program again with a network of its own, and removes what it leaves. */
async function enter(): Promise<number> {
  const reason = skipWithoutNetwork();
  if (reason !== false) throw new Error(`this script ${reason}`);
  const path = mkdtempSync(join(tmpdir(), 'piw-network-'));
  try {
    const account = unprivilegedAccount();
    const folder = DataFolder.open(join(path, 'unused'), undefined);
    const services = { folder, log: console.error, signal: new AbortController().signal };
    // Fetched here: the other network leads nowhere.
    const natsBinary = await findNatsServer({ ...services, python: await findPython(undefined, account) });
    folder.close();
    return await runInOwnNetwork({ PIW_NETWORK_PATH: path, PIW_NETWORK_NATS: natsBinary, TMPDIR: path });
  } finally {
    const logs = process.env['PIW_NETWORK_LOGS'];
    if (logs !== undefined) cpSync(join(path, 'data', 'logs'), logs, { recursive: true });
    rmSync(path, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function runWithFarm(): Promise<number> {
  process.once('SIGINT', () => process.exit(130));
  const farm = await NetworkFarm.start({
    path: process.env['PIW_NETWORK_PATH'] ?? '',
    natsBinary: process.env['PIW_NETWORK_NATS'] ?? '',
    small: values.small,
    realBuilds: faults.length * times * 2,
    print: console.error,
  });
  return (await runFaults(farm)) ? 1 : 0;
}

process.exit(hasOwnNetwork() ? await runWithFarm() : await enter());
