import { fence, raiseFence } from './fences.js';
import type { Database, Queryable } from './pool.js';

/** A build that waits: a version and a target, by their numbers. */
export interface PendingBuild {
  readonly versionId: number;
  readonly targetId: number;
}

/** A build that is a slave's from now on. */
export interface LeasedBuild extends PendingBuild {
  readonly lease: number;
  readonly attempt: number;
  readonly package: string;
  readonly version: string;
  readonly sdistUrl: string | null;
  readonly sdistSha256: string | null;
}

/** A lease and the slave whose it is. */
export type HeldLease = readonly [lease: number, slave: number];

/** Makes the queue's rows of these versions right; in the transaction that changed what they depend on. */
export async function requeue(db: Queryable, versionIds: readonly number[]): Promise<void> {
  if (versionIds.length > 0) await db.query('select requeue($1)', [versionIds]);
}

/** The same for versions that this transaction holds already. */
export async function refill(db: Queryable, versionIds: readonly number[]): Promise<void> {
  if (versionIds.length > 0) await db.query('select refill($1)', [versionIds]);
}

/** Says that there is something new to build. Only a hint; NOTIFY would serialise many small writers. */
export async function notifyQueue(db: Queryable): Promise<void> {
  await db.query('notify piw_queue');
}

export interface QueueQuery {
  readonly abi: string;
  readonly platform: string;
  readonly priority: number;
  readonly count: number;
  /** Which come first, by their release. */
  readonly first: 'newest' | 'oldest';
}

/** No package gets more than this share of what is looked at, while others wait. */
const MAX_PACKAGE_SHARE = 1 / 8;
/** How many rows are looked through for each that is wanted: at first, and when few packages crowd the front. */
const SCAN_DEPTH_FACTORS = [2, 64];
const MIN_SCAN_DEPTH = 64;

/**
 * The builds of a priority that are next for a target: in the order of release, but of each package no more
 * than its share as long as there are others. They are only looked at.
 */
export async function nextPendingBuilds(db: Queryable, order: QueueQuery): Promise<readonly PendingBuild[]> {
  const { count } = order;
  const share = Math.ceil(count * MAX_PACKAGE_SHARE);
  let selected: readonly PendingBuild[] = [];
  // One of a few numbers, which stand in the statement itself: so each is planned once, for what it is.
  const roundDepth = (wanted: number) => Math.max(MIN_SCAN_DEPTH, 2 ** Math.ceil(Math.log2(wanted)));
  for (const depth of SCAN_DEPTH_FACTORS.map((times) => roundDepth(count * times))) {
    const rows = await scanQueue(db, order, depth);
    const countByPackage = new Map<number, number>();
    const withinShare: PendingBuild[] = [];
    const beyondShare: PendingBuild[] = [];
    for (const { version_id: versionId, target_id: targetId, of_package } of rows) {
      const packageCount = (countByPackage.get(of_package) ?? 0) + 1;
      countByPackage.set(of_package, packageCount);
      (packageCount <= share ? withinShare : beyondShare).push({ versionId, targetId });
    }
    selected = [...withinShare, ...beyondShare].slice(0, count);
    if (withinShare.length >= count || rows.length < depth) break;
  }
  return selected;
}

async function scanQueue(
  db: Queryable,
  { abi, platform, priority, first: backlogOrder }: QueueQuery,
  limit: number,
): Promise<readonly { version_id: number; target_id: number; of_package: number }[]> {
  const orderBy =
    backlogOrder === 'newest'
      ? 'released desc nulls last, version_id desc'
      : 'released asc nulls first, version_id asc';
  return await db.query(
    `select version_id, target_id, of_package from queue
     where target_id = (select target_id from targets where abi = $1 and platform = $2 and skip is null)
       and priority = $3 and lease is null
     order by ${orderBy} limit ${String(limit)}`,
    [abi, platform, priority],
  );
}

/** Which build is to be whose, and for how long, seconds. */
export interface BuildAssignment extends PendingBuild {
  readonly slaveId: number;
  readonly leaseS: number;
}

/**
 * Gives builds to slaves; what comes back are those that still waited. `revision` is that of the Slave
 * Driver's lease; an older one is PIW_FENCED.
 */
export async function leaseBuilds(
  database: Database,
  assignments: readonly BuildAssignment[],
  revision: number,
): Promise<readonly LeasedBuild[]> {
  await raiseFence(database, 'slave-driver', revision);
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
      assignments.map((g) => g.versionId),
      assignments.map((g) => g.targetId),
      assignments.map((g) => g.slaveId),
      assignments.map((g) => g.leaseS),
      revision,
    ],
  );
  if (rows.length === 0) await fence(database, 'slave-driver', revision);
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

/** Makes these leases end `leaseS` seconds from now; gives those that are not their holder's any more. */
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
 * Puts builds back into the queue; whose lease they are not is passed over. It was no attempt. They are given
 * out again at once, or when `holdS` seconds are over: until then they are nobody's lease.
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

/** Puts builds back whose lease has run out; gives how many slaves lost one. What was held back is no loss. */
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

/** What time the database has, milliseconds since 1970. */
export async function databaseTime(db: Queryable): Promise<number> {
  const [row] = await db.query<{ now: number }>(
    'select (extract(epoch from clock_timestamp()) * 1000)::float8 as now',
  );
  return row?.now ?? 0;
}

/**
 * Moves the ends of leases with the database's clock, which was set forward by `ms`, or back where that is negative.
 * Only those that can't have been given out since: what has run out by now, or lasts for longer than any lease does.
 */
export async function shiftLeases(db: Queryable, ms: number): Promise<void> {
  await db.query(
    `update queue set leased_until = leased_until + $1::float8 * interval '1 millisecond'
     where lease is not null and slave_id is not null and case when $1::float8 > 0 then leased_until < clock_timestamp()
       else leased_until > clock_timestamp() + interval '1 hour' end`,
    [ms],
  );
}

/** Ends that builds of these versions (left out: of any) are held back after failures that pass. */
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

/** What a slave's live lease is about; undefined when it isn't live, or another's. */
export async function findLease(
  db: Queryable,
  lease: number,
  slaveId: number,
): Promise<{ package: string; version: string; abi: string; platform: string } | undefined> {
  const [row] = await db.query<{ package: string; version: string; abi: string; platform: string }>(
    `select p.package, v.version, t.abi, t.platform
     from queue q join versions v using (version_id) join packages p using (package_id) join targets t using (target_id)
     where q.lease = $1 and q.slave_id = $2`,
    [lease, slaveId],
  );
  return row;
}

function leaseColumns(leases: readonly HeldLease[]): [number[], number[]] {
  return [leases.map(([lease]) => lease), leases.map(([, slave]) => slave)];
}
