import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Batcher } from '../../src/actor/batch.js';
import { ProtocolClient } from '../../src/actor/client.js';
import type { Bus } from '../../src/bus/bus.js';
import { Database } from '../../src/database/pool.js';
import { builds } from '../../src/protocols/builds.js';
import { feed, projectToTuple, versionToTuple } from '../../src/protocols/feed.js';
import { oracle, type LoggedBuild } from '../../src/protocols/oracle.js';
import { slaveDriver } from '../../src/protocols/slave-driver.js';
import { parseEvent, type ChangeEvent } from '../../src/pypi/changelog.js';
import { foldEvents } from '../../src/pypi/fold.js';
import { EventReorderer } from '../../src/pypi/reorder.js';
import { PROTOCOL_VERSION, VERSION } from '../../src/version.js';
import type { Benchmark } from './bench.js';
import { PLATFORM, abisOf, fillPypiShape } from './pypi-shape.js';
import { quantile } from './quantile.js';
import { withBenchEnvironment } from './stage.js';
import { NO_DETAILS } from '../../src/states/build-details.js';

const SLAVES = 50;
const REQUESTS_PER_S = 500;
const LOG = 'x'.repeat(2000);
/** A process that has just started compiles itself first. */
const WARM_UP_S = 10;
/** A minute after the load the cast's memory is read. */
const REST_S = 60;

/**
 * The build queue with all of PyPI in it: how long the next build takes while results are logged, how
 * soon the first one is given out after a start, and what new versions, events and a new ABI cost.
 */
export const queue: Benchmark = {
  name: 'queue',
  summary: 'the build queue with as many versions as PyPI has',
  options: { versions: 5_000_000, abis: 4, seconds: 30 },
  async run({ versions = 5_000_000, abis = 4, seconds = 30 }, say) {
    return await withBenchEnvironment(say, async ({ nats, dsn, limits, startMaster, connect, settle }) => {
      say(`filling in ${String(versions)} versions`);
      await fillPypiShape(dsn, { versions, abis }, say);
      // A farm that has such a queue wasn't filled a moment ago.
      say('until the database is at rest');
      await settle();
      const database = await Database.open(dsn, 'bench');
      await database.query('delete from pages_backlog');
      const bus = await connect();
      const started = performance.now();
      const master = startMaster({ oracles: 1, watch: ['nothing'] });
      const firstBuildMs = await firstBuild(nats.slave, abisOf(abis)[0] ?? '', started);
      say(`the first build came after ${firstBuildMs.toFixed(0)} ms`);
      // Everything else has started by then.
      await sleep(3000);
      const load = new SlaveDriverLoad(bus, database, abisOf(abis));
      await load.hello();
      say(
        `${String(REQUESTS_PER_S)} questions a second: ${String(WARM_UP_S)} s to warm up, then ${String(seconds)} s`,
      );
      await load.run(WARM_UP_S);
      const quiet = await load.run(seconds);
      say('a new ABI meanwhile');
      const adding = new ProtocolClient(bus, oracle, undefined, { timeoutMs: 60_000 }).request('ADDABI', {
        ...{ abi: abisOf(abis + 1).at(-1) ?? '', platform: PLATFORM, py_version_tag: 'cp3', skip: null },
      });
      const busy = await load.run(seconds);
      await adding;
      const [filled] = await database.query<{ done: number }>(
        `select count(*) as done from versions where version_id >= (select max(filled_from) from targets)`,
      );
      await database.query(`update targets set filled_from = 0`);
      say('new versions');
      const newVersions = await measureEvents(bus, database, seconds / 2, 'release');
      say('events');
      const changelog = await measureEvents(bus, database, seconds / 2, 'all');
      await database.query('delete from pages_backlog');
      say(`a minute's rest`);
      await sleep(REST_S * 1000);
      const pss = pssOf(master.pid ?? 0);
      await database.close();
      return {
        figures: {
          next_build_p50_ms: quantile(quiet.answers, 0.5),
          next_build_p99_ms: quantile(quiet.answers, 0.99),
          next_builds_per_s: quiet.answers.length / seconds,
          results_logged_per_s: quiet.logged / seconds,
          first_build_ms: firstBuildMs,
          new_version_per_s: newVersions.versions,
          changelog_events_per_s: changelog.events,
          master_pss_mb: pss.mb,
          master_processes: pss.processes,
          add_abi_longest_stall_ms: Math.max(busy.longestMs, busy.longestLogMs),
          add_abi_next_build_p99_ms: quantile(busy.answers, 0.99),
          add_abi_versions_per_s: (filled?.done ?? 0) / seconds,
        },
        limits,
      };
    });
  },
};

/** A slave that is there before the master says HELLO and IDLE until it gets a build; when it did. */
async function firstBuild(address: string, abi: string, started: number): Promise<number> {
  const { Bus } = await import('../../src/bus/bus.js');
  const bus = await Bus.connect({
    ...{ address, name: 'first', inboxPrefix: '_INBOX_slave', bucket: 'piw-slave-slave' },
  });
  const client = new ProtocolClient(bus, slaveDriver, ['slave', 'slave', 'first'], {
    timeoutMs: 1000,
    patienceMs: 60_000,
  });
  await client.request('HELLO', {
    ...{ version: `${VERSION}/${String(PROTOCOL_VERSION)}`, build_timeout_s: 3600, busy_interval_s: 30 },
    ...{ py_version_tag: abi, abi_tag: abi, platform_tag: PLATFORM, label: 'first', os_name: 'none' },
    ...{ os_version: '', board: null, lacks: [], clock: Date.now() },
  });
  for (;;) {
    const answer = await client.request('IDLE', { stats: [100e9, 50e9, 8e9, 4e9, 1, null] });
    if (answer.verb === 'BUILD') break;
    await sleep(20);
  }
  const took = performance.now() - started;
  await client.request('BYE', {});
  await bus.drain();
  return took;
}

interface LoadReport {
  /** From each question until its answer, milliseconds. */
  readonly answers: readonly number[];
  readonly longestMs: number;
  readonly logged: number;
  /** The longest that the logging of results took. */
  readonly longestLogMs: number;
}

/** What the Slave Driver asks of the Architect and the Oracle, without slaves behind it. */
class SlaveDriverLoad {
  readonly #bus: Bus;
  readonly #database: Database;
  readonly #abis: readonly string[];
  readonly #slaves: { readonly id: number; readonly abi: string }[] = [];
  #fence = 0;

  constructor(bus: Bus, database: Database, abis: readonly string[]) {
    this.#bus = bus;
    this.#database = database;
    this.#abis = abis;
  }

  async hello(): Promise<void> {
    const client = new ProtocolClient(this.#bus, oracle, undefined, { timeoutMs: 5000, patienceMs: 30_000 });
    for (let n = 0; n < SLAVES; n += 1) {
      const abi = this.#abis[n % this.#abis.length] ?? '';
      const { slave_id } = await client.request('HELLOSLAVE', {
        ...{ user: 'bench', session: `s${String(n)}`, label: 'bench', abi, platform: PLATFORM },
        ...{ py_version_tag: abi, os_name: '', os_version: '', board: null, register: false },
      });
      this.#slaves.push({ id: slave_id, abi });
    }
    const [row] = await this.#database.query<{ revision: number }>(
      `select revision from fences where task = 'slave-driver'`,
    );
    this.#fence = row?.revision ?? 0;
  }

  async run(seconds: number): Promise<LoadReport> {
    const architect = new ProtocolClient(this.#bus, builds, undefined, { timeoutMs: 30_000 });
    const database = new ProtocolClient(this.#bus, oracle, undefined, { timeoutMs: 30_000 });
    const answers: number[] = [];
    let logged = 0;
    let longestLog = 0;
    // As the Slave Driver puts them together.
    const logBatch = new Batcher<LoggedBuild, unknown>({
      run: async (batch) => {
        const askedAt = performance.now();
        const { outcomes } = await database.request('LOGBUILD', { builds: [...batch] });
        longestLog = Math.max(longestLog, performance.now() - askedAt);
        logged += outcomes.filter(([outcome]) => outcome === 'logged').length;
        return outcomes;
      },
      ...{ maxItems: 64, maxInFlight: 1, delayMs: 20 },
    });
    const pendingLogs: Promise<unknown>[] = [];
    const began = performance.now();
    await Promise.all(
      this.#slaves.map(async ({ id, abi }, n) => {
        const intervalMs = (1000 * SLAVES) / REQUESTS_PER_S;
        for (let round = 0; ; round += 1) {
          // Each at its own moment, whatever the last answer took.
          const due = began + (round + n / SLAVES) * intervalMs;
          if (due > began + seconds * 1000) return;
          const delayMs = due - performance.now();
          if (delayMs > 0) await sleep(delayMs);
          const askedAt = performance.now();
          const { granted } = await architect.request('NEXT', {
            ...{ fence: this.#fence, lease_s: 3600, wants: [[id, abi, PLATFORM]] },
          });
          answers.push(performance.now() - askedAt);
          const [grant] = granted;
          if (!grant) continue;
          const [lease, , name, version] = grant;
          const result: LoggedBuild = {
            ...{ lease, slave_id: id, package: name, version, abi, platform: PLATFORM, status: false },
            ...{
              failure_class: 'compiler',
              duration_s: 1,
              output: LOG,
              details: NO_DETAILS,
              files: [],
              served: [],
            },
          };
          pendingLogs.push(logBatch.add(result));
        }
      }),
    );
    await Promise.all(pendingLogs);
    return { answers, longestMs: Math.max(...answers), logged, longestLogMs: longestLog };
  }
}

/**
 * A changelog of new releases (or of what a changelog consists of), from the events as they come out of
 * the XML until they are in the database with their queue rows, through one reader, as in the farm.
 */
async function measureEvents(
  bus: Bus,
  database: Database,
  seconds: number,
  kind: 'release' | 'all',
): Promise<{ readonly versions: number; readonly events: number }> {
  const client = new ProtocolClient(bus, feed, undefined, { timeoutMs: 60_000 });
  const [row] = await database.query<{ revision: number }>(
    `select coalesce(max(revision), 0) as revision from fences where task = 'cloud-gazer'`,
  );
  const firstSerial = 30_000_000 + (kind === 'all' ? 10_000_000 : 0);
  const reorder = new EventReorderer({ serial: firstSerial, read: firstSerial, cutTime: 0, cutSerial: 0 });
  const baseTime = Math.floor(Date.now() / 1000) - 10 * 365 * 86_400;
  let serial = firstSerial;
  let versions = 0;
  let eventCount = 0;
  const readPage = () => {
    const page: unknown[][] = [];
    for (let n = 0; n < 10_000; n += 1) {
      const [release, actionIndex] =
        kind === 'release' ? [Math.floor(serial / 2), serial % 2] : [Math.floor(serial / 4), serial % 4];
      const name = `${kind}-${String(Math.floor(release / 8))}`;
      const version = `1.${String(release % 8)}`;
      const actions = [
        'new release',
        `add source file ${name}-${version}.tar.gz`,
        `add py3 file ${name}-${version}-py3-none-any.whl`,
        'add Owner someone',
      ];
      // Some minutes out of order.
      const time = baseTime + Math.floor(serial / 50) + ((serial * 7919) % 240);
      page.push([name, version, time, actions[actionIndex], (serial += 1)]);
    }
    reorder.push(page.map((event) => parseEvent(event as never)));
    const ripe = reorder.nextSettled(20_000, 0, 'history');
    return {
      ripe,
      changes: foldEvents(ripe.events.filter((event): event is ChangeEvent => event.kind !== null)),
    };
  };
  const began = performance.now();
  let current = readPage();
  while (performance.now() - began < seconds * 1000) {
    const { ripe, changes } = current;
    const { serial: settled, read: highest, cutTime, cutSerial } = ripe.position;
    const written = client.request('EVENTS', {
      fence: row?.revision ?? 0,
      position: [settled, highest, cutTime, cutSerial],
      projects: changes.projects.map(projectToTuple),
      versions: changes.versions.map(versionToTuple),
    });
    reorder.confirm(ripe);
    // The next page is read while this one is written, as in the farm; but first it has to leave.
    await sleep(10);
    current = readPage();
    await written;
    eventCount += ripe.events.length;
    versions += changes.versions.length;
  }
  const took = (performance.now() - began) / 1000;
  return { versions: versions / took, events: eventCount / took };
}

/** The proportional set size of a process and all below it. */
function pssOf(root: number): { readonly mb: number; readonly processes: number } {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
    } catch {
      // It has ended.
    }
  }
  const isBelow = (pid: number): boolean => pid === root || (pid > 1 && isBelow(parents.get(pid) ?? 0));
  const pids = [...parents.keys()].filter(isBelow);
  const kb = pids.map((pid) =>
    Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${String(pid)}/smaps_rollup`, 'utf8'))?.[1] ?? 0),
  );
  return { mb: kb.reduce((sum, one) => sum + one, 0) / 1024, processes: pids.length };
}
