import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SCRIBE_HEAP_LIMIT_MB } from '../../actors/cast.js';
import type { Benchmark } from './bench.js';
import { WorkerProcess } from './processes.js';

/** What a worker says at the end of a phase: packages a second. */
interface RoundResult {
  readonly rate: number;
  readonly files: number;
  readonly kb: number;
}

const SHAPES = {
  small: { versions: 10, files: 4 },
  large: { versions: 300, files: 4 },
} as const;
/** Written first where there was nothing, then in the place of what is there. */
const ROUNDS = ['new', 'replaced'] as const;

/**
 * How many packages a second get all that is theirs written anew, from what the database has said to the last
 * rename: the pages of the simple index, the project's page and its JSON, and the METADATA of the file that is new; by
 * so many Scribes, each a process with packages of its own. The limit: the same files with the same contents,
 * written beside and renamed, by as many processes, with nothing else. What is replaced takes longer: the file system
 * brings the new file to the disk first, and has the room of the old one to give back.
 */
export const pages: Benchmark = {
  name: 'pages',
  summary: 'packages a second whose pages are rendered and put in their place',
  options: { small: 2000, large: 100, scribes: 2 },
  run: async ({ small = 2000, large = 100, scribes = 2 }, say) => {
    const figures: Record<string, number> = {};
    const limits: Record<string, number> = {};
    for (const [name, { versions, files }] of Object.entries(SHAPES)) {
      const packages = Math.ceil((name === 'small' ? small : large) / scribes);
      for (const mode of ['render', 'write'] as const) {
        say(
          `${name}: ${String(packages * scribes)} packages, ${mode === 'render' ? 'rendered and written' : 'written only'}`,
        );
        const results = await measureRounds(scribes, mode, [versions, files, packages]);
        const rates = results.map((of) => of.reduce((total, { rate }) => total + rate, 0));
        const prefix = mode === 'render' ? `pages_${name}` : `write_rename_${name}`;
        const target = mode === 'render' ? figures : limits;
        target[`${prefix}_per_s`] = ROUNDS.length / rates.reduce((sum, rate) => sum + 1 / rate, 0);
        for (const [n, round] of ROUNDS.entries()) target[`${prefix}_${round}_per_s`] = rates[n] ?? 0;
        if (mode === 'render') {
          figures[`pages_${name}_files`] = results[0]?.[0]?.files ?? 0;
          figures[`pages_${name}_kb`] = results[0]?.[0]?.kb ?? 0;
        }
      }
      figures[`pages_${name}_share_of_limit`] =
        (figures[`pages_${name}_per_s`] ?? 0) / (limits[`write_rename_${name}_per_s`] ?? 1);
    }
    return { figures, limits };
  },
};

/** What each of the workers says of each round. */
async function measureRounds(
  scribes: number,
  mode: string,
  shape: readonly number[],
): Promise<RoundResult[][]> {
  const folder = mkdtempSync(join(tmpdir(), 'piw-bench-'));
  const workers = Array.from(
    { length: scribes },
    (_, n) =>
      new WorkerProcess(
        ['./pages-writer.js', SCRIBE_HEAP_LIMIT_MB],
        join(folder, String(n)),
        mode,
        ...shape.map(String),
      ),
  );
  try {
    for (const worker of workers) await worker.receive();
    const results: RoundResult[][] = [];
    for (const [round] of ROUNDS.entries()) {
      // What the round before has left to be written back is not this one's.
      spawnSync('sync');
      for (const worker of workers) worker.send({ round });
      const roundResults: RoundResult[] = [];
      for (const worker of workers) roundResults.push((await worker.receive()) as RoundResult);
      results.push(roundResults);
    }
    return results;
  } finally {
    for (const worker of workers) worker.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}
