import t from 'tap';
import {
  SlaveComparison,
  isAcquitted,
  type SlaveResult,
} from '../../../actors/slave-driver/slave-comparison.js';
import { seededRandom } from '../../helpers/random.js';

t.setTimeout(120_000);

/** For more seeds, by hand: PIW_TEST_SEEDS=4 npm test -- slave-comparison. */
const SEEDS = Number(process.env['PIW_TEST_SEEDS'] ?? 1);

/** A farm of simulated slaves: each takes the next package when it has finished the previous one. */
interface Simulation {
  readonly seed: number;
  readonly slaves: number;
  readonly builds: number;
  /** Returns whether a package fails on every healthy slave. */
  readonly bad: (number: number, random: () => number) => boolean;
  /** The share of the remaining builds that slave 0 fails, once the farm has begun `sickFrom` builds. */
  readonly sick?: number;
  readonly sickFrom?: number;
  /** The share of the remaining builds that fail by chance, on any slave. */
  readonly flaky?: number;
  /** The number of consecutive builds that are versions of one package, and fail or succeed together. */
  readonly versions?: number;
  /** The ratio between the slowest and the fastest slave. */
  readonly spread?: number;
}

interface SimulationResult {
  /** The number of builds after which each slave was first suspected. */
  readonly suspected: Map<number, number>;
}

function simulate(options: Simulation): SimulationResult {
  const { seed, slaves, builds, bad, sick = 0, sickFrom = 0, flaky = 0, versions = 1, spread = 1 } = options;
  const random = seededRandom(seed);
  const comparison = new SlaveComparison();
  const suspected = new Map<number, number>();
  const built = new Map<number, number>();
  const speeds = Array.from({ length: slaves }, () => 1 + random() * (spread - 1));
  // Whether each package fails on every slave.
  const fates = new Map<number, boolean>();
  const running: { result: SlaveResult; free: number }[] = [];
  let number = 0;
  const take = (slaveId: number, now: number): void => {
    const packageNumber = Math.floor(number / versions);
    number += 1;
    const fate = fates.get(packageNumber) ?? bad(packageNumber, random);
    fates.set(packageNumber, fate);
    const failed = fate || random() < (slaveId === 0 && number >= sickFrom ? sick : 0) || random() < flaky;
    // Most failures come early.
    const duration = (failed ? 5 + random() * 20 : 10 + random() * 80) * (speeds[slaveId] ?? 1);
    const result = {
      slaveId,
      package: `p${packageNumber}`,
      failed,
      began: now,
      ended: now + duration,
    };
    running.push({ result, free: result.ended });
  };
  for (let slaveId = 0; slaveId < slaves; slaveId += 1) take(slaveId, slaveId);
  for (let done = 0; done < builds; done += 1) {
    running.sort((a, b) => b.free - a.free);
    const next = running.pop();
    if (!next) break;
    const { slaveId, ended } = next.result;
    comparison.record(next.result);
    if (done >= sickFrom) built.set(slaveId, (built.get(slaveId) ?? 0) + 1);
    if (!suspected.has(slaveId) && comparison.suspicion(slaveId))
      suspected.set(slaveId, built.get(slaveId) ?? 0);
    take(slaveId, ended);
  }
  return { suspected };
}

const failureShare = (share: number) => (_: number, random: () => number) => random() < share;

void t.test('one slave of thirty that fails everything is found within 20 builds', (t) => {
  for (const share of [0, 0.1, 0.25]) {
    for (let seed = 1; seed <= 6 * SEEDS; seed += 1) {
      const sickFrom = share === 0 ? 0 : 500;
      const { suspected } = simulate({
        seed,
        slaves: 30,
        builds: 2000,
        bad: failureShare(share),
        sick: 1,
        sickFrom,
      });
      t.equal(suspected.size, 1, `seed ${seed}, others fail ${share}`);
      t.ok((suspected.get(0) ?? 99) <= 20, `after ${String(suspected.get(0))} builds`);
    }
  }
  t.end();
});

void t.test(
  'a sick slave is found after a healthy period, among few slaves, and if it fails most builds but not all',
  (t) => {
    for (let seed = 1; seed <= 3 * SEEDS; seed += 1) {
      t.ok(
        simulate({ seed, slaves: 3, builds: 500, bad: failureShare(0.2), sick: 1 }).suspected.has(0),
        'of three',
      );
      t.ok(
        simulate({ seed, slaves: 10, builds: 3000, bad: failureShare(0.1), sick: 0.9 }).suspected.has(0),
        'nine of ten',
      );
    }
    const comparison = new SlaveComparison();
    const random = seededRandom(7);
    const record = (slaveId: number, i: number, failed: boolean) => {
      comparison.record({
        slaveId,
        package: `p${slaveId}-${i}`,
        failed,
        began: i,
        ended: i + 1,
      });
    };
    let foundAt = 0;
    for (let i = 0; i < 200 && foundAt === 0; i += 1) {
      for (let slaveId = 1; slaveId < 30; slaveId += 1) record(slaveId, i, random() < 0.2);
      record(0, i, i >= 100 || random() < 0.2);
      if (comparison.suspicion(0)) foundAt = i;
    }
    t.ok(foundAt >= 100 && foundAt < 120, `the disk broke at 100, found at ${foundAt}`);
    t.end();
  },
);

void t.test('each version of a package counts if the other slaves can build that package', (t) => {
  const { suspected } = simulate({
    seed: 3,
    slaves: 30,
    builds: 1500,
    bad: failureShare(0),
    sick: 1,
    versions: 1500,
  });
  t.same([...suspected.keys()], [0]);
  t.ok((suspected.get(0) ?? 99) <= 20);
  t.end();
});

void t.test('no healthy slave is suspected, whatever packages it builds', (t) => {
  let judged = 0;
  const scenarios: readonly Omit<Simulation, 'seed'>[] = [
    ...[0, 0.1, 0.3, 0.6, 0.9, 1].map((share) => ({ slaves: 30, builds: 3000, bad: failureShare(share) })),
    // A storm: for a while all builds fail, then none, or some.
    { slaves: 30, builds: 4000, bad: (n) => Math.floor(n / 400) % 2 === 1 },
    { slaves: 30, builds: 4000, bad: (n, random) => Math.floor(n / 50) % 3 === 1 || random() < 0.1 },
    { slaves: 4, builds: 2000, bad: (n, random) => Math.floor(n / 30) % 2 === 1 || random() < 0.2 },
    { slaves: 2, builds: 2000, bad: (n, random) => Math.floor(n / 25) % 2 === 1 || random() < 0.2 },
    { slaves: 1, builds: 500, bad: failureShare(1) },
    // Many versions of bad packages in a row; fast and slow slaves; some that fail more often.
    { slaves: 30, builds: 4000, bad: failureShare(0.25), versions: 60 },
    { slaves: 5, builds: 3000, bad: failureShare(0.25), versions: 200, spread: 20 },
    { slaves: 30, builds: 4000, bad: failureShare(0.25), versions: 12, spread: 20, flaky: 0.05 },
    { slaves: 10, builds: 4000, bad: failureShare(0.2), sick: 0.1, spread: 5 },
  ];
  for (const [scenario, options] of scenarios.entries()) {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      judged += options.builds;
      t.equal(simulate({ seed, ...options }).suspected.size, 0, `scenario ${scenario}, seed ${seed}`);
    }
  }
  t.comment(`${judged} builds judged`);
  t.end();
});

void t.test('a slave is acquitted when others fail with the same builds', (t) => {
  t.notOk(isAcquitted({ confirmed: 5, refuted: 0 }), 'too few');
  t.ok(isAcquitted({ confirmed: 6, refuted: 1 }));
  t.notOk(isAcquitted({ confirmed: 6, refuted: 3 }));
  t.notOk(isAcquitted({ confirmed: 0, refuted: 20 }));
  t.end();
});
