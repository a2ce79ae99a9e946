import { setImmediate as yieldToEventLoop, setTimeout as sleep } from 'node:timers/promises';
import { Findings, type Fault, type FaultReporter } from './faults.js';

/** One page, or a few that belong together, with what they name. */
export interface CheckUnit {
  /** Tells what is wrong with it now. Raises Moved where it was being written. `round`: from 0. */
  check(report: FaultReporter, round: number): Promise<void> | void;
}

/** What was looked at has been replaced meanwhile: what was found may be of both. */
export class Changed extends Error {}

export interface RoundsResult {
  readonly units: number;
  /** They were replaced each time that they were looked at, so nothing can be said of them. */
  readonly unsettled: number;
}

export interface RoundsOptions {
  /** What looked wrong is looked at again so much later, each time, milliseconds. */
  readonly recheckDelaysMs: readonly number[];
  readonly report: (fault: Fault) => void;
  /** How many units are looked at at once. */
  readonly concurrency: number;
  /** Hears how many units are done. */
  readonly progress?: (units: number) => void;
  readonly signal?: AbortSignal;
}

/** What looked wrong once; `keys` undefined: nothing is known of it yet. */
interface Suspect {
  readonly unit: CheckUnit;
  readonly keys: ReadonlySet<string> | undefined;
  readonly dueAt: number;
}

/** So many times at once a unit that is being written is looked at, in the last round. */
const FINAL_ROUND_ATTEMPTS = 20;
const YIELD_INTERVAL_MS = 20;

/**
 * Judges units while the farm may be writing them. A page and the files that it names can't be read at one moment;
 * so what looks wrong is only suspected, and looked at again in later rounds, while the others go on. What was wrong
 * in every round is a fault. A suspect waits for a time that is the same for all of a round, so that there are never
 * more of them than are looked at in that time.
 */
export async function checkInRounds(
  units: AsyncIterator<CheckUnit> | Iterator<CheckUnit>,
  options: RoundsOptions,
): Promise<RoundsResult> {
  const { recheckDelaysMs, report, concurrency, progress, signal } = options;
  const suspects: Suspect[][] = recheckDelaysMs.map(() => []);
  let done = 0;
  let unsettled = 0;
  let exhausted = false;
  let running = 0;
  let lastYieldAt = performance.now();

  const checkUnit = async ({ unit, keys }: Pick<Suspect, 'unit' | 'keys'>, round: number): Promise<void> => {
    const faults = await findFaults(unit, round, round === recheckDelaysMs.length ? FINAL_ROUND_ATTEMPTS : 1);
    const persistent =
      faults && keys ? new Map([...faults].filter(([key]) => keys.has(key))) : (faults ?? undefined);
    const nextRound = suspects[round];
    if (persistent?.size === 0) return;
    if (nextRound)
      nextRound.push({
        unit,
        keys: persistent ? new Set(persistent.keys()) : keys,
        dueAt: performance.now() + (recheckDelaysMs[round] ?? 0),
      });
    else if (persistent) for (const fault of persistent.values()) report(fault);
    else unsettled += 1;
  };

  const worker = async (): Promise<void> => {
    for (;;) {
      signal?.throwIfAborted();
      // Most units wait for nothing; signals have to be heard all the same.
      if (performance.now() - lastYieldAt > YIELD_INTERVAL_MS) {
        await yieldToEventLoop();
        lastYieldAt = performance.now();
      }
      const now = performance.now();
      const round = suspects.findIndex(([first]) => first !== undefined && first.dueAt <= now);
      const suspect = suspects[round]?.shift();
      if (suspect) {
        running += 1;
        await checkUnit(suspect, round + 1);
        running -= 1;
        continue;
      }
      if (!exhausted) {
        const next = await units.next();
        if (next.done) {
          exhausted = true;
          continue;
        }
        running += 1;
        await checkUnit({ unit: next.value, keys: undefined }, 0);
        running -= 1;
        done += 1;
        progress?.(done);
        continue;
      }
      const dueTimes = suspects.flatMap(([first]) => (first ? [first.dueAt] : []));
      if (dueTimes.length === 0 && running === 0) return;
      await sleep(
        Math.min(1000, Math.max(1, Math.min(...dueTimes, now + 20) - now)),
        undefined,
        signal && { signal },
      );
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return { units: done, unsettled };
}

/** What is wrong with a unit; undefined: it was being written each time. */
async function findFaults(
  unit: CheckUnit,
  round: number,
  attempts: number,
): Promise<ReadonlyMap<string, Fault> | undefined> {
  for (let remaining = attempts; remaining > 0; remaining -= 1) {
    const findings = new Findings();
    try {
      await unit.check(findings.report, round);
      return findings.faults;
    } catch (error) {
      if (!(error instanceof Changed)) throw error;
    }
  }
  return undefined;
}
