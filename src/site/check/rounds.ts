import { setImmediate as breathe, setTimeout as sleep } from 'node:timers/promises';
import { Notebook, type Fault, type Tell } from './faults.js';

/** One page, or a few that belong together, with what they name. */
export interface Unit {
  /** Tells what is wrong with it now. Raises Moved where it was being written. `round`: from 0. */
  look(tell: Tell, round: number): Promise<void> | void;
}

/** What was looked at has been replaced meanwhile: what was found may be of both. */
export class Moved extends Error {}

export interface Judged {
  readonly units: number;
  /** They were replaced each time that they were looked at, so nothing can be said of them. */
  readonly unsettled: number;
}

export interface RoundsOptions {
  /** What looked wrong is looked at again so much later, each time, milliseconds. */
  readonly waits: readonly number[];
  readonly report: (fault: Fault) => void;
  /** How many units are looked at at once. */
  readonly atOnce: number;
  /** Hears how many units are done. */
  readonly progress?: (units: number) => void;
  readonly signal?: AbortSignal;
}

/** What looked wrong once; `keys` undefined: nothing is known of it yet. */
interface Suspect {
  readonly unit: Unit;
  readonly keys: ReadonlySet<string> | undefined;
  readonly due: number;
}

/** So many times at once a unit that is being written is looked at, in the last round. */
const LAST_TRIES = 20;
const BREATH_MS = 20;

/**
 * Judges units while the farm may be writing them. A page and the files that it names can't be read at one moment;
 * so what looks wrong is only suspected, and looked at again in later rounds, while the others go on. What was wrong
 * in every round is a fault. A suspect waits for a time that is the same for all of a round, so that there are never
 * more of them than are looked at in that time.
 */
export async function judge(
  units: AsyncIterator<Unit> | Iterator<Unit>,
  options: RoundsOptions,
): Promise<Judged> {
  const { waits, report, atOnce, progress, signal } = options;
  const suspects: Suspect[][] = waits.map(() => []);
  let done = 0;
  let unsettled = 0;
  let exhausted = false;
  let busy = 0;
  let breathed = performance.now();

  const look = async ({ unit, keys }: Pick<Suspect, 'unit' | 'keys'>, round: number): Promise<void> => {
    const found = await facts(unit, round, round === waits.length ? LAST_TRIES : 1);
    const lasting =
      found && keys ? new Map([...found].filter(([key]) => keys.has(key))) : (found ?? undefined);
    const later = suspects[round];
    if (lasting?.size === 0) return;
    if (later)
      later.push({
        unit,
        keys: lasting ? new Set(lasting.keys()) : keys,
        due: performance.now() + (waits[round] ?? 0),
      });
    else if (lasting) for (const fault of lasting.values()) report(fault);
    else unsettled += 1;
  };

  const work = async (): Promise<void> => {
    for (;;) {
      signal?.throwIfAborted();
      // Most units wait for nothing; signals have to be heard all the same.
      if (performance.now() - breathed > BREATH_MS) {
        await breathe();
        breathed = performance.now();
      }
      const now = performance.now();
      const round = suspects.findIndex(([first]) => first !== undefined && first.due <= now);
      const suspect = suspects[round]?.shift();
      if (suspect) {
        busy += 1;
        await look(suspect, round + 1);
        busy -= 1;
        continue;
      }
      if (!exhausted) {
        const next = await units.next();
        if (next.done) {
          exhausted = true;
          continue;
        }
        busy += 1;
        await look({ unit: next.value, keys: undefined }, 0);
        busy -= 1;
        done += 1;
        progress?.(done);
        continue;
      }
      const dues = suspects.flatMap(([first]) => (first ? [first.due] : []));
      if (dues.length === 0 && busy === 0) return;
      await sleep(
        Math.min(1000, Math.max(1, Math.min(...dues, now + 20) - now)),
        undefined,
        signal && { signal },
      );
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return { units: done, unsettled };
}

/** What is wrong with a unit; undefined: it was being written each time. */
async function facts(
  unit: Unit,
  round: number,
  tries: number,
): Promise<ReadonlyMap<string, Fault> | undefined> {
  for (let left = tries; left > 0; left -= 1) {
    const notes = new Notebook();
    try {
      await unit.look(notes.tell, round);
      return notes.faults;
    } catch (error) {
      if (!(error instanceof Moved)) throw error;
    }
  }
  return undefined;
}
