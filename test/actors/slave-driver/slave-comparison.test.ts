import t from 'tap';
import {
  SlaveComparison,
  isAcquitted,
  type SlaveResult,
} from '../../../actors/slave-driver/slave-comparison.js';
import { seededRandom } from '../../helpers/fake-pypi/chance.js';

t.setTimeout(120_000);

/** What a farm of simulated slaves does: each takes the next package when it has done with the one before. */
interface Simulation {
  readonly seed: number;
  readonly slaves: number;
  readonly builds: number;
  /** Whether a package fails on every healthy slave. */
  readonly bad: (number: number, random: () => number) => boolean;
  /** The share of everything that the first slave fails beside, from this build of the farm's on; and any slave. */
  readonly sick?: number;
  readonly sickFrom?: number;
  readonly flaky?: number;
  /** How many consecutive builds are versions of one package, which fail together. */
  readonly versions?: number;
  /** How much slower than the fastest a slave may be. */
  readonly spread?: number;
}

interface SimulationResult {
  /** The first suspicion of each slave: after how many of its builds. */
  readonly suspected: Map<number, number>;
}

function simulate(options: Simulation): SimulationResult {
  const { seed, slaves, builds, bad, sick = 0, sickFrom = 0, flaky = 0, versions = 1, spread = 1 } = options;
  const random = seededRandom(seed);
  const comparison = new SlaveComparison();
  const suspected = new Map<number, number>();
  const built = new Map<number, number>();
  const speeds = Array.from({ length: slaves }, () => 1 + random() * (spread - 1));
  const fates = new Map<number, boolean>();
  const running: { result: SlaveResult; free: number }[] = [];
  let number = 0;
  const take = (slaveId: number, now: number): void => {
    const packageNumber = Math.floor(number / versions);
    number += 1;
    const fate = fates.get(packageNumber) ?? bad(packageNumber, random);
    fates.set(packageNumber, fate);
    const failed = fate || random() < (slaveId === 0 && number >= sickFrom ? sick : 0) || random() < flaky;
    // What fails, mostly fails early.
    const took = (failed ? 5 + random() * 20 : 10 + random() * 80) * (speeds[slaveId] ?? 1);
    const result = { slaveId, package: `p${String(packageNumber)}`, failed, began: now, ended: now + took };
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

const failureShare = (of: number) => (_: number, random: () => number) => random() < of;

void t.test('one slave of thirty that fails everything is found within 20 builds', (t) => {
  for (const of of [0, 0.1, 0.25]) {
    for (let seed = 1; seed <= 20; seed += 1) {
      const sickFrom = of === 0 ? 0 : 500;
      const { suspected } = simulate({
        seed,
        slaves: 30,
        builds: 2000,
        bad: failureShare(of),
        sick: 1,
        sickFrom,
      });
      t.equal(suspected.size, 1, `seed ${String(seed)}, others fail ${String(of)}`);
      t.ok((suspected.get(0) ?? 99) <= 20, `after ${String(suspected.get(0))} builds`);
    }
  }
  t.end();
});

void t.test(
  'it is found after a healthy time, among few slaves, and where it fails most and not all',
  (t) => {
    for (let seed = 1; seed <= 10; seed += 1) {
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
        package: `p${String(slaveId)}-${String(i)}`,
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
    t.ok(foundAt >= 100 && foundAt < 120, `its disk broke at 100, found at ${String(foundAt)}`);
    t.end();
  },
);

void t.test('versions of one package are compared where other slaves build that package', (t) => {
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

void t.test('no healthy slave is suspected, whatever the packages are like', (t) => {
  let judged = 0;
  const kinds: readonly Omit<Simulation, 'seed'>[] = [
    ...[0, 0.1, 0.3, 0.6, 0.9, 1].map((of) => ({ slaves: 30, builds: 3000, bad: failureShare(of) })),
    // A storm: nothing builds for a while, then all does, or half.
    { slaves: 30, builds: 4000, bad: (n) => Math.floor(n / 400) % 2 === 1 },
    { slaves: 30, builds: 4000, bad: (n, random) => Math.floor(n / 50) % 3 === 1 || random() < 0.1 },
    { slaves: 4, builds: 2000, bad: (n, random) => Math.floor(n / 30) % 2 === 1 || random() < 0.2 },
    { slaves: 2, builds: 2000, bad: (n, random) => Math.floor(n / 25) % 2 === 1 || random() < 0.2 },
    { slaves: 1, builds: 500, bad: failureShare(1) },
    // Many versions of bad packages in a row, fast slaves and slow ones, and some that fail more often.
    { slaves: 30, builds: 4000, bad: failureShare(0.25), versions: 60 },
    { slaves: 5, builds: 3000, bad: failureShare(0.25), versions: 200, spread: 20 },
    { slaves: 30, builds: 4000, bad: failureShare(0.25), versions: 12, spread: 20, flaky: 0.05 },
    { slaves: 10, builds: 4000, bad: failureShare(0.2), sick: 0.1, spread: 5 },
  ];
  for (const [kind, options] of kinds.entries()) {
    for (let seed = 1; seed <= 3; seed += 1) {
      judged += options.builds;
      t.equal(simulate({ seed, ...options }).suspected.size, 0, `kind ${String(kind)}, seed ${String(seed)}`);
    }
  }
  t.comment(`${String(judged)} builds judged`);
  t.end();
});

void t.test('a slave is acquitted when others fail with the same builds', (t) => {
  t.notOk(isAcquitted({ confirmed: 5, refuted: 0 }), 'too few');
  t.ok(isAcquitted({ confirmed: 6, refuted: 1 }));
  t.notOk(isAcquitted({ confirmed: 6, refuted: 3 }));
  t.notOk(isAcquitted({ confirmed: 0, refuted: 20 }));
  t.end();
});
