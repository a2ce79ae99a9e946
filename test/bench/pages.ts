import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SCRIBE_SEMI_SPACE_MB } from '../../actors/cast.js';
import type { Benchmark } from './bench.js';
import { WorkerProcess } from './processes.js';

/** What a worker reports at the end of a round. */
interface RoundResult {
  /** Packages per second. */
  readonly rate: number;
  /** Files per package, and their total size. */
  readonly files: number;
  readonly kb: number;
}

const SHAPES = {
  small: { versions: 10, files: 4 },
  large: { versions: 300, files: 4 },
} as const;
/** The first round creates the files, the second one replaces them. */
const ROUNDS = ['new', 'replaced'] as const;

/**
 * Measures how many packages per second Scribes write, from the data of the database to the last rename: the pages of
 * the simple index, the project's page and its JSON, and the METADATA of the new file. Each Scribe is a process with
 * packages of its own. The limit: as many processes that only write the same files to temporary names and rename them.
 * Replacing takes longer: the file system writes the new file to disk first, and has to free the space of the old one.
 */
export const pages: Benchmark = {
  name: 'pages',
  summary: 'packages per second whose pages are rendered and replaced',
  options: { small: 2000, large: 100, scribes: 2 },
  run: async ({ small = 2000, large = 100, scribes = 2 }, say) => {
    const figures: Record<string, number> = {};
    const limits: Record<string, number> = {};
    for (const [name, { versions, files }] of Object.entries(SHAPES)) {
      const packages = Math.ceil((name === 'small' ? small : large) / scribes);
      for (const mode of ['render', 'write'] as const) {
        say(
          `${name}: ${packages * scribes} packages, ${mode === 'render' ? 'rendered and written' : 'written only'}`,
        );
        const results = await measureRounds(scribes, mode, [versions, files, packages]);
        const rates = results.map((round) => round.reduce((total, { rate }) => total + rate, 0));
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

/** Returns the results of each round, one per worker. */
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
        ['./pages-writer.js', SCRIBE_SEMI_SPACE_MB],
        join(folder, String(n)),
        mode,
        ...shape.map(String),
      ),
  );
  try {
    for (const worker of workers) await worker.receive();
    const results: RoundResult[][] = [];
    for (const [round] of ROUNDS.entries()) {
      // Writes back the previous round's data, so that this round doesn't pay for it.
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
