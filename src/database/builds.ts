import { PiwError } from '../errors.js';
import type { BuildRecord } from '../protocols/oracle.js';
import type { LoggedBuild } from '../model/build.js';
import { failureClass, failurePolicy } from '../failures/classes.js';
import { parseTarget } from '../wheels/tags.js';
import { insertFiles, type BuildFiles } from './files.js';
import { markPagesDue } from './pages.js';
import type { Database, Queryable } from './pool.js';
import { notifyQueue, refreshQueue } from './queue.js';

interface LogBuildResult {
  readonly outcome: 'logged' | 'repeated' | 'lost';
  readonly buildId: number | null;
  /** Seconds until the retry of a transient failure; null: no retry. */
  readonly retryAfterS: number | null;
  /** The revision of the package's page in the simple index, which is due; null: nothing that it lists has changed. */
  readonly pageRevision: number | null;
}

/** How long a build is held back after the first transient failure, seconds. */
export const RETRY_DELAY_S = 60;

interface LoggedRow {
  readonly [column: string]: unknown;
  readonly at: number;
  readonly outcome: 'logged' | 'repeated' | 'lost';
  readonly build_id: number | null;
  readonly version_id: number | null;
  readonly retry_after_s: number | null;
}

/**
 * Logs the results of builds, ends their leases, updates the queue and marks the pages that show them as due, all in
 * one transaction. Returns the outcomes in the order of `builds`.
 *
 * `logged`: the result is written. `repeated`: this lease's result was written before. `lost`: the slave no longer
 * holds the lease, and its result is dropped. A failure of a transient class doesn't count as an attempt for the queue:
 * the build is held back and retried, as often as its class allows. Throws PIW_FILE_EXISTS if a filename is taken by a
 * file with different contents; then nothing of the batch is written.
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
        // An imported wheel may have been built on any target.
        const target = lease === null ? undefined : parseTarget(abi, platform);
        return [{ versionId, buildId, target, files, served }];
      }),
    );
    await describePackages(db, builds, logged);
    const versionIds = logged.flatMap(({ outcome, version_id }) =>
      outcome === 'logged' && version_id !== null ? [version_id] : [],
    );
    await refreshQueue(db, [...new Set(versionIds)]);
    if (logged.some(({ outcome, at }) => outcome === 'logged' && builds[at]?.status)) await notifyQueue(db);
    const pages = affectedPages(builds, logged);
    const revisions = await markPagesDue(db, pages);
    const pageRevisions = new Map(pages.map(([kind, argument], n) => [`${kind} ${argument}`, revisions[n]]));
    const outcomes = builds.map((): LogBuildResult => ({
      outcome: 'lost',
      buildId: null,
      retryAfterS: null,
      pageRevision: null,
    }));
    for (const { at, outcome, build_id, retry_after_s } of logged) {
      const pageRevision = pageRevisions.get(`PKG ${builds[at]?.package ?? ''}`) ?? null;
      outcomes[at] = { outcome, buildId: build_id, retryAfterS: retry_after_s, pageRevision };
    }
    return outcomes;
  });
}

/**
 * Takes the description of packages without one from the summary in their wheels' METADATA. Leaves a package that
 * another transaction has locked to its next build, so that the two never deadlock.
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
 * Inserts all builds of the batch in one statement, which costs about the same for 1 build as for 64. Locks each
 * lease's row first, so that a lease can't both expire and have its result logged.
 */
async function insertBuilds(
  db: Queryable,
  builds: readonly LoggedBuild[],
  retryDelayS: number,
): Promise<readonly LoggedRow[]> {
  const policies = builds.map((b) => failurePolicy(failureClass(b.failure_class)));
  const placeholders = Array.from({ length: 16 }, (_, i) => `$${i + 1}`).join(', ');
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
    // PostgreSQL's text can hold any character but NUL.
    builds.map((b) => b.output.replaceAll('\0', '\ufffd')),
    policies.map(({ retries }) => retries),
    policies.map(({ recentReleasesOnly }) => recentReleasesOnly ?? false),
    retryDelayS,
    builds.map(({ details }) => details.reason),
    builds.map(({ details }) => details.remark),
    builds.map(({ details: { provenance } }) => (provenance === null ? null : JSON.stringify(provenance))),
  ]);
}

/** Returns the pages that show these results. */
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

/** Returns the build that was logged under this lease; null if none was. */
export async function buildOfLease(db: Queryable, lease: number): Promise<number | null> {
  const [row] = await db.query<{ build_id: number }>('select build_id from builds where lease = $1', [lease]);
  return row?.build_id ?? null;
}

/** Returns a build with its log. Throws PIW_REFUSED if it does not exist. */
export async function buildRecord(db: Queryable, buildId: number): Promise<Omit<BuildRecord, 'verb'>> {
  const [row] = await db.query<Omit<BuildRecord, 'verb'> & Readonly<Record<string, unknown>>>(
    `select p.package, v.version, t.abi, t.platform, b.status, b.failure_class,
       floor(extract(epoch from b.built_at) * 1000)::float8 as built,
       extract(epoch from b.duration)::float8 as duration_s, b.output, s.label as slave, b.requeue_reason,
       json_build_object('reason', b.reason, 'remark', b.remark, 'provenance', b.provenance) as details
     from builds b left join slaves s using (slave_id) join versions v using (version_id) join packages p using (package_id) join targets t using (target_id)
     where b.build_id = $1`,
    [buildId],
  );
  if (!row) throw new PiwError('PIW_REFUSED', `build ${buildId} does not exist`);
  return row;
}
