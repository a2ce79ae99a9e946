import { PiwError, reason } from '../errors.js';
import type { LogStretch } from '../protocols/weblog.js';
import { copyField, copyFields } from './copy-text.js';
import { GONE, lockLog, moveLog, type Counted } from './logs.js';
import { sqlState, type Database, type Transaction } from './pool.js';

const WHO = `accessed_at, accessed_by, country, arch, distro_name, distro_version, os_name, os_version, py_name, py_version,
  installer_name, installer_version, setuptools_version`;

/** Entries of one kind: when, what, and the rest of the row. */
interface Entry {
  /** Seconds since 1970. */
  readonly at: number;
  /** A place in `whats`. */
  readonly what: number;
  readonly who: string;
}

/**
 * Writes what a stretch of a log told, and what it adds up to, and that it has been counted, in one transaction; or
 * nothing, if the log hasn't been counted up to where it begins, or farther. Downloads of files that aren't here
 * (any more) are passed over. Raises PIW_REFUSED for what PostgreSQL doesn't take.
 *
 * COPY takes half the time of `insert … select from unnest` (test/bench/downloads.ts).
 */
export async function logEntries(database: Database, stretch: LogStretch): Promise<Counted> {
  // What is wrong with it is found out before anybody waits for anything.
  const entries = entriesOf(stretch);
  try {
    return await database.transaction(async (db) => {
      // Those who delete files wait until this is done; see hold_files in sql/000006.sql.
      await db.query('select pg_advisory_xact_lock_shared(7367035)');
      const there = await lockLog(db, stretch.log);
      if (there.upto !== stretch.from || there.mark === GONE) return { ...there, counted: false, unknown: 0 };
      await makeMonths(db, entries);
      const unknown = await logDownloads(db, stretch.whats, entries[0]);
      await logHits(db, stretch.whats, entries.slice(1));
      await moveLog(db, stretch);
      return { upto: stretch.to, mark: stretch.mark, counted: true, unknown };
    });
  } catch (error) {
    // Data that it can't take: class 22. To repeat it would be of no use.
    if (!sqlState(error).startsWith('22')) throw error;
    throw new PiwError('PIW_REFUSED', `the database refuses it: ${reason(error)}`, { cause: error });
  }
}

/** Forgets all rows but those of the last so many months; their sums stay. */
export async function dropLogs(database: Database, months: number): Promise<void> {
  await database.query('select drop_log_months($1)', [months]);
}

/** Kinds as their numbers stand for them. */
type ByKind = [Entry[], Entry[], Entry[], Entry[], Entry[]];

/** Makes rows of numbers. Hosts, agents and times are the same in many of them, and are written out once. */
function entriesOf({ whats, hosts: givenHosts, agents: givenAgents, entries }: LogStretch): ByKind {
  const hosts = givenHosts.map(copyFields);
  const agents = givenAgents.map((agent) => `${copyFields(agent)}\n`);
  const times = new Map<number, string>();
  const kinds: ByKind = [[], [], [], [], []];
  const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
  for (let i = 0; i < entries.length; i += ENTRY_BYTES) {
    const at = view.getUint32(i + 4, true);
    const host = hosts[view.getUint32(i + 8, true)];
    const what = view.getUint32(i + 12, true);
    const agent = agents[view.getUint32(i + 16, true)];
    const kind = kinds[view.getUint32(i, true)];
    if (kind === undefined || host === undefined || agent === undefined || what >= whats.length)
      throw new PiwError('PIW_MESSAGE_INVALID', 'LOGENTRIES: an entry names what is not there');
    let time = times.get(at);
    if (time === undefined) times.set(at, (time = new Date(at * 1000).toISOString()));
    kind.push({ at, what, who: `${time}\t${host}\t${agent}` });
  }
  return kinds;
}

/** See LOG_ENTRY_BYTES in src/protocols/weblog.ts. */
const ENTRY_BYTES = 20;

async function makeMonths(db: Transaction, kinds: readonly (readonly Entry[])[]): Promise<void> {
  const months = new Set<string>();
  // Neighbours are mostly of one day.
  let day = -1;
  for (const entries of kinds) {
    for (const { at } of entries) {
      if (Math.floor(at / DAY_S) === day) continue;
      day = Math.floor(at / DAY_S);
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
  entries: readonly Entry[],
): Promise<number> {
  if (entries.length === 0) return 0;
  const files = await filesOf(db, whats, entries);
  const sums = new Sums();
  const rows: string[] = [];
  for (const { at, what, who } of entries) {
    const file = files[what];
    if (!file) continue;
    rows.push(`${file.text}\t${who}`);
    sums.add(file, at);
  }
  if (rows.length > 0) {
    await db.copy(`copy downloads (file_id, ${WHO}) from stdin`, rows.join(''));
    await db.query('select add_downloads($1, $2, $3, $4, $5, $6, $7)', sums.arrays());
  }
  return entries.length - rows.length;
}

interface File {
  readonly file_id: number;
  readonly package_id: number;
  readonly text: string;
}

/** The files that are downloaded, by the place of their names. */
async function filesOf(
  db: Transaction,
  whats: readonly string[],
  entries: readonly Entry[],
): Promise<readonly (File | undefined)[]> {
  const places = [...new Set(entries.map(({ what }) => what))];
  const found = await db.query<{ place: number; file_id: number; package_id: number }>(
    // Each by its key, whatever a plan that was made for small tables would rather do.
    `select n.place, f.file_id, f.package_id
     from unnest($1::int[], $2::text[]) as n (place, filename)
     cross join lateral (
       select file_id, package_id from files join versions using (version_id)
       where filename = n.filename limit 1) as f`,
    [places, places.map((place) => whats[place])],
  );
  const files: (File | undefined)[] = new Array<undefined>(whats.length);
  for (const { place, file_id, package_id } of found)
    files[place] = { file_id, package_id, text: String(file_id) };
  return files;
}

/** What downloads add up to. */
class Sums {
  readonly #files = new Map<number, number>();
  /** Of each day (since 1970), by package. */
  readonly #days = new Map<number, Map<number, number>>();
  readonly #hours = new Map<number, number>();

  add({ file_id, package_id }: File, at: number): void {
    const day = Math.floor(at / DAY_S);
    let packages = this.#days.get(day);
    if (!packages) this.#days.set(day, (packages = new Map<number, number>()));
    increment(this.#files, file_id);
    increment(packages, package_id);
    increment(this.#hours, Math.floor(at / HOUR_S));
  }

  /** As add_downloads in sql/000006.sql takes them. */
  arrays(): unknown[] {
    const days = [...this.#days].flatMap(([day, packages]) => {
      const text = isoDay(day);
      return [...packages].map(([id, count]) => ({ id, day: text, count }));
    });
    return [
      ...[[...this.#files.keys()], [...this.#files.values()]],
      ...[days.map(({ id }) => id), days.map(({ day }) => day), days.map(({ count }) => count)],
      [...this.#hours.keys()].map((hour) => new Date(hour * HOUR_S * 1000).toISOString()),
      [...this.#hours.values()],
    ];
  }
}

function increment(counts: Map<number, number>, key: number): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

/** In the order of the kinds. */
const HITS = ['search', 'project', 'json', 'page'];

async function logHits(
  db: Transaction,
  whats: readonly string[],
  kinds: readonly (readonly Entry[])[],
): Promise<void> {
  const rows = kinds.flatMap((entries, i) =>
    entries.map(({ what, who }) => `${HITS[i] ?? ''}\t${copyField(whats[what] ?? '')}\t${who}`),
  );
  if (rows.length > 0) await db.copy(`copy page_hits (kind, what, ${WHO}) from stdin`, rows.join(''));
}
