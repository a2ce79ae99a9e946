import { DAY_MS } from '../../src/units.js';
import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatConfig } from '../../src/settings/config-file.js';
import { logEntries } from '../../src/database/downloads.js';
import { findLogs } from '../../src/database/logs.js';
import { Database } from '../../src/database/pool.js';
import { HostResolver } from '../../src/weblog/hosts.js';
import { LineReader } from '../../src/weblog/reader.js';
import { LogStretchBuilder } from '../../src/weblog/stretch.js';
import type { Benchmark } from './bench.js';
import { cpuSeconds } from './cpu.js';
import { logLines, packageOf, filenameOf, type LogShape } from './log-lines.js';
import { withBenchEnvironment } from './stage.js';

const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));
/** Rows per COPY, as many as in a message. */
const COPY_BATCH_ROWS = 10_000;
const TABLES = ['downloads', 'page_hits', 'file_downloads', 'download_days', 'download_hours', 'logs'];

/**
 * Measures how fast a log is counted: `cat` pipes it into a real `piw logger`, which sends its lines through NATS,
 * Lumberjack and the Oracle to PostgreSQL, until the last line is in the farm's sum.
 */
export const downloads: Benchmark = {
  name: 'downloads',
  summary: "counting a web server's log, from a pipe to rows and sums in the database",
  options: { lines: 1_000_000, files: 10_000, 'per-second': 2000 },
  async run({ lines = 0, files = 0, 'per-second': perSecond = 1 }, say) {
    return await withBenchEnvironment(
      say,
      async ({ nats, dsn, folder, limits, pids, startMaster, settle }) => {
        const shape: LogShape = { lines, files, perSecond, begin: Date.now() - 2 * DAY_MS };
        const database = await Database.open(dsn, 'bench');
        try {
          say(`adding ${files} files, and writing a log of ${lines} lines`);
          await addFiles(database, files);
          const log = folder.join('access.log');
          const bytes = await writeLog(log, shape);
          const parsed = parseRate(shape);
          const copied = await copyRate(database, shape);
          const unnested = await unnestRate(database, shape);
          const direct = await directRate(database, shape);
          for (const table of TABLES) await database.query(`delete from ${table}`);
          await settle();
          const master = startMaster({});
          const config = folder.writeSecret('logger.conf', formatConfig({ nats: nats.master }));
          await waitUntilLogTaken(database, nats.master, config);
          say('piping the log to piw logger');
          const readCpu = () =>
            cpuSeconds({ nats: pids.nats, postgres: pids.postgres, master: master.pid, logger: pipe.pid });
          const startedAt = performance.now();
          const pipe = spawn(
            'sh',
            [
              '-c',
              `cat "$1" | "$2" "$3" logger -c "$4" --spool "$5"`,
              'sh',
              log,
              process.execPath,
              BIN,
              config,
              folder.subfolder('spool'),
            ],
            { stdio: ['ignore', 'inherit', 'inherit'] },
          );
          const before = readCpu();
          const ended = once(pipe, 'exit');
          let cpuUsed = before;
          for (;;) {
            const [row] = await database.query<{ sum: number }>(
              'select coalesce(sum(downloads), 0)::bigint as sum from download_hours',
            );
            const count = row?.sum ?? 0;
            if (count >= lines) break;
            if (pipe.exitCode !== null) throw new Error(`piw logger exited after ${count} of ${lines} lines`);
            cpuUsed = readCpu();
            await sleep(50);
          }
          const elapsedS = (performance.now() - startedAt) / 1000;
          await ended;
          const [rows] = await database.query<{ count: number }>('select count(*) from downloads');
          if (rows?.count !== lines)
            throw new Error(`${String(rows?.count)} rows were written for ${lines} lines`);
          const figures = {
            downloads_per_s: lines / elapsedS,
            took_s: elapsedS,
            lines,
            bytes_per_line: bytes / lines,
            ...Object.fromEntries(
              [...cpuUsed]
                .map(([task, seconds]) => [task, seconds - (before.get(task) ?? 0)] as const)
                .filter(([, seconds]) => seconds > 0.5)
                .map(([task, seconds]) => [
                  `cpu_${task.replaceAll('-', '_')}_us_per_line`,
                  (seconds / lines) * 1e6,
                ]),
            ),
          };
          return {
            figures,
            limits: {
              copy_rows_per_s: copied,
              unnest_rows_per_s: unnested,
              with_sums_rows_per_s: direct,
              parse_lines_per_s: parsed,
              ...limits,
            },
          };
        } finally {
          await database.close();
        }
      },
    );
  },
};

/** Adds files, with their packages and versions, for the lines of the log to refer to. */
export async function addFiles(database: Database, files: number): Promise<void> {
  const numbers = Array.from({ length: files }, (_, n) => n);
  const names = [...new Set(numbers.map(packageOf))];
  await database.query(
    `insert into packages (package, origin) select n, 'feed' from unnest($1::text[]) as n`,
    [names],
  );
  await database.query(
    `insert into versions (package_id, version, sort_key, has_sdist, origin)
     select package_id, '1.' || n, n::text, true, 'feed' from packages, generate_series(0, 7) as n`,
  );
  await database.query(`insert into tags (py, abi, platform) values ('cp311', 'cp311', 'linux_armv7l')`);
  await database.query(
    `insert into files (filename, version_id, filesize, sha256, metadata_sha256, tag_id)
     select f.filename, v.version_id, 1, '', '', 1
     from unnest($1::text[], $2::text[], $3::text[]) as f (filename, package, version)
     join packages using (package) join versions v using (package_id, version)`,
    [numbers.map(filenameOf), numbers.map(packageOf), numbers.map((n) => `1.${n % 8}`)],
  );
}

/** Writes the log to a file. Returns its size, bytes. */
async function writeLog(path: string, shape: LogShape): Promise<number> {
  const out = createWriteStream(path);
  let bytes = 0;
  for (const part of logLines(shape)) {
    bytes += part.length;
    if (!out.write(part)) await once(out, 'drain');
  }
  out.end();
  await once(out, 'close');
  return bytes;
}

/** Returns how many lines per second are parsed if nothing is done with them. */
export function parseRate(shape: LogShape): number {
  const parts = [...logLines({ ...shape, lines: 200_000 })];
  const reader = new LineReader('auto');
  const hosts = new HostResolver('keep');
  const startedAt = performance.now();
  for (const part of parts) {
    const stretch = new LogStretchBuilder(0, (raw) => hosts.resolve(raw));
    const text = Buffer.from(part).toString('latin1');
    for (let read = 0; read < text.length;) read += reader.read(text, read, 0, stretch);
  }
  return 200_000 / ((performance.now() - startedAt) / 1000);
}

/** Generates the stretches of such a log, one per message. */
function* stretches(shape: LogShape, lines: number) {
  const reader = new LineReader('auto');
  const hosts = new HostResolver('keep');
  let stretch = new LogStretchBuilder(0, (raw) => hosts.resolve(raw));
  let position = 0;
  for (const part of logLines({ ...shape, lines })) {
    for (let read = 0; read < part.length;) {
      read += reader.read(part, read, 0, stretch);
      if (!stretch.isFull) continue;
      yield { stretch, from: position, to: (position += stretch.tally.lines) };
      stretch = new LogStretchBuilder(0, (raw) => hosts.resolve(raw));
    }
  }
  if (stretch.tally.lines > 0) yield { stretch, from: position, to: position + stretch.tally.lines };
}

const COLUMNS = `file_id, accessed_at, accessed_by, country, arch, distro_name, distro_version, os_name, os_version, py_name,
  py_version, installer_name, installer_version, setuptools_version`;
const LIMIT_ROWS = 200_000;

/** Returns the log's rows of the table `downloads` in batches, and creates the partitions for them. */
async function batches(database: Database, shape: LogShape): Promise<(string | number | null)[][][]> {
  const files = await database.query<{ filename: string; file_id: number }>(
    'select filename, file_id from files',
  );
  const ids = new Map(files.map(({ filename, file_id }) => [filename, file_id]));
  const rows = [...stretches(shape, LIMIT_ROWS)].flatMap(({ stretch }) => {
    const { hosts, resources, agents, entries } = stretch.build(1, 1, '');
    const numbers = new Uint32Array(entries.buffer, 0, entries.length / 4);
    return Array.from({ length: numbers.length / 5 }, (_, i) => {
      const [, time = 0, host = 0, resource = 0, agent = 0] = numbers.subarray(5 * i, 5 * i + 5);
      return [
        ...[ids.get(resources[resource] ?? '') ?? 0, new Date(time * 1000).toISOString()],
        ...[...(hosts[host] ?? []), ...(agents[agent] ?? [])],
      ];
    });
  });
  const rowBatches: (string | number | null)[][][] = [];
  for (let start = 0; start < rows.length; start += COPY_BATCH_ROWS)
    rowBatches.push(rows.slice(start, start + COPY_BATCH_ROWS));
  const months = [shape.begin, Date.now()].map((time) => new Date(time).toISOString().slice(0, 10));
  await database.query('select make_log_months($1::date[])', [months]);
  return rowBatches;
}

/** Returns the rows per second that one connection writes by COPY, with one transaction per batch. */
export async function copyRate(database: Database, shape: LogShape): Promise<number> {
  const texts = (await batches(database, shape)).map((rows) =>
    rows.map((row) => `${row.map((field) => field ?? '\\N').join('\t')}\n`).join(''),
  );
  const startedAt = performance.now();
  for (const text of texts)
    await database.transaction((db) => db.copy(`copy downloads (${COLUMNS}) from stdin`, text));
  return LIMIT_ROWS / ((performance.now() - startedAt) / 1000);
}

/** Returns the rows per second that one connection writes by `insert … select from unnest`. */
async function unnestRate(database: Database, shape: LogShape): Promise<number> {
  const types = ['bigint', 'timestamptz', ...Array.from({ length: 12 }, () => 'text')];
  const sql = `insert into downloads (${COLUMNS}) select * from unnest(${types.map((type, i) => `$${i + 1}::${type}[]`).join(', ')})`;
  const columnBatches = (await batches(database, shape)).map((rows) =>
    types.map((_, i) => rows.map((row) => row[i])),
  );
  const startedAt = performance.now();
  for (const columns of columnBatches) await database.query(sql, columns);
  return LIMIT_ROWS / ((performance.now() - startedAt) / 1000);
}

/**
 * Returns the rows per second that this process writes by doing what the Oracle does with the messages: rows, sums, and
 * the position of the log.
 */
export async function directRate(database: Database, shape: LogShape): Promise<number> {
  const [position] = await findLogs(database, `limit ${Math.random()}`, true);
  const messages = [...stretches(shape, LIMIT_ROWS)].map(({ stretch, from, to }) => ({
    ...stretch.build(position?.[0] ?? 0, to, String(to)),
    from,
  }));
  const startedAt = performance.now();
  for (const message of messages) {
    const { counted } = await logEntries(database, message);
    if (!counted) throw new Error('a stretch of the log was not counted');
  }
  return LIMIT_ROWS / ((performance.now() - startedAt) / 1000);
}

/** Waits until the farm accepts logs. Throws if it doesn't. */
async function waitUntilLogTaken(database: Database, address: string, config: string): Promise<void> {
  const log = join(config, '..', 'one.log');
  const out = createWriteStream(log);
  out.end('192.0.2.1 - - [21/Nov/2024:23:04:07 +0000] "GET /none.css HTTP/1.1" 200 1\n');
  await once(out, 'close');
  const logger = spawn(process.execPath, [BIN, 'logger', '-q', '-c', config, log], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const [code] = (await once(logger, 'exit')) as [number];
  if (code !== 0) throw new Error(`piw logger exited with code ${code} at ${address}`);
  await database.query('select 1');
}
