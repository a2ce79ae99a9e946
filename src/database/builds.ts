import { PiwError } from '../errors.js';
import type { BuildRecord, LoggedBuild } from '../protocols/oracle.js';
import { failureClass, failurePolicy } from '../states/failure.js';
import { parseTarget } from '../wheels/tags.js';
import { insertFiles, type BuildFiles } from './files.js';
import { markPagesDue } from './pages.js';
import type { Database, Queryable } from './pool.js';
import { notifyQueue, refill } from './queue.js';

export interface LogBuildResult {
  readonly outcome: 'logged' | 'repeated' | 'lost';
  readonly buildId: number | null;
  /** A failure that passes: it is tried again so many seconds from now. */
  readonly againS: number | null;
}

/** How long a build is held back after the first failure that passes, seconds. */
export const RETRY_DELAY_S = 60;

interface LoggedRow {
  readonly [column: string]: unknown;
  readonly at: number;
  readonly outcome: 'logged' | 'repeated' | 'lost';
  readonly build_id: number | null;
  readonly version_id: number | null;
  readonly again: number | null;
}

/**
 * Writes the results of builds, ends their leases, brings the queue up to date and notes the pages
 * that show them, all in one transaction; the outcomes stand in the order of the results.
 *
 * `logged`: it is written. `repeated`: this lease's result was written before. `lost`: the lease is
 * not that slave's any more, and its result is dropped. A failure of a class that passes is no attempt as far
 * as the queue goes: its build is held back, and tried again, as often as that class allows. Raises
 * PIW_FILE_EXISTS if a file's name is taken by one with other contents, and then nothing of the batch is written.
 */
export async function logBuilds(
  database: Database,
  builds: readonly LoggedBuild[],
  retryDelayS = RETRY_DELAY_S,
): Promise<readonly LogBuildResult[]> {
  return await database.transaction(async (db) => {
    const logged = await insertBuilds(db, builds, retryDelayS);
    await insertFiles(
      db,
      logged.flatMap(({ at, outcome, version_id: versionId, build_id: buildId }): BuildFiles[] => {
        const build = builds[at];
        if (outcome !== 'logged' || versionId === null || !build) return [];
        const { files, served, lease, abi, platform } = build;
        // An administrator who imports a wheel may have built it wherever.
        const target = lease === null ? undefined : parseTarget(abi, platform);
        return [{ versionId, buildId, target, files, served }];
      }),
    );
    await describePackages(db, builds, logged);
    const versionIds = logged.flatMap(({ outcome, version_id }) =>
      outcome === 'logged' && version_id !== null ? [version_id] : [],
    );
    await refill(db, [...new Set(versionIds)]);
    if (logged.some(({ outcome, at }) => outcome === 'logged' && builds[at]?.status)) await notifyQueue(db);
    await markPagesDue(db, affectedPages(builds, logged));
    const outcomes = builds.map((): LogBuildResult => ({ outcome: 'lost', buildId: null, againS: null }));
    for (const { at, outcome, build_id, again } of logged)
      outcomes[at] = { outcome, buildId: build_id, againS: again };
    return outcomes;
  });
}

/**
 * Describes packages of which nobody has given a description by the summary in their wheels' METADATA. A package that
 * another transaction holds is left to its next build, so that the two never wait for each other.
 */
async function describePackages(
  db: Queryable,
  builds: readonly LoggedBuild[],
  logged: readonly LoggedRow[],
): Promise<void> {
  const summaries = new Map<string, string>();
  for (const { at, outcome } of logged) {
    const build = builds[at];
    if (outcome !== 'logged' || !build) continue;
    for (const [, , metadata] of build.files)
      if (metadata?.summary) summaries.set(build.package, metadata.summary);
  }
  if (summaries.size === 0) return;
  await db.query(
    `with given as (select * from unnest($1::text[], $2::text[]) as g (package, summary)),
     undescribed as (
       select package_id, summary from packages join given using (package)
       where description is null for no key update of packages skip locked)
     update packages p set description = u.summary from undescribed u where p.package_id = u.package_id`,
    [[...summaries.keys()], [...summaries.values()]],
  );
}

/**
 * All builds of the batch in one statement, for what a statement costs is the same for one as for
 * 64. A lease's row is locked while it is looked at, so its loss and its result can't both happen.
 */
async function insertBuilds(
  db: Queryable,
  builds: readonly LoggedBuild[],
  retryDelayS: number,
): Promise<readonly LoggedRow[]> {
  const kinds = builds.map((b) => failurePolicy(failureClass(b.failure_class)));
  const placeholders = Array.from({ length: 16 }, (_, i) => `$${String(i + 1)}`).join(', ');
  return await db.query<LoggedRow>(`select * from log_builds(${placeholders})`, [
    builds.map((b) => b.lease),
    builds.map((b) => b.slave_id),
    builds.map((b) => b.package),
    builds.map((b) => b.version),
    builds.map((b) => b.abi),
    builds.map((b) => b.platform),
    builds.map((b) => b.status),
    builds.map((b) => b.failure_class),
    builds.map((b) => b.duration_s),
    // PostgreSQL's text holds everything but NUL.
    builds.map((b) => b.output.replaceAll('\0', '\ufffd')),
    kinds.map(({ retries }) => retries),
    kinds.map(({ recentReleasesOnly }) => recentReleasesOnly ?? false),
    retryDelayS,
    builds.map(({ details }) => details.reason),
    builds.map(({ details }) => details.remark),
    builds.map(({ details: { provenance } }) => (provenance === null ? null : JSON.stringify(provenance))),
  ]);
}

/** The pages that show these results. */
function affectedPages(
  builds: readonly LoggedBuild[],
  logged: readonly LoggedRow[],
): Parameters<typeof markPagesDue>[1] {
  return logged.flatMap(({ at, outcome, build_id }) => {
    const build = builds[at];
    if (outcome !== 'logged' || !build) return [];
    const kind = build.files.length > 0 ? 'PKG' : 'PROJECT';
    return [[kind, build.package] as const, ['LOG', String(build_id)] as const];
  });
}

/** A build with its log. Raises PIW_REFUSED if there is none of that number. */
export async function buildRecord(db: Queryable, buildId: number): Promise<Omit<BuildRecord, 'verb'>> {
  const [row] = await db.query<Omit<BuildRecord, 'verb'> & Readonly<Record<string, unknown>>>(
    `select p.package, v.version, t.abi, t.platform, b.status, b.failure_class,
       floor(extract(epoch from b.built_at) * 1000)::float8 as built,
       extract(epoch from b.duration)::float8 as duration_s, b.output, s.label as slave, b.put_back,
       json_build_object('reason', b.reason, 'remark', b.remark, 'provenance', b.provenance) as details
     from builds b left join slaves s using (slave_id) join versions v using (version_id) join packages p using (package_id) join targets t using (target_id)
     where b.build_id = $1`,
    [buildId],
  );
  if (!row) throw new PiwError('PIW_REFUSED', `there is no build ${String(buildId)}`);
  return row;
}
