import { assertNotFenced, recordFence } from './fences.js';
import type { Database, Queryable } from './pool.js';

/** A build that waits in the queue: the ids of its version and target. */
export interface PendingBuild {
  readonly versionId: number;
  readonly targetId: number;
}

/** A build that has been leased to a slave. */
export interface LeasedBuild extends PendingBuild {
  readonly lease: number;
  readonly attempt: number;
  readonly package: string;
  readonly version: string;
  readonly sdistUrl: string | null;
  readonly sdistSha256: string | null;
}

/** A lease and the slave that holds it. */
type HeldLease = readonly [lease: number, slave: number];

/** Updates the queue for these versions. Call it in the transaction that changed what their rows depend on. */
export async function requeue(db: Queryable, versionIds: readonly number[]): Promise<void> {
  if (versionIds.length > 0) await db.query('select requeue($1)', [versionIds]);
}

/** Does the same as requeue() for versions that this transaction has locked already. */
export async function refreshQueue(db: Queryable, versionIds: readonly number[]): Promise<void> {
  if (versionIds.length > 0) await db.query('select refresh_queue($1)', [versionIds]);
}

/** Notifies listeners that there may be new builds. Only a hint: NOTIFY would serialise many small writers. */
export async function notifyQueue(db: Queryable): Promise<void> {
  await db.query('notify piw_queue');
}

interface QueueQuery {
  readonly abi: string;
  readonly platform: string;
  readonly priority: number;
  readonly count: number;
  /** Whether the newest or the oldest releases come first. */
  readonly first: 'newest' | 'oldest';
}

/** The largest share of the returned builds that one package gets while others wait. */
const MAX_PACKAGE_SHARE = 1 / 8;
/** Rows that are scanned per build wanted: at first, and again if a few packages crowd the front of the queue. */
const SCAN_DEPTH_FACTORS = [2, 64];
const MIN_SCAN_DEPTH = 64;

/**
 * Returns the next builds of a priority for a target, without leasing them: in the order of release, but not more of a
 * package than its share while other packages wait.
 */
export async function nextPendingBuilds(db: Queryable, order: QueueQuery): Promise<readonly PendingBuild[]> {
  const { count } = order;
  const share = Math.ceil(count * MAX_PACKAGE_SHARE);
  let selected: readonly PendingBuild[] = [];
  // Depths are powers of two, and literals in the SQL: so there are few statements, and each is planned for its depth.
  const roundDepth = (depth: number) => Math.max(MIN_SCAN_DEPTH, 2 ** Math.ceil(Math.log2(depth)));
  for (const depth of SCAN_DEPTH_FACTORS.map((factor) => roundDepth(count * factor))) {
    const { targetId, versionIds, packageIds } = await scanQueue(db, order, depth);
    const countByPackage = new Map<number, number>();
    const withinShare: PendingBuild[] = [];
    const beyondShare: PendingBuild[] = [];
    for (const [i, versionId] of versionIds.entries()) {
      const packageId = packageIds[i] ?? 0;
      const packageCount = (countByPackage.get(packageId) ?? 0) + 1;
      countByPackage.set(packageId, packageCount);
      (packageCount <= share ? withinShare : beyondShare).push({ versionId, targetId });
    }
    selected = [...withinShare, ...beyondShare].slice(0, count);
    if (withinShare.length >= count || versionIds.length < depth) break;
  }
  return selected;
}

interface QueueScan {
  readonly targetId: number;
  /** The versions in order, and the package of each. */
  readonly versionIds: readonly number[];
  readonly packageIds: readonly number[];
}

/** Reads the front of the queue, in one row: a client spends several times as long on thousands of rows. */
async function scanQueue(
  db: Queryable,
  { abi, platform, priority, first: backlogOrder }: QueueQuery,
  limit: number,
): Promise<QueueScan> {
  const orderBy =
    backlogOrder === 'newest'
      ? 'released desc nulls last, version_id desc'
      : 'released asc nulls first, version_id asc';
  const [row] = await db.query<{
    target_id: number | null;
    version_ids: readonly number[];
    package_ids: readonly number[];
  }>(
    `select min(target_id) as target_id, json_agg(version_id) as version_ids, json_agg(package_id) as package_ids
     from (
       select version_id, target_id, package_id from queue
       where target_id = (select target_id from targets where abi = $1 and platform = $2 and skip is null)
         and priority = $3 and lease is null
       order by ${orderBy} limit ${limit}
     ) as front`,
    [abi, platform, priority],
  );
  const targetId = row?.target_id ?? undefined;
  if (!row || targetId === undefined) return { targetId: 0, versionIds: [], packageIds: [] };
  return { targetId, versionIds: row.version_ids, packageIds: row.package_ids };
}

/** A build that is to be leased to a slave. */
export interface BuildAssignment extends PendingBuild {
  readonly slaveId: number;
  /** The duration of the lease, seconds. */
  readonly leaseS: number;
}

/**
 * Leases builds to slaves, and returns those that were still waiting. `revision` is the revision of the Slave Driver's
 * own lease. Throws PIW_FENCED if a newer one has been seen.
 */
export async function leaseBuilds(
  database: Database,
  assignments: readonly BuildAssignment[],
  revision: number,
): Promise<readonly LeasedBuild[]> {
  await recordFence(database, 'slave-driver', revision);
  const rows = await database.query<{
    version_id: number;
    target_id: number;
    lease: number;
    attempt: number;
    package: string;
    version: string;
    sdist_url: string | null;
    sdist_sha256: string | null;
  }>(
    `update queue q
     set lease = nextval('leases'), slave_id = g.slave, attempt = attempt + 1,
       leased_until = clock_timestamp() + g.seconds * interval '1 second'
     from unnest($1::bigint[], $2::int[], $3::bigint[], $4::float8[]) as g (version_id, target_id, slave, seconds)
       join versions v using (version_id) join packages p using (package_id)
     where q.version_id = g.version_id and q.target_id = g.target_id and q.lease is null
       and not exists (select from fences where task = 'slave-driver' and revision > $5)
     returning q.version_id, q.target_id, q.lease, q.attempt, p.package, v.version, v.sdist_url, v.sdist_sha256`,
    [
      assignments.map((assignment) => assignment.versionId),
      assignments.map((assignment) => assignment.targetId),
      assignments.map((assignment) => assignment.slaveId),
      assignments.map((assignment) => assignment.leaseS),
      revision,
    ],
  );
  if (rows.length === 0) await assertNotFenced(database, 'slave-driver', revision);
  return rows.map((row) => ({
    versionId: row.version_id,
    targetId: row.target_id,
    lease: row.lease,
    attempt: row.attempt,
    package: row.package,
    version: row.version,
    sdistUrl: row.sdist_url,
    sdistSha256: row.sdist_sha256,
  }));
}

/** Extends these leases to `leaseS` seconds from now. Returns those that their slave no longer holds. */
export async function renewLeases(
  db: Queryable,
  leases: readonly HeldLease[],
  leaseS: number,
): Promise<readonly number[]> {
  const rows = await db.query<{ lease: number }>(
    `update queue q set leased_until = clock_timestamp() + $3 * interval '1 second'
     from unnest($1::bigint[], $2::bigint[]) as h (lease, slave)
     where q.lease = h.lease and q.slave_id = h.slave
     returning q.lease`,
    [...leaseColumns(leases), leaseS],
  );
  const renewed = new Set(rows.map(({ lease }) => lease));
  return leases.map(([lease]) => lease).filter((lease) => !renewed.has(lease));
}

/**
 * Returns builds to the queue, without counting them as attempts; leases that their slave doesn't hold are ignored. The
 * builds can be leased again at once or, if `holdS` is above 0, after that many seconds, during which no slave holds
 * them.
 */
export async function releaseLeases(db: Queryable, leases: readonly HeldLease[], holdS = 0): Promise<void> {
  await db.query(
    `update queue q set slave_id = null, attempt = greatest(attempt - 1, 0),
       lease = case when $3 > 0 then nextval('leases') end,
       leased_until = case when $3 > 0 then clock_timestamp() + $3 * interval '1 second' end
     from unnest($1::bigint[], $2::bigint[]) as h (lease, slave)
     where q.lease = h.lease and q.slave_id = h.slave`,
    [...leaseColumns(leases), holdS],
  );
}

/**
 * Returns builds whose lease has expired to the queue, and the number of leases that slaves have lost. A build whose
 * hold has ended is not counted.
 */
export async function requeueExpired(db: Queryable): Promise<number> {
  const [row] = await db.query<{ lost: number }>(
    `with over as (
       select version_id, target_id, slave_id from queue
       where lease is not null and leased_until < clock_timestamp() for update skip locked
     ), back as (
       update queue q set lease = null, slave_id = null, leased_until = null
       from over o where q.version_id = o.version_id and q.target_id = o.target_id
     )
     select count(slave_id) as lost from over`,
  );
  return row?.lost ?? 0;
}

/** Returns the time of the database's clock, milliseconds since 1970. */
export async function databaseTime(db: Queryable): Promise<number> {
  const [row] = await db.query<{ now: number }>(
    'select (extract(epoch from clock_timestamp()) * 1000)::float8 as now',
  );
  return row?.now ?? 0;
}

/**
 * Shifts the ends of leases after the database's clock was set forward by `ms` milliseconds, or back if `ms` is
 * negative. Shifts only leases that can't have been granted since: those that have already expired if the clock went
 * forward, and those that last longer than any lease (1 hour) if it went back.
 */
export async function shiftLeases(db: Queryable, ms: number): Promise<void> {
  await db.query(
    `update queue set leased_until = leased_until + $1::float8 * interval '1 millisecond'
     where lease is not null and slave_id is not null and case when $1::float8 > 0 then leased_until < clock_timestamp()
       else leased_until > clock_timestamp() + interval '1 hour' end`,
    [ms],
  );
}

/** Releases builds of these versions (default: of all) that are held back after transient failures. */
export async function releaseHolds(
  db: Queryable,
  versionIds: readonly number[] | null = null,
): Promise<void> {
  await db.query(
    `update queue set lease = null, leased_until = null
     where lease is not null and slave_id is null and ($1::bigint[] is null or version_id = any ($1))`,
    [versionIds],
  );
}

/** Returns the build of a slave's lease; undefined if the lease has ended or another slave holds it. */
export async function findLease(
  db: Queryable,
  lease: number,
  slaveId: number,
): Promise<{ package: string; version: string; abi: string; platform: string } | undefined> {
  const [row] = await db.query<{ package: string; version: string; abi: string; platform: string }>(
    `select p.package, v.version, t.abi, t.platform
     from queue q join versions v using (version_id) join packages p on p.package_id = v.package_id
       join targets t using (target_id)
     where q.lease = $1 and q.slave_id = $2`,
    [lease, slaveId],
  );
  return row;
}

function leaseColumns(leases: readonly HeldLease[]): [number[], number[]] {
  return [leases.map(([lease]) => lease), leases.map(([, slave]) => slave)];
}
