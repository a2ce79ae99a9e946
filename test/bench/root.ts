import { closeSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ProtocolClient } from '../../src/actor/client.js';
import { Database } from '../../src/database/pool.js';
import { scribe } from '../../src/protocols/web.js';
import type { BenchFigures } from './bench.js';
import { actorPids, peakRssMb } from './processes.js';
import { withBenchEnvironment } from './stage.js';

/**
 * The root of the simple index with so many names, written by a Scribe of a master at work, from the database
 * through an Oracle to the last rename: how long it takes, and the most memory that the Scribe has meanwhile. The
 * limit: the same bytes written to files with nothing else.
 */
export async function measureRoot(
  names: number,
  rounds: number,
  say: (line: string) => void,
): Promise<{ readonly figures: BenchFigures; readonly limits: BenchFigures }> {
  return await withBenchEnvironment(say, async ({ dsn, folder, startMaster, connect, limits }) => {
    const master = startMaster({});
    const bus = await connect();
    const client = new ProtocolClient(bus, scribe, undefined, { timeoutMs: 300_000, patienceMs: 300_000 });
    const database = await Database.open(dsn, 'bench', { connections: 1 });
    say(`${String(names)} names`);
    await database.query(
      `insert into listed (package, serial)
       select 'package-' || substr(md5(n::text), 1, 4 + n % 9) || '-' || n, 1000 + n from generate_series(1, $1::int) n`,
      [names],
    );
    await database.query('analyze listed');
    await database.close();
    await client.request('ROOT', { serial: 1 });
    const [pid] = actorPids('the-scribe', master.pid);
    if (pid === undefined) throw new Error('no Scribe is at work');
    // What it has had at most begins anew.
    writeFileSync(`/proc/${String(pid)}/clear_refs`, '5');
    const durations: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const began = performance.now();
      await client.request('ROOT', { serial: 10_000_000 });
      durations.push(performance.now() - began);
      await sleep(500);
    }
    const rss = peakRssMb(pid);
    const pagePaths = ['index.html', 'index.v1_json'].map((file) =>
      join(folder.subfolder('www'), 'simple', file),
    );
    const listed = (JSON.parse(readFileSync(pagePaths[1] ?? '', 'utf8')) as { projects: unknown[] }).projects
      .length;
    if (listed !== names) throw new Error(`the root names ${String(listed)} of ${String(names)} packages`);
    const rawDurations: number[] = [];
    for (let round = 0; round < rounds; round += 1)
      rawDurations.push(
        writeMs(
          pagePaths.map((page) => readFileSync(page)),
          folder.subfolder('www'),
        ),
      );
    return {
      figures: {
        root_names: names,
        root_write_ms: median(durations),
        root_write_rss_mb: rss,
        root_mb: pagePaths.reduce((sum, page) => sum + statSync(page).size, 0) / 1e6,
      },
      limits: { ...limits, root_raw_write_ms: median(rawDurations) },
    };
  });
}

/** How long these contents take to be written to files, ms. */
function writeMs(contents: readonly Buffer[], folder: string): number {
  const began = performance.now();
  for (const [n, bytes] of contents.entries()) {
    const file = openSync(join(folder, `limit-${String(n)}`), 'w');
    for (let at = 0; at < bytes.length; at += 500_000)
      writeSync(file, bytes, at, Math.min(500_000, bytes.length - at));
    closeSync(file);
  }
  return performance.now() - began;
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
