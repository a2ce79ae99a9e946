import { fence, raiseFence } from './fences.js';
import type { Database, Queryable } from './pool.js';

/** A build that the Architect has taken ahead of need. */
export interface Taken {
  readonly lease: number;
  readonly attempt: number;
  readonly priority: number;
  readonly package: string;
  readonly version: string;
  readonly sdistUrl: string | null;
  readonly sdistSha256: string | null;
}

/** A lease and the slave whose it is; null: the Architect's own. */
export type Held = readonly [lease: number, slave: number | null];

/** Makes the queue's rows of these versions right; in the transaction that changed what they depend on. */
export async function requeue(db: Queryable, versions: readonly number[]): Promise<void> {
  if (versions.length > 0) await db.query('select requeue($1)', [versions]);
}

/** The same for versions that this transaction holds already. */
export async function refill(db: Queryable, versions: readonly number[]): Promise<void> {
  if (versions.length > 0) await db.query('select refill($1)', [versions]);
}

/** Says that there is something new to build. Only a hint; NOTIFY would serialise many small writers. */
export async function hint(db: Queryable): Promise<void> {
  await db.query('notify piw_queue');
}

export interface Order {
  readonly abi: string;
  readonly platform: string;
  /** How many of each priority. */
  readonly counts: readonly (readonly [priority: number, count: number])[];
  /** Of how long a lease, seconds. */
  readonly holdS: number;
  /** Which come first within a priority, by their release. */
  readonly first: 'newest' | 'oldest';
}

/** No package gets more than this share of what is taken at once, while others wait. */
const SHARE = 1 / 8;
/** How many rows are looked through for each that is wanted: at first, and when few packages crowd the front. */
const DEPTHS = [4, 64];

/**
 * Takes builds for a target on a lease of the Architect's own: of each priority as many as are wanted, in the
 * order of release, but no package more than its share as long as there are others.
 */
export async function takeAhead(db: Queryable, order: Order): Promise<readonly Taken[]> {
  const taken: Taken[] = [];
  for (const [priority, count] of order.counts) {
    let missing = count;
    const passes = [
      ...DEPTHS.map((depth) => [depth, Math.ceil(count * SHARE)] as const),
      [1, count] as const,
    ];
    for (const [depth, share] of passes) {
      if (missing <= 0) break;
      const rows = await take(db, order, {
        priority,
        count: missing,
        depth: Math.max(count * depth, 50),
        share,
      });
      taken.push(...rows);
      missing -= rows.length;
    }
  }
  return taken;
}

async function take(
  db: Queryable,
  { abi, platform, holdS, first }: Order,
  { priority, count, depth, share }: { priority: number; count: number; depth: number; share: number },
): Promise<readonly Taken[]> {
  const by =
    first === 'newest'
      ? 'released desc nulls last, version_id desc'
      : 'released asc nulls first, version_id asc';
  const rows = await db.query<{
    lease: number;
    attempt: number;
    priority: number;
    package: string;
    version: string;
    sdist_url: string | null;
    sdist_sha256: string | null;
  }>(
    `with front as (
       select version_id, target_id, of_package, released, row_number() over () as place from (
         select version_id, target_id, of_package, released from queue
         where target_id = (select target_id from targets where abi = $1 and platform = $2 and skip is null)
           and priority = $3 and lease is null
         order by ${by} limit $5) rows
     ), chosen as (
       select version_id, target_id, place from (
         select version_id, target_id, place, row_number() over (partition by of_package order by place) as turn
         from front) turns
       where turn <= $6 order by place limit $4
     ), held as (
       select q.version_id, q.target_id, c.place from queue q join chosen c using (version_id, target_id)
       where q.lease is null for update of q skip locked
     ), taken as (
       update queue q
       set lease = nextval('leases'), slave_id = null, attempt = attempt + 1,
         leased_until = clock_timestamp() + $7 * interval '1 second'
       from held h where q.version_id = h.version_id and q.target_id = h.target_id
       returning q.version_id, q.lease, q.attempt, q.priority, h.place
     )
     select t.lease, t.attempt, t.priority, p.package, v.version, v.sdist_url, v.sdist_sha256
     from taken t join versions v using (version_id) join packages p using (package_id)
     order by t.place`,
    [abi, platform, priority, count, depth, share, holdS],
  );
  return rows.map(({ sdist_url, sdist_sha256, ...row }) => ({
    ...row,
    sdistUrl: sdist_url,
    sdistSha256: sdist_sha256,
  }));
}

/**
 * Makes leases that were taken ahead those of slaves, and gives the ones for which that was still
 * possible. `revision` is that of the Slave Driver's lease; an older one is PIW_FENCED.
 */
export async function grant(
  database: Database,
  grants: readonly { readonly lease: number; readonly slaveId: number; readonly leaseS: number }[],
  revision: number,
): Promise<readonly number[]> {
  await raiseFence(database, 'slave-driver', revision);
  const rows = await database.query<{ lease: number }>(
    `update queue q
     set slave_id = g.slave, leased_until = clock_timestamp() + g.seconds * interval '1 second'
     from unnest($1::bigint[], $2::bigint[], $3::float8[]) as g (lease, slave, seconds)
     where q.lease = g.lease and q.slave_id is null
       and not exists (select from fences where task = 'slave-driver' and revision > $4)
     returning q.lease`,
    [grants.map((g) => g.lease), grants.map((g) => g.slaveId), grants.map((g) => g.leaseS), revision],
  );
  if (rows.length === 0) await fence(database, 'slave-driver', revision);
  return rows.map(({ lease }) => lease);
}

/** Makes these leases end `leaseS` seconds from now; gives those that are not their holder's any more. */
export async function renew(
  db: Queryable,
  leases: readonly Held[],
  leaseS: number,
): Promise<readonly number[]> {
  const rows = await db.query<{ lease: number }>(
    `update queue q set leased_until = clock_timestamp() + $3 * interval '1 second'
     from unnest($1::bigint[], $2::bigint[]) as h (lease, slave)
     where q.lease = h.lease and q.slave_id = h.slave
     returning q.lease`,
    [...held(leases), leaseS],
  );
  const kept = new Set(rows.map(({ lease }) => lease));
  return leases.map(([lease]) => lease).filter((lease) => !kept.has(lease));
}

/** Puts builds back into the queue; whose lease they are not is passed over. It was no attempt. */
export async function release(db: Queryable, leases: readonly Held[]): Promise<void> {
  await db.query(
    `update queue q set lease = null, slave_id = null, leased_until = null, attempt = greatest(attempt - 1, 0)
     from unnest($1::bigint[], $2::bigint[]) as h (lease, slave)
     where q.lease = h.lease and q.slave_id is not distinct from h.slave`,
    held(leases),
  );
}

/** Puts builds back whose lease has run out, and gives their number. */
export async function returnExpired(db: Queryable): Promise<number> {
  const rows = await db.query(
    `update queue set lease = null, slave_id = null, leased_until = null
     where lease is not null and leased_until < clock_timestamp() returning 1`,
  );
  return rows.length;
}

/** What a slave's live lease is about; undefined when it isn't live, or another's. */
export async function leaseOf(
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

/** [abi, platform, builds that wait] of every target. */
export async function lengths(db: Queryable): Promise<[string, string, number][]> {
  const rows = await db.query<{ abi: string; platform: string; waiting: number }>(
    `select t.abi, t.platform, count(q.version_id) filter (where q.lease is null) as waiting
     from targets t left join queue q using (target_id) group by t.target_id order by t.rank, t.platform`,
  );
  return rows.map(({ abi, platform, waiting }) => [abi, platform, waiting]);
}

function held(leases: readonly Held[]): [(number | null)[], (number | null)[]] {
  return [leases.map(([lease]) => lease), leases.map(([, slave]) => slave)];
}
