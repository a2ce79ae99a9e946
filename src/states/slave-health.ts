/** One build of a slave that says something about it: a success, or a failure for good. Times in milliseconds. */
export interface SlaveResult {
  readonly slaveId: number;
  readonly package: string;
  readonly failed: boolean;
  readonly began: number;
  readonly ended: number;
}

/** Why a slave is suspected: its last builds, beside those of the other slaves in the same period. */
export interface Suspicion {
  readonly failed: number;
  readonly builds: number;
  readonly othersFailed: number;
  readonly othersBuilds: number;
  /** When the suspicious run of builds began. */
  readonly since: number;
}

/** How many results are kept of each slave, and of all slaves of a target. */
const MAX_RESULTS = { slave: 150, target: 1500 };
/** A run of fewer builds is not judged. */
const MIN_BUILDS = 8;
/**
 * How improbable a run must be in a slave that is like the others: beside all that is kept of theirs, and beside what
 * they began in the same period. The first is the more exact, for what takes long to succeed is not in the second
 * yet; the second is what a storm of bad packages does not deceive. A farm of thirty slaves judges some hundred
 * thousand runs a day, most of which overlap. A slave that fails everything is found after 9 builds where the others
 * fail a tenth of theirs, and after 14 to 20 where they fail a quarter.
 */
const MAX_P_VALUE = { allTime: 1e-8, samePeriod: 1e-6 };
/** Where the others fail more than this, no run that is kept can be improbable enough. */
const MAX_OTHERS_FAILURE_RATE = 0.75;
/**
 * The recent results of the slaves of one target, and the comparison that finds a sick slave: its last builds failed
 * so much more often than those of the other slaves, before and in the same period, that chance does not explain it
 * (Fisher's exact test). A storm of bad packages fails on all slaves alike, and makes nobody suspicious; nor can a slave be
 * that has no others beside it.
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
    // In bulk, for each removal at the front moves all of the rest.
    if (this.#results.length < MAX_RESULTS.target * 1.25) return;
    this.#results = this.#results.slice(-MAX_RESULTS.target);
    this.#failedCount = this.#results.filter(({ failed }) => failed).length;
  }

  /** Forgets what a slave has done: it is judged anew. */
  forget(slaveId: number): void {
    this.#resultsBySlave.delete(slaveId);
    this.#results = this.#results.filter((result) => result.slaveId !== slaveId);
    this.#failedCount = this.#results.filter(({ failed }) => failed).length;
  }

  /** How many of a slave's builds have succeeded in a row, of those that it began after `since`. */
  successesInRow(slaveId: number, since: number): number {
    const own = (this.#resultsBySlave.get(slaveId) ?? []).filter(({ began }) => began >= since);
    const failed = own.findLastIndex((result) => result.failed);
    return own.length - 1 - failed;
  }

  /** Whether a slave's last builds stand out from those of the others. */
  suspicion(slaveId: number): Suspicion | undefined {
    const own = this.#resultsBySlave.get(slaveId) ?? [];
    const last = own.slice(-MIN_BUILDS);
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

/** The most improbable run of a slave's last builds, if it is too improbable. Both lists are in order of time. */
export function findSuspiciousRun(
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
 * Makes counters in which a package counts once for each slave, for its versions mostly fail together and say as much
 * as one. All count of a package that other slaves have mostly built: there each is a comparison.
 */
function counterFactory(others: readonly SlaveResult[]): () => OutcomeCounts {
  const balance = new Map<string, number>();
  for (const { package: name, failed } of others)
    balance.set(name, (balance.get(name) ?? 0) + (failed ? -1 : 1));
  return () => {
    const seen = new Set<string>();
    const counts = {
      ...{ failed: 0, builds: 0 },
      add: ({ slaveId, package: name, failed }: SlaveResult): void => {
        const key = `${String(slaveId)} ${name}`;
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
 * The probability that so many failures or more fall to the one side by chance, given how many there are in all: the
 * upper tail of the hypergeometric distribution.
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

/** What has become of the failures of a slave that was set aside, once they went to other slaves. */
export interface Verdicts {
  /** Another slave has failed with it, too. */
  readonly confirmed: number;
  /** Another slave has built it. */
  readonly refuted: number;
}

/** Verdicts that are needed to acquit a slave, and the least share of them that confirm its failures. */
const ACQUITTAL = { verdicts: 6, confirmed: 0.8 };

/** Whether a slave was right: other slaves fail with what it has failed with. */
export function isAcquitted({ confirmed, refuted }: Verdicts): boolean {
  const verdicts = confirmed + refuted;
  return verdicts >= ACQUITTAL.verdicts && confirmed >= verdicts * ACQUITTAL.confirmed;
}
