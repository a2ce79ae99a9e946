import { fence, raiseFence } from './fences.js';
import type { Database, Queryable } from './pool.js';

/** A build that the Architect has taken ahead of need. */
export interface Taken {
  readonly lease: number;
  readonly attempt: number;
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

/** Says that there is something new to build. Only a hint; NOTIFY would serialise many small writers. */
export async function hint(db: Queryable): Promise<void> {
  await db.query('notify piw_queue');
}

/** Takes up to `count` builds for a target, the most urgent first, on a lease of `holdS` seconds. */
export async function takeAhead(
  db: Queryable,
  { abi, platform, count, holdS }: { abi: string; platform: string; count: number; holdS: number },
): Promise<readonly Taken[]> {
  const rows = await db.query<{
    lease: number;
    attempt: number;
    package: string;
    version: string;
    sdist_url: string | null;
    sdist_sha256: string | null;
  }>(
    `with first as (
       select q.version_id, q.target_id from queue q
       where q.target_id = (select target_id from targets where abi = $1 and platform = $2) and q.lease is null
       order by q.priority desc, q.released desc nulls last, q.version_id desc
       limit $3 for update skip locked
     ), taken as (
       update queue q
       set lease = nextval('leases'), slave_id = null, attempt = attempt + 1,
         leased_until = clock_timestamp() + $4 * interval '1 second'
       from first f where q.version_id = f.version_id and q.target_id = f.target_id
       returning q.version_id, q.lease, q.attempt, q.priority, q.released
     )
     select t.lease, t.attempt, p.package, v.version, v.sdist_url, v.sdist_sha256
     from taken t join versions v using (version_id) join packages p using (package_id)
     order by t.priority desc, t.released desc nulls last, t.version_id desc`,
    [abi, platform, count, holdS],
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
