import { logEntries } from '../../src/database/downloads.js';
import { findLogs } from '../../src/database/logs.js';
import type { Database } from '../../src/database/pool.js';
import type { LogCollector } from '../../src/weblog/counting.js';

/** One request, as a web server logs it. */
interface RequestFields {
  readonly path?: string;
  readonly status?: number;
  readonly agent?: string;
  readonly host?: string;
  readonly method?: string;
  /** Milliseconds since 1970. */
  readonly at?: number;
}

/** The time an hour ago, in whole seconds. */
export const AN_HOUR_AGO_MS = Math.floor(Date.now() / 1000 - 3600) * 1000;
/** Returns the filename of the wheel that insertPackages() adds for a package. */
export const wheelFilename = (name: string, version = '1.0'): string => `${name}-${version}-py3-none-any.whl`;
export const wheelPath = (name: string, version?: string): string =>
  `/simple/${name}/${wheelFilename(name, version)}`;

/** Formats a time as Apache's %t does, in UTC. */
function apacheTime(at: number): string {
  const text = new Date(at).toUTCString();
  return `${text.slice(5, 16).replaceAll(' ', '/')}:${text.slice(17, 25)} +0000`;
}

/** Returns a line of the combined format; by default a download. */
export function combinedLine(request: RequestFields = {}): string {
  const { path = wheelPath('demo'), status = 200, agent = 'pip/23.2', host = '192.0.2.7' } = request;
  const { method = 'GET', at = AN_HOUR_AGO_MS } = request;
  return `${host} - - [${apacheTime(at)}] "${method} ${path} HTTP/1.1" ${status} 1234 "-" "${agent.replaceAll('"', '\\"')}"\n`;
}

/** Returns `count` lines from different hosts; `from` is the index of the first host. */
export const combinedLines = (count: number, request: RequestFields = {}, from = 0): string =>
  Array.from({ length: count }, (_, i) =>
    combinedLine({ host: `10.0.${(from + i) >> 8}.${(from + i) & 255}`, ...request }),
  ).join('');

/** Inserts packages, each with a version 1.0 and its wheel. */
export async function insertPackages(db: Database, ...names: readonly string[]): Promise<void> {
  await db.query(`insert into packages (package, origin) select n, 'feed' from unnest($1::text[]) as n`, [
    names,
  ]);
  await db.query(`insert into tags (py, abi, platform) values ('py3', 'none', 'any') on conflict do nothing`);
  await db.query(
    `with new as (
       insert into versions (package_id, version, sort_key, has_sdist, origin)
       select package_id, '1.0', '1.0', false, 'feed' from packages where package = any ($1)
       returning version_id, package_id)
     insert into files (filename, version_id, filesize, sha256, metadata_sha256, tag_id)
     select package || '-1.0-py3-none-any.whl', version_id, 1, '', '', (select min(tag_id) from tags)
     from new join packages using (package_id)`,
    [names],
  );
}

/** Returns a farm that the logger calls directly, without NATS in between. */
export const databaseFarm = (db: Database): LogCollector => ({
  findPositions: (head, fresh) => findLogs(db, head, fresh),
  submit: (stretch) => logEntries(db, stretch),
});

/** Returns the number of downloads; throws if the three sums of them differ from it. */
export async function countDownloads(db: Database): Promise<number> {
  const [row] = await db.query<{ rows: number; files: number; days: number; hours: number }>(
    `select (select count(*) from downloads) as rows,
       (select coalesce(sum(downloads), 0)::bigint from file_downloads) as files,
       (select coalesce(sum(downloads), 0)::bigint from download_days) as days,
       (select coalesce(sum(downloads), 0)::bigint from download_hours) as hours`,
  );
  if (!row || new Set(Object.values(row)).size > 1)
    throw new Error(`the sums of downloads differ: ${JSON.stringify(row)}`);
  return row.rows;
}
