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
 * Measures how long a Scribe of a running master takes to write the root of the simple index with `names` names, from
 * the database through an Oracle to the last rename, and the Scribe's peak memory during that. The limit is the time to
 * write the same bytes to files.
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
    say(`listing ${names} names`);
    await database.query(
      `insert into listed_packages (package, serial)
       select 'package-' || substr(md5(n::text), 1, 4 + n % 9) || '-' || n, 1000 + n from generate_series(1, $1::int) n`,
      [names],
    );
    await database.query('analyze listed_packages');
    await database.close();
    await client.request('ROOT', { serial: 1 });
    const [pid] = actorPids('the-scribe', master.pid);
    if (pid === undefined) throw new Error('no Scribe is running');
    // Resets the peak of the resident memory.
    writeFileSync(`/proc/${pid}/clear_refs`, '5');
    const durations: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const startedAt = performance.now();
      await client.request('ROOT', { serial: 10_000_000 });
      durations.push(performance.now() - startedAt);
      await sleep(500);
    }
    const rss = peakRssMb(pid);
    const pagePaths = ['index.html', 'index.v1_json'].map((file) =>
      join(folder.subfolder('www'), 'simple', file),
    );
    const listed = (JSON.parse(readFileSync(pagePaths[1] ?? '', 'utf8')) as { projects: unknown[] }).projects
      .length;
    if (listed !== names) throw new Error(`the root lists ${listed} of ${names} packages`);
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

/** Writes these contents to files. Returns how long that takes, ms. */
function writeMs(contents: readonly Buffer[], folder: string): number {
  const startedAt = performance.now();
  for (const [n, bytes] of contents.entries()) {
    const file = openSync(join(folder, `limit-${n}`), 'w');
    for (let offset = 0; offset < bytes.length; offset += 500_000)
      writeSync(file, bytes, offset, Math.min(500_000, bytes.length - offset));
    closeSync(file);
  }
  return performance.now() - startedAt;
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
