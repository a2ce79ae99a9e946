import { setTimeout as sleep } from 'node:timers/promises';
import { Batcher } from '../../src/concurrency/batcher.js';
import { ProtocolClient } from '../../src/actor/client.js';
import type { Bus } from '../../src/bus/bus.js';
import { Database } from '../../src/database/pool.js';
import { builds } from '../../src/protocols/builds.js';
import { feed, projectToTuple, versionToTuple } from '../../src/protocols/feed.js';
import { oracle } from '../../src/protocols/oracle.js';
import type { LoggedBuild } from '../../src/model/build.js';
import { slaveDriver } from '../../src/protocols/slave-driver.js';
import { parseEvent, type ChangeEvent } from '../../src/pypi/changelog.js';
import { foldEvents } from '../../src/pypi/fold.js';
import { EventReorderer } from '../../src/pypi/reorder.js';
import { SLAVE_PROTOCOL_VERSION, VERSION } from '../../src/version.js';
import type { Benchmark } from './bench.js';
import { PLATFORM, abisOf, fillPypiShape } from './pypi-shape.js';
import { quantile } from './quantile.js';
import { withBenchEnvironment } from './stage.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { ProcessEntry, allProcesses } from '../helpers/proc.js';

const SLAVES = 50;
const REQUESTS_PER_S = 500;
const LOG = 'x'.repeat(2000);
/** Time before the measurement, in which new processes JIT-compile their code, seconds. */
const WARM_UP_S = 10;
/** Time between the load and the measurement of the actors' memory, seconds. */
const REST_S = 60;

/**
 * Measures the build queue with as many versions as PyPI has: how long a request for the next build takes while results
 * are logged, how soon the first build is leased after a start, and what new versions, events and a new ABI cost.
 */
export const queue: Benchmark = {
  name: 'queue',
  summary: 'requests to a build queue with as many versions as PyPI has',
  options: { versions: 5_000_000, abis: 4, seconds: 30 },
  async run({ versions = 5_000_000, abis = 4, seconds = 30 }, say) {
    return await withBenchEnvironment(say, async ({ nats, dsn, limits, startMaster, connect, settle }) => {
      say(`filling the database with ${versions} versions`);
      await fillPypiShape(dsn, { versions, abis }, say);
      // A real farm with such a queue was not filled a moment ago.
      say('waiting until the database has settled');
      await settle();
      const database = await Database.open(dsn, 'bench');
      await database.query('delete from pages_backlog');
      const bus = await connect();
      const startedAt = performance.now();
      const master = startMaster({ oracles: 1, watch: ['nothing'] });
      const firstBuildMs = await firstBuild(nats.slave, abisOf(abis)[0] ?? '', startedAt);
      say(`the first build arrived after ${firstBuildMs.toFixed(0)} ms`);
      // Until all other actors have started.
      await sleep(3000);
      const load = new SlaveDriverLoad(bus, database, abisOf(abis));
      await load.hello();
      say(`sending ${REQUESTS_PER_S} requests per second: ${WARM_UP_S} s to warm up, then ${seconds} s`);
      await load.run(WARM_UP_S);
      const quiet = await load.run(seconds);
      say('adding an ABI under load');
      const adding = new ProtocolClient(bus, oracle, undefined, { timeoutMs: 60_000 }).request('ADDABI', {
        abi: abisOf(abis + 1).at(-1) ?? '',
        platform: PLATFORM,
        py_version_tag: 'cp3',
        skip: null,
      });
      const busy = await load.run(seconds);
      await adding;
      const [filled] = await database.query<{ done: number }>(
        `select count(*) as done from versions where version_id >= (select max(filled_from) from targets)`,
      );
      await database.query(`update targets set filled_from = 0`);
      say('applying events of new versions');
      const newVersions = await measureEvents(bus, database, seconds / 2, 'release');
      say('applying events of a changelog');
      const changelog = await measureEvents(bus, database, seconds / 2, 'all');
      await database.query('delete from pages_backlog');
      say(`resting for ${REST_S} s`);
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

/**
 * Simulates a slave that starts before the master, and says HELLO and IDLE until it gets a build. Returns the time
 * since `startedAt`, milliseconds.
 */
async function firstBuild(address: string, abi: string, startedAt: number): Promise<number> {
  const { Bus } = await import('../../src/bus/bus.js');
  const bus = await Bus.connect({
    address,
    name: 'first',
    inboxPrefix: '_INBOX_slave',
    bucket: 'piw-slave-slave',
  });
  const client = new ProtocolClient(bus, slaveDriver, ['slave', 'slave', 'first'], {
    timeoutMs: 1000,
    patienceMs: 60_000,
  });
  await client.request('HELLO', {
    version: `${VERSION}/${SLAVE_PROTOCOL_VERSION}`,
    build_timeout_s: 3600,
    busy_interval_s: 30,
    py_version_tag: abi,
    abi_tag: abi,
    platform_tag: PLATFORM,
    label: 'first',
    os_name: 'none',
    os_version: '',
    board: null,
    lacks: [],
    clock: Date.now(),
  });
  for (;;) {
    const answer = await client.request('IDLE', { stats: [100e9, 50e9, 8e9, 4e9, 1, null] });
    if (answer.verb === 'BUILD') break;
    await sleep(20);
  }
  const elapsedMs = performance.now() - startedAt;
  await client.request('BYE', {});
  await bus.drain();
  return elapsedMs;
}

interface LoadReport {
  /** The time from each request to its answer, milliseconds. */
  readonly answers: readonly number[];
  readonly longestMs: number;
  /** Results that were logged. */
  readonly logged: number;
  /** The longest time that a request to log results took, milliseconds. */
  readonly longestLogMs: number;
}

/** Simulates the Slave Driver's requests to the Architect and the Oracle, without slaves. */
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
        user: 'bench',
        session: `s${n}`,
        label: 'bench',
        abi,
        platform: PLATFORM,
        py_version_tag: abi,
        os_name: '',
        os_version: '',
        board: null,
        register: false,
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
    // Batches results as the Slave Driver does.
    const logBatch = new Batcher<LoggedBuild, unknown>({
      run: async (batch) => {
        const askedAt = performance.now();
        const { outcomes } = await database.request('LOGBUILD', { builds: [...batch] });
        longestLog = Math.max(longestLog, performance.now() - askedAt);
        logged += outcomes.filter(([outcome]) => outcome === 'logged').length;
        return outcomes;
      },
      maxItems: 64,
      maxInFlight: 1,
      delayMs: 20,
    });
    const pendingLogs: Promise<unknown>[] = [];
    const startedAt = performance.now();
    await Promise.all(
      this.#slaves.map(async ({ id, abi }, n) => {
        const intervalMs = (1000 * SLAVES) / REQUESTS_PER_S;
        for (let round = 0; ; round += 1) {
          // Each slave has its own schedule, however long the last answer took.
          const dueAt = startedAt + (round + n / SLAVES) * intervalMs;
          if (dueAt > startedAt + seconds * 1000) return;
          const delayMs = dueAt - performance.now();
          if (delayMs > 0) await sleep(delayMs);
          const askedAt = performance.now();
          const { granted } = await architect.request('NEXT', {
            fence: this.#fence,
            lease_s: 3600,
            wants: [[id, abi, PLATFORM]],
          });
          answers.push(performance.now() - askedAt);
          const [grant] = granted;
          if (!grant) continue;
          const [lease, , name, version] = grant;
          const result: LoggedBuild = {
            lease,
            slave_id: id,
            package: name,
            version,
            abi,
            platform: PLATFORM,
            status: false,
            failure_class: 'compiler',
            duration_s: 1,
            output: LOG,
            details: NO_DETAILS,
            files: [],
            served: [],
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
 * Measures how fast events are applied, of new releases or of a typical changelog (`all`): from events as parsed from
 * the XML until they are in the database with their rows of the queue, with one reader, as in the farm. Returns rates
 * per second.
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
      const name = `${kind}-${Math.floor(release / 8)}`;
      const version = `1.${release % 8}`;
      const actions = [
        'new release',
        `add source file ${name}-${version}.tar.gz`,
        `add py3 file ${name}-${version}-py3-none-any.whl`,
        'add Owner someone',
      ];
      // Out of order by up to four minutes.
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
  const startedAt = performance.now();
  let current = readPage();
  while (performance.now() - startedAt < seconds * 1000) {
    const { ripe, changes } = current;
    const { serial: settled, read: highest, cutTime, cutSerial } = ripe.position;
    const written = client.request('EVENTS', {
      fence: row?.revision ?? 0,
      position: [settled, highest, cutTime, cutSerial],
      projects: changes.projects.map(projectToTuple),
      versions: changes.versions.map(versionToTuple),
    });
    reorder.confirm(ripe);
    // As in the farm, the next page is read while this one is written; the pause lets the request leave first.
    await sleep(10);
    current = readPage();
    await written;
    eventCount += ripe.events.length;
    versions += changes.versions.length;
  }
  const elapsedS = (performance.now() - startedAt) / 1000;
  return { versions: versions / elapsedS, events: eventCount / elapsedS };
}

/** Returns the proportional set size of a process and its descendants, MB of 2^20 bytes, and how many they are. */
function pssOf(root: number): { readonly mb: number; readonly processes: number } {
  const parents = new Map(allProcesses().map(({ pid, parent }) => [pid, parent]));
  const isInTree = (pid: number): boolean => pid === root || (pid > 1 && isInTree(parents.get(pid) ?? 0));
  const tree = [...parents.keys()].filter(isInTree).map((pid) => new ProcessEntry(pid));
  const bytes = tree.reduce((sum, { proportionalBytes }) => sum + proportionalBytes, 0);
  return { mb: bytes / 1024 ** 2, processes: tree.length };
}
