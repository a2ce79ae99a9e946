import { PiwError, errorMessage } from '../errors.js';
import type { LogStretch } from '../protocols/weblog.js';
import { copyField, copyFields } from './copy-text.js';
import { FORGOTTEN_LOG_MARK, lockLog, advanceLog, type LogProgress } from './logs.js';
import { sqlState, type Database, type Transaction } from './pool.js';

const CLIENT_COLUMNS = `accessed_at, accessed_by, country, arch, distro_name, distro_version, os_name, os_version, py_name, py_version,
  installer_name, installer_version, setuptools_version`;

/** One entry of a log. */
interface AccessEntry {
  /** Seconds since 1970. */
  readonly timestampS: number;
  /** An index into `resources`. */
  readonly resourceIndex: number;
  /** The other columns of the row, in COPY's text format. */
  readonly rowTail: string;
}

/**
 * Writes the entries of a stretch of a log, adds them to the sums and advances the log's position, in one transaction.
 * Writes nothing unless the log has been counted exactly up to where the stretch begins. Ignores downloads of files
 * that the farm does not have (any more). Throws PIW_MESSAGE_INVALID if the entries are inconsistent, and PIW_REFUSED
 * for values that PostgreSQL doesn't accept.
 *
 * COPY takes half the time of `insert … select from unnest` (test/bench/downloads.ts).
 */
export async function logEntries(database: Database, stretch: LogStretch): Promise<LogProgress> {
  // Validates the entries before taking any locks.
  const entries = parseEntries(stretch);
  try {
    return await database.transaction(async (db) => {
      // Transactions that delete files wait until this one ends; see lock_files in sql/.
      await db.query('select pg_advisory_xact_lock_shared(7367035)');
      const position = await lockLog(db, stretch.log);
      if (position.upto !== stretch.from || position.mark === FORGOTTEN_LOG_MARK)
        return { ...position, counted: false, unknown: 0 };
      await createMonthPartitions(db, entries);
      const unknown = await logDownloads(db, stretch.resources, entries[0]);
      await logHits(db, stretch.resources, entries.slice(1));
      await advanceLog(db, stretch);
      return { upto: stretch.to, mark: stretch.mark, counted: true, unknown };
    });
  } catch (error) {
    // Class 22 is invalid data, which no retry can write.
    if (!sqlState(error).startsWith('22')) throw error;
    throw new PiwError('PIW_REFUSED', `the database rejected the log entries: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}

/** Deletes the rows of all months but the last `monthsToKeep`; their sums stay. */
export async function dropLogs(database: Database, monthsToKeep: number): Promise<void> {
  await database.query('select drop_log_months($1)', [monthsToKeep]);
}

/** Entries by kind, in the order of the kinds' numbers. */
type EntriesByKind = [AccessEntry[], AccessEntry[], AccessEntry[], AccessEntry[], AccessEntry[]];

/**
 * Decodes binary entries into rows. Many rows share their host, agent and time, so each of those is formatted only
 * once. Throws PIW_MESSAGE_INVALID for an entry that refers to a missing item.
 */
function parseEntries({
  resources,
  hosts: hostTuples,
  agents: agentTuples,
  entries,
}: LogStretch): EntriesByKind {
  const hosts = hostTuples.map(copyFields);
  const agents = agentTuples.map((agent) => `${copyFields(agent)}\n`);
  const times = new Map<number, string>();
  const entriesByKind: EntriesByKind = [[], [], [], [], []];
  const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
  for (let i = 0; i < entries.length; i += ENTRY_BYTES) {
    const timestampS = view.getUint32(i + 4, true);
    const host = hosts[view.getUint32(i + 8, true)];
    const resourceIndex = view.getUint32(i + 12, true);
    const agent = agents[view.getUint32(i + 16, true)];
    const kind = entriesByKind[view.getUint32(i, true)];
    if (kind === undefined || host === undefined || agent === undefined || resourceIndex >= resources.length)
      throw new PiwError(
        'PIW_MESSAGE_INVALID',
        'LOGENTRIES: an entry has an unknown kind, or refers to an item that the message does not contain',
      );
    let time = times.get(timestampS);
    if (time === undefined) times.set(timestampS, (time = new Date(timestampS * 1000).toISOString()));
    kind.push({ timestampS, resourceIndex, rowTail: `${time}\t${host}\t${agent}` });
  }
  return entriesByKind;
}

/** See LOG_ENTRY_BYTES in src/protocols/weblog.ts. */
const ENTRY_BYTES = 20;

async function createMonthPartitions(
  db: Transaction,
  entriesByKind: readonly (readonly AccessEntry[])[],
): Promise<void> {
  const months = new Set<string>();
  // Most consecutive entries are of the same day.
  let day = -1;
  for (const entries of entriesByKind) {
    for (const { timestampS } of entries) {
      if (Math.floor(timestampS / DAY_S) === day) continue;
      day = Math.floor(timestampS / DAY_S);
      months.add(`${isoDay(day).slice(0, 7)}-01`);
    }
  }
  await db.query('select make_log_months($1::date[])', [[...months]]);
}

const DAY_S = 86_400;
const HOUR_S = 3600;
const isoDay = (day: number): string => new Date(day * DAY_S * 1000).toISOString().slice(0, 10);

/** Writes downloads and their sums. Returns how many were of unknown files. */
async function logDownloads(
  db: Transaction,
  resources: readonly string[],
  entries: readonly AccessEntry[],
): Promise<number> {
  if (entries.length === 0) return 0;
  const files = await findFiles(db, resources, entries);
  const totals = new DownloadTotals();
  const rows: string[] = [];
  for (const { timestampS, resourceIndex, rowTail } of entries) {
    const file = files[resourceIndex];
    if (!file) continue;
    rows.push(`${file.fileIdText}\t${rowTail}`);
    totals.add(file, timestampS);
  }
  if (rows.length > 0) {
    await db.copy(`copy downloads (file_id, ${CLIENT_COLUMNS}) from stdin`, rows.join(''));
    await db.query('select add_downloads($1, $2, $3, $4, $5, $6, $7)', totals.toSqlArguments());
  }
  return entries.length - rows.length;
}

interface DownloadedFile {
  readonly file_id: number;
  readonly package_id: number;
  readonly fileIdText: string;
}

/** Returns the downloaded files, indexed like `resources`; undefined for unknown files. */
async function findFiles(
  db: Transaction,
  resources: readonly string[],
  entries: readonly AccessEntry[],
): Promise<readonly (DownloadedFile | undefined)[]> {
  const resourceIndexes = [...new Set(entries.map(({ resourceIndex }) => resourceIndex))];
  const rows = await db.query<{ place: number; file_id: number; package_id: number }>(
    // `lateral` with `limit 1` makes the planner look up each file by key, even if it planned for small tables.
    `select n.place, f.file_id, f.package_id
     from unnest($1::int[], $2::text[]) as n (place, filename)
     cross join lateral (
       select file_id, package_id from files join versions using (version_id)
       where filename = n.filename limit 1) as f`,
    [resourceIndexes, resourceIndexes.map((index) => resources[index])],
  );
  const files: (DownloadedFile | undefined)[] = new Array<undefined>(resources.length);
  for (const { place, file_id, package_id } of rows)
    files[place] = { file_id, package_id, fileIdText: String(file_id) };
  return files;
}

/** Sums of downloads by file, by day and package, and by hour. */
class DownloadTotals {
  readonly #byFile = new Map<number, number>();
  /** Downloads per package, by day since 1970. */
  readonly #byDay = new Map<number, Map<number, number>>();
  readonly #byHour = new Map<number, number>();

  add({ file_id, package_id }: DownloadedFile, timestampS: number): void {
    const day = Math.floor(timestampS / DAY_S);
    let countsByPackage = this.#byDay.get(day);
    if (!countsByPackage) this.#byDay.set(day, (countsByPackage = new Map<number, number>()));
    increment(this.#byFile, file_id);
    increment(countsByPackage, package_id);
    increment(this.#byHour, Math.floor(timestampS / HOUR_S));
  }

  /** Returns the arguments of add_downloads in sql/000006.sql. */
  toSqlArguments(): unknown[] {
    const days = [...this.#byDay].flatMap(([day, packages]) => {
      const text = isoDay(day);
      return [...packages].map(([id, count]) => ({ id, day: text, count }));
    });
    return [
      ...[[...this.#byFile.keys()], [...this.#byFile.values()]],
      ...[days.map(({ id }) => id), days.map(({ day }) => day), days.map(({ count }) => count)],
      [...this.#byHour.keys()].map((hour) => new Date(hour * HOUR_S * 1000).toISOString()),
      [...this.#byHour.values()],
    ];
  }
}

function increment(counts: Map<number, number>, key: number): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

/** The kinds of page hits, in the order of their numbers. */
const HIT_KINDS = ['search', 'project', 'json', 'page'];

async function logHits(
  db: Transaction,
  resources: readonly string[],
  entriesByKind: readonly (readonly AccessEntry[])[],
): Promise<void> {
  const rows = entriesByKind.flatMap((entries, i) =>
    entries.map(
      ({ resourceIndex, rowTail }) =>
        `${HIT_KINDS[i] ?? ''}\t${copyField(resources[resourceIndex] ?? '')}\t${rowTail}`,
    ),
  );
  if (rows.length > 0)
    await db.copy(`copy page_hits (kind, resource, ${CLIENT_COLUMNS}) from stdin`, rows.join(''));
}
