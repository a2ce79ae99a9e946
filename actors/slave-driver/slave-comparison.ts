/** One build that counts for a slave's health: a success or a final failure. Times in milliseconds. */
export interface SlaveResult {
  readonly slaveId: number;
  readonly package: string;
  readonly failed: boolean;
  readonly began: number;
  readonly ended: number;
}

/** Why a slave is suspected: its last builds, compared with those of the other slaves in the same period. */
export interface Suspicion {
  readonly failed: number;
  readonly builds: number;
  readonly othersFailed: number;
  readonly othersBuilds: number;
  /** When the suspicious run of builds began. */
  readonly since: number;
}

/** How many results are kept per slave, and for all slaves of a target. */
const MAX_RESULTS = { slave: 150, target: 1500 };
/** Shorter runs of builds are not judged. */
const MIN_BUILDS = 8;
/**
 * A run is suspicious if its probability, for a slave that is like the others, is below both limits: compared with
 * all results of the others that are kept, and with the builds that they began in the same period. The first
 * comparison is more exact, because builds that take long to succeed are not yet in the second; the second is not
 * misled by a burst of bad packages. The limits are this low because a farm of thirty slaves judges some hundred
 * thousand runs a day, most of which overlap. A slave that fails everything is found after 9 builds if the others
 * fail a tenth of theirs, and after 14 to 20 if they fail a quarter.
 */
const MAX_P_VALUE = { allTime: 1e-8, samePeriod: 1e-6 };
/** If the others fail more than this share, no run that is kept can be improbable enough. */
const MAX_OTHERS_FAILURE_RATE = 0.75;

/**
 * The recent results of the slaves of one target, and the comparison that finds a sick slave: one whose last builds
 * failed so much more often than those of the other slaves, before and in the same period, that chance does not
 * explain it (Fisher's exact test). A burst of bad packages fails on all slaves alike and makes none suspicious. A
 * slave that is the only one of its target is never suspected.
 */
export class SlaveComparison {
  readonly #resultsBySlave = new Map<number, SlaveResult[]>();
  #results: SlaveResult[] = [];
  #failedCount = 0;

  record(result: SlaveResult): void {
    const own = this.#resultsBySlave.get(result.slaveId) ?? [];
    own.push(result);
    if (own.length > MAX_RESULTS.slave) own.shift();
    this.#resultsBySlave.set(result.slaveId, own);
    this.#results.push(result);
    this.#failedCount += Number(result.failed);
    // In bulk, because each removal at the front moves all remaining results.
    if (this.#results.length < MAX_RESULTS.target * 1.25) return;
    this.#results = this.#results.slice(-MAX_RESULTS.target);
    this.#failedCount = this.#results.filter(({ failed }) => failed).length;
  }

  /** Forgets a slave's results, so that it is judged afresh. */
  forget(slaveId: number): void {
    this.#resultsBySlave.delete(slaveId);
    this.#results = this.#results.filter((result) => result.slaveId !== slaveId);
    this.#failedCount = this.#results.filter(({ failed }) => failed).length;
  }

  /** Returns how many of the builds that a slave began at or after `since` have succeeded in a row up to now. */
  successesInRow(slaveId: number, since: number): number {
    const own = (this.#resultsBySlave.get(slaveId) ?? []).filter(({ began }) => began >= since);
    const lastFailure = own.findLastIndex((result) => result.failed);
    return own.length - 1 - lastFailure;
  }

  /** Returns why a slave's last builds stand out from those of the others; undefined if they do not. */
  suspicion(slaveId: number): Suspicion | undefined {
    const own = this.#resultsBySlave.get(slaveId) ?? [];
    const last = own.slice(-MIN_BUILDS);
    // Only a slave most of whose last builds have failed, including the very last, is compared with the others.
    const failed = last.filter((result) => result.failed).length;
    if (last.length < MIN_BUILDS || failed < MIN_BUILDS * 0.75 || !(last.at(-1)?.failed ?? false))
      return undefined;
    const others = this.#results.length - own.length;
    const othersFailed = this.#failedCount - own.filter((result) => result.failed).length;
    if (others <= 0 || othersFailed > others * MAX_OTHERS_FAILURE_RATE) return undefined;
    return findSuspiciousRun(
      own,
      this.#results.filter((result) => result.slaveId !== slaveId),
    );
  }
}

/**
 * Returns the least probable run of a slave's last builds if it is below the limits; undefined otherwise. Both lists
 * must be in order of time.
 */
function findSuspiciousRun(
  own: readonly SlaveResult[],
  others: readonly SlaveResult[],
): Suspicion | undefined {
  const newCounts = counterFactory(others);
  const othersByStart = [...others].sort((a, b) => b.began - a.began);
  const [run, othersInPeriod, allOthers] = [newCounts(), newCounts(), newCounts()];
  for (const result of others) allOthers.add(result);
  let next = 0;
  let since = Infinity;
  let mostImprobable: { readonly suspicion: Suspicion; readonly chance: number } | undefined;
  for (const result of own.toReversed()) {
    run.add(result);
    since = Math.min(since, result.began);
    for (let other = othersByStart[next]; other && other.began >= since; other = othersByStart[(next += 1)])
      othersInPeriod.add(other);
    if (!result.failed || run.builds < MIN_BUILDS) continue;
    const chance = hypergeometricTail(run, allOthers);
    if (chance > MAX_P_VALUE.allTime || (mostImprobable && chance > mostImprobable.chance)) continue;
    if (hypergeometricTail(run, othersInPeriod) > MAX_P_VALUE.samePeriod) continue;
    const { failed, builds } = run;
    mostImprobable = {
      suspicion: {
        failed,
        builds,
        othersFailed: othersInPeriod.failed,
        othersBuilds: othersInPeriod.builds,
        since,
      },
      chance,
    };
  }
  return mostImprobable?.suspicion;
}

interface OutcomeCounts {
  readonly failed: number;
  readonly builds: number;
  add(result: SlaveResult): void;
}

/**
 * Returns a factory of counters in which a package counts once per slave, because its versions mostly fail together
 * and say no more than one of them. All versions of a package that the other slaves have mostly built count, because
 * each of them is a comparison.
 */
function counterFactory(others: readonly SlaveResult[]): () => OutcomeCounts {
  const balance = new Map<string, number>();
  for (const { package: name, failed } of others)
    balance.set(name, (balance.get(name) ?? 0) + (failed ? -1 : 1));
  return () => {
    const seen = new Set<string>();
    const counts = {
      failed: 0,
      builds: 0,
      add: ({ slaveId, package: name, failed }: SlaveResult): void => {
        const key = `${slaveId} ${name}`;
        if (seen.has(key) && (balance.get(name) ?? 0) <= 0) return;
        seen.add(key);
        counts.builds += 1;
        counts.failed += Number(failed);
      },
    };
    return counts;
  };
}

/**
 * Returns the probability that `mine` has at least its number of failures by chance, given the total number of
 * failures: the upper tail of the hypergeometric distribution.
 */
function hypergeometricTail(mine: OutcomeCounts, theirs: OutcomeCounts): number {
  const builds = mine.builds + theirs.builds;
  const failures = mine.failed + theirs.failed;
  const logTotal = logChoose(builds, mine.builds);
  let chance = 0;
  for (let failed = mine.failed; failed <= Math.min(mine.builds, failures); failed += 1)
    chance += Math.exp(
      logChoose(failures, failed) + logChoose(builds - failures, mine.builds - failed) - logTotal,
    );
  return chance;
}

const LOG_FACTORIALS = [0];
function logFactorial(n: number): number {
  for (let i = LOG_FACTORIALS.length; i <= n; i += 1)
    LOG_FACTORIALS.push((LOG_FACTORIALS[i - 1] ?? 0) + Math.log(i));
  return LOG_FACTORIALS[n] ?? 0;
}

const logChoose = (n: number, k: number): number =>
  k < 0 || k > n ? -Infinity : logFactorial(n) - logFactorial(k) - logFactorial(n - k);

/** What other slaves found when they retried the failed builds of a slave that was set aside. */
interface Verdicts {
  /** Builds that failed on another slave, too. */
  readonly confirmed: number;
  /** Builds that succeeded on another slave. */
  readonly refuted: number;
}

/** The number of verdicts needed to acquit a slave, and the minimum share of them that confirms its failures. */
const ACQUITTAL = { verdicts: 6, confirmed: 0.8 };

/** Returns whether a slave was not at fault: the builds that failed on it fail on other slaves, too. */
export function isAcquitted({ confirmed, refuted }: Verdicts): boolean {
  const verdicts = confirmed + refuted;
  return verdicts >= ACQUITTAL.verdicts && confirmed >= verdicts * ACQUITTAL.confirmed;
}
