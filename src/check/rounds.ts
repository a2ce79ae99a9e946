import { setImmediate as yieldToEventLoop, setTimeout as sleep } from 'node:timers/promises';
import { Findings, type Fault, type FaultReporter } from './faults.js';

/** A page, or a few that belong together, along with the files that they list. */
export interface CheckUnit {
  /** Reports the unit's current faults. Throws Changed if it was written during the check. `round` begins with 0. */
  check(report: FaultReporter, round: number): Promise<void> | void;
}

/** Thrown if a unit was replaced while it was checked, so that the findings may be a mix of two states. */
export class Changed extends Error {}

export interface RoundsResult {
  readonly units: number;
  /** The number of units that were replaced during every check, so that they could not be judged. */
  readonly unsettled: number;
}

interface RoundsOptions {
  /** The delay before each recheck of what looked wrong, milliseconds. */
  readonly recheckDelaysMs: readonly number[];
  readonly report: (fault: Fault) => void;
  /** The number of units that are checked at the same time. */
  readonly concurrency: number;
  /** Called with the number of units checked so far. */
  readonly progress?: (units: number) => void;
  readonly signal?: AbortSignal;
}

/** A unit to check again. `keys` are the faults found in every round so far; undefined if no round could judge it. */
interface Suspect {
  readonly unit: CheckUnit;
  readonly keys: ReadonlySet<string> | undefined;
  readonly dueAt: number;
}

/** In the last round, a unit that keeps changing is checked up to this many times in a row. */
const FINAL_ROUND_ATTEMPTS = 20;
const YIELD_INTERVAL_MS = 20;

/**
 * Checks units while the farm may be writing them. A page and the files that it lists can't be read at the same moment,
 * so what looks wrong is only a suspect, which is checked again in later rounds while other units are checked. What was
 * wrong in every round is a fault. All suspects of a round wait equally long, so there are never more of them than
 * units are checked in that time.
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
      // Most units never wait for I/O, so yield now and then to let signals be handled.
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

/** Returns the current faults of a unit; undefined if it changed during every attempt. */
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
