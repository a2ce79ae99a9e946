/**
 * Runs a farm whose nats-server fails in several ways: its disk is full for 25 s (`full`), it is suspended for
 * 30 s and for 60 s (`hang`), and it has 20 short outages of five kinds in turn (`restarts`): four kinds of
 * restart, and a suspension of 8 s. Within 15 s of the end of each outage (30 s for the full disk), two builds per
 * slave must have been logged. No process may crash, and no connection or subscription may be left over.
 *
 *     node dist/test/chaos/nats-outages.js [full] [hang] [restarts] [--restarts N] [--slaves N]
 *
 * Prints a line for each outage; exits with 1 if any check fails. `full` requires root. With PIW_OUTAGE_LOG set, it
 * also prints everything that the farm has logged.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { NatsCounts } from '../helpers/controlled-nats.js';
import { withOutageFarm, type OutageFarm, type OutageNats } from './outage-farm.js';

interface Outage {
  readonly name: string;
  /** Seconds after the end of the outage within which the builds must have been logged. */
  readonly limitS: number;
  /** Resolves when the server works again. */
  readonly run: (nats: OutageNats) => Promise<void>;
}

const restart = (name: string, end: (nats: OutageNats) => Promise<void>): Outage => ({
  name,
  limitS: 15,
  run: async (nats) => {
    await end(nats);
    await nats.start();
  },
});

const hang = (seconds: number): Outage => ({
  name: `SIGSTOP for ${seconds} s`,
  limitS: 15,
  run: async (nats) => {
    nats.signal('SIGSTOP');
    await sleep(seconds * 1000);
    nats.signal('SIGCONT');
  },
});

const diskFull: Outage = {
  name: 'disk full for 25 s',
  limitS: 30,
  run: async (nats) => {
    nats.fillDisk();
    await sleep(25_000);
    nats.freeDisk();
  },
};

const RESTARTS: readonly Outage[] = [
  restart('SIGTERM, restart', (nats) => nats.stop('SIGTERM')),
  restart('SIGKILL, restart', (nats) => nats.stop('SIGKILL')),
  restart('lame duck, restart', (nats) => nats.stop('SIGUSR2')),
  hang(8),
  restart('SIGKILL, store emptied', async (nats) => {
    await nats.stop('SIGKILL');
    nats.clearStore();
  }),
];

/** Maximum seconds to wait for builds. After that, the farm counts as not recovered. */
const BUILD_WAIT_LIMIT_S = 240;
/** Seconds within which the counts of connections, consumers and subscriptions must be as before the outage. */
const SETTLE_LIMIT_S = 20;
/**
 * The number of subscriptions changes with the transfers in progress, so it may be up to this many times as large as
 * before the outage.
 */
const SUBSCRIPTION_SLACK = 1.25;
const CRASH = /bug in piw|internal error|unhandled|^\s+at .*[:(]\d+:\d+\)?$|NatsError/i;

const { values, positionals } = parseArgs({
  options: { restarts: { type: 'string', default: '20' }, slaves: { type: 'string', default: '8' } },
  allowPositionals: true,
});
const isSelected = (name: string) => positionals.length === 0 || positionals.includes(name);
const outages: Outage[] = [
  ...(isSelected('full') ? [diskFull] : []),
  ...(isSelected('hang') ? [hang(30), hang(60)] : []),
  ...(isSelected('restarts')
    ? Array.from({ length: Number(values.restarts) }, (_, n) => RESTARTS[n % RESTARTS.length] ?? diskFull)
    : []),
];

const slaves = Number(values.slaves);
let faults = 0;
const printRow = (...cells: readonly string[]) => {
  console.log(cells.map((cell, n) => (n === 0 ? cell.padEnd(24) : cell.padStart(18))).join(''));
};

/** Waits until `additional` more builds are logged, or BUILD_WAIT_LIMIT_S has passed. Returns the seconds waited. */
async function secondsUntilBuilds(farm: OutageFarm, additional: number): Promise<number> {
  const began = performance.now();
  const target = (await farm.buildCount()) + additional;
  for (;;) {
    const seconds = (performance.now() - began) / 1000;
    if (seconds > BUILD_WAIT_LIMIT_S || (await farm.buildCount()) >= target) return seconds;
    await sleep(100);
  }
}

const isRestored = (current: NatsCounts, before: NatsCounts): boolean =>
  current.connections === before.connections &&
  current.consumers <= before.consumers &&
  current.subscriptions <= before.subscriptions * SUBSCRIPTION_SLACK;

async function waitUntilSettled(farm: OutageFarm, before: NatsCounts): Promise<NatsCounts> {
  const end = performance.now() + SETTLE_LIMIT_S * 1000;
  for (;;) {
    const current = await farm.nats.counts();
    if (current && (isRestored(current, before) || performance.now() > end)) return current;
    await sleep(500);
  }
}

const formatCounts = ({ connections, consumers, subscriptions }: NatsCounts) =>
  `${connections}/${consumers}/${subscriptions}`;

await withOutageFarm(slaves, console.error, async (farm) => {
  console.error('waiting for builds');
  if ((await secondsUntilBuilds(farm, slaves * 5)) > BUILD_WAIT_LIMIT_S) {
    console.log(farm.log());
    throw new Error('the farm does not build');
  }
  printRow('outage', 'first build, s', `${slaves * 2} builds, s`, 'crash lines', 'before', 'after');
  for (const outage of outages) {
    if (outage === diskFull && !farm.nats.hasOwnDisk) {
      printRow(outage.name, 'requires root');
      continue;
    }
    const before = await farm.nats.counts();
    if (!before) throw new Error('nats-server does not answer');
    const logStart = farm.log().length;
    await outage.run(farm.nats);
    const began = performance.now();
    const first = await secondsUntilBuilds(farm, 1);
    await secondsUntilBuilds(farm, slaves * 2 - 1);
    const recoveryS = (performance.now() - began) / 1000;
    const after = await waitUntilSettled(farm, before);
    const crashes = farm
      .log()
      .slice(logStart)
      .split('\n')
      .filter((line) => CRASH.test(line));
    const passed = recoveryS <= outage.limitS && crashes.length === 0 && isRestored(after, before);
    if (!passed) faults += 1;
    const mark = passed ? '' : '  FAILED';
    printRow(
      outage.name,
      first.toFixed(1),
      recoveryS.toFixed(1),
      String(crashes.length),
      formatCounts(before),
      formatCounts(after) + mark,
    );
    for (const line of crashes.slice(0, 10)) console.log(`    ${line}`);
  }
  if (process.env['PIW_OUTAGE_LOG'] !== undefined) console.error(farm.log());
});
console.log('before, after: connections/consumers/subscriptions');
process.exitCode = faults === 0 ? 0 : 1;
