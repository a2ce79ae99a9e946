import { closeSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '../../src/actor/client.js';
import { Database } from '../../src/database/pool.js';
import { scribe } from '../../src/protocols/web.js';
import type { Figures } from './bench.js';
import { actorsOf, peakMb } from './processes.js';
import { onStage } from './stage.js';

/**
 * The root of the simple index with so many names, written by a Scribe of a master at work, from the database
 * through an Oracle to the last rename: how long it takes, and the most memory that the Scribe has meanwhile. The
 * limit: the same bytes written to files with nothing else.
 */
export async function measureRoot(
  names: number,
  rounds: number,
  say: (line: string) => void,
): Promise<{ readonly figures: Figures; readonly limits: Figures }> {
  return await onStage(say, async ({ dsn, folder, startMaster, connect, limits }) => {
    const master = startMaster({});
    const bus = await connect();
    const client = new Client(bus, scribe, undefined, { timeoutMs: 300_000, patienceMs: 300_000 });
    const database = await Database.open(dsn, 'bench', { connections: 1 });
    say(`${String(names)} names`);
    await database.query(
      `insert into listed (package, serial)
       select 'package-' || substr(md5(n::text), 1, 4 + n % 9) || '-' || n, 1000 + n from generate_series(1, $1::int) n`,
      [names],
    );
    await database.query('analyze listed');
    await database.close();
    await client.ask('ROOT', { serial: 1 });
    const [pid] = actorsOf('the-scribe', master.pid);
    if (pid === undefined) throw new Error('no Scribe is at work');
    // What it has had at most begins anew.
    writeFileSync(`/proc/${String(pid)}/clear_refs`, '5');
    const took: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const began = performance.now();
      await client.ask('ROOT', { serial: 10_000_000 });
      took.push(performance.now() - began);
      await sleep(500);
    }
    const rss = peakMb(pid);
    const pages = ['index.html', 'index.v1_json'].map((file) => join(folder.sub('www'), 'simple', file));
    const listed = (JSON.parse(readFileSync(pages[1] ?? '', 'utf8')) as { projects: unknown[] }).projects
      .length;
    if (listed !== names) throw new Error(`the root names ${String(listed)} of ${String(names)} packages`);
    const raw: number[] = [];
    for (let round = 0; round < rounds; round += 1)
      raw.push(
        copied(
          pages.map((page) => readFileSync(page)),
          folder.sub('www'),
        ),
      );
    return {
      figures: {
        root_names: names,
        root_write_ms: median(took),
        root_write_rss_mb: rss,
        root_mb: pages.reduce((sum, page) => sum + statSync(page).size, 0) / 1e6,
      },
      limits: { ...limits, root_raw_write_ms: median(raw) },
    };
  });
}

/** How long these contents take to be written to files, ms. */
function copied(contents: readonly Buffer[], folder: string): number {
  const began = performance.now();
  for (const [n, bytes] of contents.entries()) {
    const file = openSync(join(folder, `limit-${String(n)}`), 'w');
    for (let at = 0; at < bytes.length; at += 500_000)
      writeSync(file, bytes, at, Math.min(500_000, bytes.length - at));
    closeSync(file);
  }
  return performance.now() - began;
}

const median = (all: readonly number[]): number =>
  [...all].sort((a, b) => a - b)[Math.floor(all.length / 2)] ?? 0;
