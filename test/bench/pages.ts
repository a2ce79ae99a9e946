import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Bench, Figures } from './bench.js';
import { Worker } from './processes.js';

/** What a worker says at the end of a phase: packages a second. */
interface Said {
  readonly rate: number;
  readonly files: number;
  readonly kb: number;
}

const SHAPES = {
  small: { versions: 10, files: 4, packages: 100 },
  large: { versions: 300, files: 4, packages: 10 },
} as const;

/**
 * How many packages a second get all that is theirs written anew, from what the database has said to the last
 * rename: the three pages of the simple index, the project's page and its JSON, and the METADATA of the file
 * that is new; by so many Scribes, each a process. The limit: the same files with the same contents, written
 * beside and renamed, by as many processes, with nothing else.
 */
export const pages: Bench = {
  name: 'pages',
  summary: 'packages a second whose pages are rendered and replaced',
  options: { seconds: 10, scribes: 2 },
  run: async ({ seconds = 10, scribes = 2 }, say) => {
    const figures: Record<string, number> = {};
    const limits: Record<string, number> = {};
    for (const [name, { versions, files, packages }] of Object.entries(SHAPES)) {
      const said = { render: [] as Said[], write: [] as Said[] };
      for (const mode of ['render', 'write'] as const) {
        say(
          `${name}: ${String(versions)} versions of ${String(files)} files, ${mode === 'render' ? 'rendered and replaced' : 'replaced only'}`,
        );
        const folder = mkdtempSync(join(tmpdir(), 'piw-bench-'));
        const workers = Array.from(
          { length: scribes },
          (_, n) =>
            new Worker(
              './pages-writer.js',
              ...[join(folder, String(n)), mode, ...[versions, files, packages, seconds].map(String)],
            ),
        );
        try {
          for (const worker of workers) await worker.hear();
          for (const worker of workers) worker.say({ go: true });
          for (const worker of workers) said[mode].push((await worker.hear()) as Said);
        } finally {
          for (const worker of workers) worker.end();
          rmSync(folder, { recursive: true, force: true });
        }
      }
      Object.assign(figures, summed(`pages_${name}`, said.render));
      limits[`write_rename_${name}_per_s`] = sum(said.write);
      figures[`pages_${name}_share_of_limit`] = sum(said.render) / sum(said.write);
    }
    return { figures, limits };
  },
};

const sum = (all: readonly Said[]): number => all.reduce((total, { rate }) => total + rate, 0);

function summed(name: string, all: readonly Said[]): Figures {
  return {
    [`${name}_per_s`]: sum(all),
    [`${name}_files`]: all[0]?.files ?? 0,
    [`${name}_kb`]: all[0]?.kb ?? 0,
  };
}
