import { setTimeout as sleep } from 'node:timers/promises';
import { ProtocolClient } from '../../src/actor/client.js';
import { Bus } from '../../src/bus/bus.js';
import { Database } from '../../src/database/pool.js';
import { addTarget } from '../../src/database/targets.js';
import { slaveDriver, wake } from '../../src/protocols/slave-driver.js';
import { SLAVE_PROTOCOL_VERSION, VERSION } from '../../src/version.js';
import { FakePypi, randomWorld } from '../helpers/fake-pypi.js';
import type { Benchmark } from './bench.js';
import { PLATFORM } from './pypi-shape.js';
import { quantile } from './quantile.js';
import { withBenchEnvironment } from './stage.js';
import { NO_DETAILS } from '../../src/model/build-details.js';

const ABI = 'cp311';
const POLL_S = 1;
/** Longer than the slowest release takes, so that releases never overlap. */
const LIMIT_MS = 30_000;

/**
 * Measures the latency of a release: from the first time that the Cloud Gazer polls an index that shows it, until an
 * idle slave gets BUILD. The index is a fake PyPI on this machine; the actors are the real ones.
 */
export const release: Benchmark = {
  name: 'release',
  summary: 'latency from a release in the index to BUILD at an idle slave',
  options: { releases: 100 },
  async run({ releases = 100 }, say) {
    return await withBenchEnvironment(say, async ({ nats, dsn, limits, startMaster }) => {
      const database = await Database.open(dsn, 'bench');
      await addTarget(database, { abi: ABI, platform: PLATFORM, py_version_tag: ABI, skip: null });
      await database.close();
      const now = Math.floor(Date.now() / 1000);
      const world = randomWorld(1, 20, { now: now - 30 * 86_400 });
      const pypi = await FakePypi.start(world);
      try {
        startMaster({
          'pypi-xmlrpc': `${pypi.url}/pypi`,
          'pypi-simple': `${pypi.url}/simple/`,
          'pypi-json': `${pypi.url}/pypi`,
          'poll-interval': `${POLL_S}s`,
        });
        const idle = await IdleSlave.start(nats.slave);
        say('building the backlog first');
        while ((await idle.build(3000)) !== undefined);
        say(`publishing ${releases} releases, polled every ${POLL_S} s`);
        const latencies: number[] = [];
        const pollWaits: number[] = [];
        for (let n = 0; n < releases; n += 1) {
          const name = `bench-release-${n}`;
          // Requests are recorded in the order of their answers: all from this index on show the release.
          const earlierRequests = pypi.requests.length;
          world.now = Math.floor(Date.now() / 1000);
          world.create(name);
          world.newRelease(name, '1.0');
          world.addFile(name, '1.0', `${name.replaceAll('-', '_')}-1.0.tar.gz`, {
            kind: 'sdist',
            requiresPython: '>=3.8',
          });
          const shownAt = Date.now();
          const built = await idle.build(LIMIT_MS);
          if (built?.package !== name) throw new Error(`${name} was not built: ${JSON.stringify(built)}`);
          const firstPoll = pypi.requests
            .slice(earlierRequests)
            .find(({ call }) => call?.startsWith('changelog_'));
          if (!firstPoll) throw new Error(`${name} was built before the index was polled`);
          // If the answer to a request from before the release shows it, the time counts from the release.
          const seenAt = Math.max(shownAt, firstPoll.time);
          latencies.push(built.at - seenAt);
          pollWaits.push(seenAt - shownAt);
          // Random, so that releases are not in step with the polls.
          await sleep(100 + Math.random() * 1000);
        }
        await idle.stop();
        return {
          figures: {
            release_to_build_p50_ms: quantile(latencies, 0.5),
            release_to_build_p99_ms: quantile(latencies, 0.99),
            release_to_build_max_ms: Math.max(...latencies),
            poll_wait_p50_ms: quantile(pollWaits, 0.5),
            poll_wait_max_ms: Math.max(...pollWaits),
            poll_interval_ms: POLL_S * 1000,
            releases: latencies.length,
          },
          limits,
        };
      } finally {
        await pypi.close();
      }
    });
  },
};

/** A slave that waits for builds, can be woken, and fails each build at once. */
class IdleSlave {
  readonly #bus: Bus;
  readonly #slaveDriver: ProtocolClient<typeof slaveDriver.verbs>;
  #onWake: () => void = () => undefined;

  private constructor(bus: Bus) {
    this.#bus = bus;
    this.#slaveDriver = new ProtocolClient(bus, slaveDriver, ['slave', 'slave', 'idle'], {
      timeoutMs: 2000,
      patienceMs: 60_000,
    });
  }

  static async start(address: string): Promise<IdleSlave> {
    const bus = await Bus.connect({
      address,
      name: 'idle',
      inboxPrefix: '_INBOX_slave',
      bucket: 'piw-slave-slave',
    });
    const slave = new IdleSlave(bus);
    void slave.#listen();
    await slave.#slaveDriver.request('HELLO', {
      version: `${VERSION}/${SLAVE_PROTOCOL_VERSION}`,
      build_timeout_s: 3600,
      busy_interval_s: 30,
      py_version_tag: ABI,
      abi_tag: ABI,
      platform_tag: PLATFORM,
      label: 'idle',
      os_name: 'none',
      os_version: '',
      board: null,
      lacks: [],
      clock: Date.now(),
    });
    return slave;
  }

  /** Returns the next build and when it arrived; undefined if none arrived within `limitMs`. */
  async build(limitMs: number): Promise<{ readonly package: string; readonly at: number } | undefined> {
    const end = Date.now() + limitMs;
    while (Date.now() < end) {
      const woken = new Promise<void>((resolve) => (this.#onWake = resolve));
      const answer = await this.#slaveDriver.request('IDLE', { stats: [100e9, 50e9, 8e9, 4e9, 1, null] });
      if (answer.verb === 'BUILD') {
        const at = Date.now();
        await this.#slaveDriver.request('BUILT', {
          lease: answer.lease,
          status: false,
          failure_class: 'compiler',
          duration_s: 1,
          output: 'failed',
          details: NO_DETAILS,
          files: [],
        });
        return { package: answer.package, at };
      }
      const seconds = answer.verb === 'SLEEP' ? answer.seconds : 1;
      await Promise.race([woken, sleep(Math.min(seconds * 1000, Math.max(0, end - Date.now())))]);
    }
    return undefined;
  }

  async stop(): Promise<void> {
    await this.#slaveDriver.request('BYE', {});
    await this.#bus.drain();
  }

  async #listen(): Promise<void> {
    const wakes = this.#bus.subscribe(this.#bus.subject(wake.name, 'slave', 'idle', '*'));
    for await (const incoming of wakes) {
      wake.unpack(await incoming.body());
      this.#onWake();
    }
  }
}
