import { PiwError, errorMessage } from '../errors.js';
import type { FailedBuild, FailureFilter, RequeueReason } from '../protocols/retry.js';
import { markPagesDue } from './pages.js';
import { sqlState, type Database, type Queryable, type SqlRow } from './pool.js';
import { notifyQueue, refreshQueue } from './queue.js';

/** Failures that one transaction requeues at most. */
const BATCH_SIZE = 500;
/** Failures that one transaction scans at most; fewer if it searches their logs, which may be long. */
const SCAN_SIZE = { plain: 20_000, logs: 1000 };
const MAX_EXAMPLES = 5;
/** The SQLSTATE of an invalid regular expression. */
const INVALID_REGEXP = '2201B';

interface RetryRequest {
  readonly filter: FailureFilter;
  readonly dry_run: boolean;
  readonly after: number;
  readonly upto: number | null;
}

/** The failures that one transaction has requeued or, in a dry run, would requeue. */
interface RetryPage {
  readonly next: number | null;
  readonly upto: number;
  readonly classes: [failureClass: string, count: number][];
  readonly examples: FailedBuild[];
}

interface FailedBuildRow extends SqlRow {
  readonly build_id: number | null;
  readonly version_id: number;
  readonly target_id: number;
  readonly package: string;
  readonly version: string;
  readonly abi: string;
  readonly platform: string;
  readonly failure_class: string | null;
  readonly ended: number;
  /** How many failures were scanned, and the build id of the last one. */
  readonly scanned: number;
  readonly last: number | null;
}

/**
 * Requeues up to BATCH_SIZE failures in one transaction; see RETRY in src/protocols/retry.ts. Requeues only the newest
 * attempt for a target, and only if it failed for good, no file serves the target, and its version may be built. The
 * builds stay, marked, with their logs. Throws PIW_USAGE for an invalid regular expression.
 */
export async function retryBuilds(database: Database, request: RetryRequest): Promise<RetryPage> {
  const { filter, dry_run, after } = request;
  const scan = filter.text === null ? SCAN_SIZE.plain : SCAN_SIZE.logs;
  try {
    return await database.transaction(async (db) => {
      // Makes the planner look up each build's version, files and targets by key, however many builds it expects.
      await db.query(
        `select set_config(name, 'off', true)
         from unnest(array['enable_seqscan', 'enable_hashjoin', 'enable_mergejoin']) as name`,
      );
      const upto = request.upto ?? (await newestBuild(db));
      const rows = await findFailures(db, filter, { after, upto, scan });
      const matching = rows.filter(({ build_id }) => build_id !== null);
      const { scanned = 0, last = null } = rows[0] ?? {};
      const done = matching.length < BATCH_SIZE && scanned < scan;
      const next = done ? null : matching.length < BATCH_SIZE ? last : (matching.at(-1)?.build_id ?? last);
      const selected = dry_run ? matching : await requeueFailures(db, matching, 'retry');
      const counts = new Map<string, number>();
      for (const { failure_class } of selected)
        counts.set(failure_class ?? 'other', (counts.get(failure_class ?? 'other') ?? 0) + 1);
      return {
        next,
        upto,
        classes: [...counts],
        examples: selected.slice(0, MAX_EXAMPLES).map(toFailedBuild),
      };
    });
  } catch (error) {
    if (sqlState(error) !== INVALID_REGEXP) throw error;
    throw new PiwError(
      'PIW_USAGE',
      `${JSON.stringify(filter.text)} is not a regular expression: ${errorMessage(error)}`,
    );
  }
}

async function newestBuild(db: Queryable): Promise<number> {
  const [row] = await db.query<{ newest: number | null }>('select max(build_id) as newest from builds');
  return row?.newest ?? 0;
}

/** Returns the failures of the next page that match the filter, or one row without a build if there are none. */
async function findFailures(
  db: Queryable,
  filter: FailureFilter,
  { after, upto, scan }: { readonly after: number; readonly upto: number; readonly scan: number },
): Promise<readonly FailedBuildRow[]> {
  const values: unknown[] = [after, upto];
  const bind = (value: unknown): string => `$${values.push(value)}`;
  const versionConditions: string[] = [];
  if (filter.package !== null) versionConditions.push(`p.package = ${bind(filter.package)}`);
  if (filter.version !== null) versionConditions.push(`v.version = ${bind(filter.version)}`);
  const versionFilter =
    versionConditions.length === 0
      ? ''
      : `and b.version_id in (select v.version_id from versions v join packages p using (package_id)
           where ${versionConditions.join(' and ')})`;
  const conditions: string[] = ['true'];
  if (filter.classes.length > 0)
    conditions.push(`coalesce(s.failure_class, 'other') = any (${bind(filter.classes)})`);
  if (filter.slave !== null) {
    const slave = bind(filter.slave);
    conditions.push(`s.slave_id in (
      select slave_id from slaves where slave_id::text = ${slave} or nats_user = ${slave} or label = ${slave})`);
  }
  if (filter.since !== null)
    conditions.push(`s.built_at >= to_timestamp(${bind(filter.since / 1000)}::float8)`);
  if (filter.until !== null)
    conditions.push(`s.built_at < to_timestamp(${bind(filter.until / 1000)}::float8)`);
  if (filter.abi !== null) conditions.push(`t.abi = ${bind(filter.abi)}`);
  if (filter.platform !== null) conditions.push(`t.platform = ${bind(filter.platform)}`);
  let logCondition = 'true';
  if (filter.text !== null) {
    const text = `${bind(filter.text)}::text`;
    const output = '(select output from builds b where b.build_id = m.build_id)';
    logCondition = filter.regexp ? `${output} ~ ${text}` : `position(${text} in ${output}) > 0`;
  }
  return await db.query<FailedBuildRow>(
    `with scanned as materialized (
       select b.build_id, b.version_id, b.target_id, b.failure_class, b.slave_id, b.built_at
       from builds b
       where not b.status and not b.transient and b.requeue_reason is null and b.build_id > $1 and b.build_id <= $2 ${versionFilter}
       order by b.build_id limit ${scan}
     ), matching as materialized (
       select s.*, t.abi, t.platform
       from scanned s join targets t using (target_id)
       where ${conditions.join(' and ')}
         -- It is the newest attempt that counts, and no attempt has succeeded.
         and not exists (
           select from builds n
           where n.version_id = s.version_id and n.target_id = s.target_id and not n.transient and n.requeue_reason is null
             and (n.status or n.build_id > s.build_id))
         and not exists (
           select from files f join tag_covers c using (tag_id)
           where f.version_id = s.version_id and c.target_id = s.target_id)
         and exists (
           select from eligible_targets e where e.version_id = s.version_id and e.target_id = s.target_id)
     ), found as (
       select m.* from matching m where ${logCondition} order by m.build_id limit ${BATCH_SIZE}
     )
     select f.build_id, f.version_id, f.target_id, p.package, v.version, f.abi, f.platform, f.failure_class,
       floor(extract(epoch from f.built_at) * 1000)::float8 as ended, a.scanned, a.last
     from (select count(*) as scanned, max(build_id) as last from scanned) a
     left join (found f join versions v using (version_id) join packages p using (package_id)) on true
     order by f.build_id`,
    values,
  );
}

/**
 * Marks these failures, and earlier ones of the same version and target, so that they no longer count, and updates the
 * queue. Returns the builds that were not marked yet when the transaction had locked their versions.
 */
export async function requeueFailures<
  B extends Pick<FailedBuildRow, 'build_id' | 'version_id' | 'target_id' | 'package'>,
>(db: Queryable, builds: readonly B[], mark: RequeueReason): Promise<readonly B[]> {
  if (builds.length === 0) return [];
  const versionIds = [...new Set(builds.map(({ version_id }) => version_id))];
  await db.query('select lock_versions($1)', [versionIds]);
  const rows = await db.query<{ build_id: number }>(
    `update builds b set requeue_reason = $3
     from unnest($1::bigint[], $2::integer[]) as g (version_id, target_id)
     where b.version_id = g.version_id and b.target_id = g.target_id
       and not b.status and not b.transient and b.requeue_reason is null
     returning b.build_id`,
    [builds.map(({ version_id }) => version_id), builds.map(({ target_id }) => target_id), mark],
  );
  await refreshQueue(db, versionIds);
  const marked = new Set(rows.map(({ build_id }) => build_id));
  await markPagesDue(db, [
    ...builds.map((build) => ['PROJECT', build.package] as const),
    ...rows.map(({ build_id }) => ['LOG', String(build_id)] as const),
  ]);
  await notifyQueue(db);
  return builds.filter(({ build_id }) => build_id !== null && marked.has(build_id));
}

const toFailedBuild = (row: FailedBuildRow): FailedBuild => [
  row.build_id ?? 0,
  row.package,
  row.version,
  row.abi,
  row.platform,
  row.failure_class,
  row.ended,
];
