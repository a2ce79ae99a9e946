import type { LogRow } from '../protocols/oracle.js';
import type { Queryable } from './pool.js';

const COLUMNS = `accessed_by, accessed_at, arch, distro_name, distro_version, os_name, os_version, py_name, py_version,
  installer_name, installer_version, setuptools_version`;
const ROWS = `unnest($1::text[], $2::float8[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
  $9::text[], $10::text[], $11::text[], $12::text[], $13::text[]) as r (accessed_by, at, what, arch, distro_name,
  distro_version, os_name, os_version, py_name, py_version, installer_name, installer_version, setuptools_version)`;
const VALUES = `r.accessed_by, to_timestamp(r.at / 1000), r.arch, r.distro_name, r.distro_version, r.os_name, r.os_version,
  r.py_name, r.py_version, r.installer_name, r.installer_version, r.setuptools_version`;

/** Notes downloads. One of a file that isn't here (any more) is passed over. */
export async function logDownloads(db: Queryable, rows: readonly LogRow[]): Promise<void> {
  await db.query(
    `insert into downloads (filename, ${COLUMNS}) select f.filename, ${VALUES} from ${ROWS} join files f on f.filename = r.what`,
    columns(rows),
  );
}

/** Notes what else was asked for: a search, a project's page or its JSON, or another page. */
export async function logHits(
  db: Queryable,
  kind: 'search' | 'project' | 'json' | 'page',
  rows: readonly LogRow[],
): Promise<void> {
  await db.query(
    `insert into page_hits (kind, what, ${COLUMNS}) select $14, r.what, ${VALUES} from ${ROWS}`,
    [...columns(rows), kind],
  );
}

function columns(rows: readonly LogRow[]): unknown[] {
  return Array.from({ length: 13 }, (_, i) => rows.map((row) => row[i]));
}
