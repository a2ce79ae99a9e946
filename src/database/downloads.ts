import { PiwError, errorMessage } from '../errors.js';
import type { LogStretch } from '../protocols/weblog.js';
import { copyField, copyFields } from './copy-text.js';
import { FORGOTTEN_LOG_MARK, lockLog, advanceLog, type LogProgress } from './logs.js';
import { sqlState, type Database, type Transaction } from './pool.js';

const CLIENT_COLUMNS = `accessed_at, accessed_by, country, arch, distro_name, distro_version, os_name, os_version, py_name, py_version,
  installer_name, installer_version, setuptools_version`;

/** Entries of one kind: when, what, and the rest of the row. */
interface AccessEntry {
  /** Seconds since 1970. */
  readonly timestampS: number;
  /** A place in `whats`. */
  readonly whatIndex: number;
  readonly rowTail: string;
}

/**
 * Writes what a stretch of a log told, and what it adds up to, and that it has been counted, in one transaction; or
 * nothing, if the log hasn't been counted up to where it begins, or farther. Downloads of files that aren't here
 * (any more) are passed over. Raises PIW_REFUSED for what PostgreSQL doesn't take.
 *
 * COPY takes half the time of `insert … select from unnest` (test/bench/downloads.ts).
 */
export async function logEntries(database: Database, stretch: LogStretch): Promise<LogProgress> {
  // What is wrong with it is found out before anybody waits for anything.
  const entries = parseEntries(stretch);
  try {
    return await database.transaction(async (db) => {
      // Those who delete files wait until this is done; see hold_files in sql/000006.sql.
      await db.query('select pg_advisory_xact_lock_shared(7367035)');
      const position = await lockLog(db, stretch.log);
      if (position.upto !== stretch.from || position.mark === FORGOTTEN_LOG_MARK)
        return { ...position, counted: false, unknown: 0 };
      await createMonthPartitions(db, entries);
      const unknown = await logDownloads(db, stretch.whats, entries[0]);
      await logHits(db, stretch.whats, entries.slice(1));
      await advanceLog(db, stretch);
      return { upto: stretch.to, mark: stretch.mark, counted: true, unknown };
    });
  } catch (error) {
    // Data that it can't take: class 22. To repeat it would be of no use.
    if (!sqlState(error).startsWith('22')) throw error;
    throw new PiwError('PIW_REFUSED', `the database refuses it: ${errorMessage(error)}`, { cause: error });
  }
}

/** Forgets all rows but those of the last so many months; their sums stay. */
export async function dropLogs(database: Database, monthsToKeep: number): Promise<void> {
  await database.query('select drop_log_months($1)', [monthsToKeep]);
}

/** Kinds as their numbers stand for them. */
type EntriesByKind = [AccessEntry[], AccessEntry[], AccessEntry[], AccessEntry[], AccessEntry[]];

/** Makes rows of numbers. Hosts, agents and times are the same in many of them, and are written out once. */
function parseEntries({ whats, hosts: hostTuples, agents: agentTuples, entries }: LogStretch): EntriesByKind {
  const hosts = hostTuples.map(copyFields);
  const agents = agentTuples.map((agent) => `${copyFields(agent)}\n`);
  const times = new Map<number, string>();
  const entriesByKind: EntriesByKind = [[], [], [], [], []];
  const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
  for (let i = 0; i < entries.length; i += ENTRY_BYTES) {
    const timestampS = view.getUint32(i + 4, true);
    const host = hosts[view.getUint32(i + 8, true)];
    const whatIndex = view.getUint32(i + 12, true);
    const agent = agents[view.getUint32(i + 16, true)];
    const kind = entriesByKind[view.getUint32(i, true)];
    if (kind === undefined || host === undefined || agent === undefined || whatIndex >= whats.length)
      throw new PiwError('PIW_MESSAGE_INVALID', 'LOGENTRIES: an entry names what is not there');
    let time = times.get(timestampS);
    if (time === undefined) times.set(timestampS, (time = new Date(timestampS * 1000).toISOString()));
    kind.push({ timestampS, whatIndex, rowTail: `${time}\t${host}\t${agent}` });
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
  // Neighbours are mostly of one day.
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

/** Gives how many were of files that aren't here. */
async function logDownloads(
  db: Transaction,
  whats: readonly string[],
  entries: readonly AccessEntry[],
): Promise<number> {
  if (entries.length === 0) return 0;
  const files = await findFiles(db, whats, entries);
  const totals = new DownloadTotals();
  const rows: string[] = [];
  for (const { timestampS, whatIndex, rowTail } of entries) {
    const file = files[whatIndex];
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

/** The files that are downloaded, by the place of their names. */
async function findFiles(
  db: Transaction,
  whats: readonly string[],
  entries: readonly AccessEntry[],
): Promise<readonly (DownloadedFile | undefined)[]> {
  const places = [...new Set(entries.map(({ whatIndex }) => whatIndex))];
  const rows = await db.query<{ place: number; file_id: number; package_id: number }>(
    // Each by its key, whatever a plan that was made for small tables would rather do.
    `select n.place, f.file_id, f.package_id
     from unnest($1::int[], $2::text[]) as n (place, filename)
     cross join lateral (
       select file_id, package_id from files join versions using (version_id)
       where filename = n.filename limit 1) as f`,
    [places, places.map((place) => whats[place])],
  );
  const files: (DownloadedFile | undefined)[] = new Array<undefined>(whats.length);
  for (const { place, file_id, package_id } of rows)
    files[place] = { file_id, package_id, fileIdText: String(file_id) };
  return files;
}

/** What downloads add up to. */
class DownloadTotals {
  readonly #byFile = new Map<number, number>();
  /** Of each day (since 1970), by package. */
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

  /** As add_downloads in sql/000006.sql takes them. */
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

/** In the order of the kinds. */
const HIT_KINDS = ['search', 'project', 'json', 'page'];

async function logHits(
  db: Transaction,
  whats: readonly string[],
  entriesByKind: readonly (readonly AccessEntry[])[],
): Promise<void> {
  const rows = entriesByKind.flatMap((entries, i) =>
    entries.map(
      ({ whatIndex, rowTail }) => `${HIT_KINDS[i] ?? ''}\t${copyField(whats[whatIndex] ?? '')}\t${rowTail}`,
    ),
  );
  if (rows.length > 0)
    await db.copy(`copy page_hits (kind, what, ${CLIENT_COLUMNS}) from stdin`, rows.join(''));
}
