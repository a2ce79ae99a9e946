import type { SetAside, SlaveOutcome, SlaveReview } from '../protocols/slave-health.js';
import type { Database, Queryable, SqlRow } from './pool.js';
import { requeueFailures } from './retries.js';

/** Failures of one slave that one transaction requeues at most. */
const BATCH_SIZE = 500;
/** The newest builds by which the health of slaves is judged: how many, and how old at most. */
const OUTCOME_SAMPLE = { builds: 3000, age: '1 day' };
/** How long the failures of a set-aside slave are reviewed after it has left. */
const REVIEW_PERIOD = '7 days';

/**
 * Sets a slave aside. Its failures since `since` (milliseconds since 1970), and earlier ones back to its last success
 * (but at most seven days), count only once another slave has confirmed them; reviewSlaves() requeues them.
 */
export async function setAside(
  database: Database,
  { slave_id, reason, since }: { readonly slave_id: number; readonly reason: string; readonly since: number },
): Promise<void> {
  await database.query(
    `update slaves set set_aside = coalesce(set_aside, now()), set_aside_reason = $2,
       suspect_after = least(suspect_after, (
         select coalesce(max(build_id) filter (where slave_id = $1 and status), min(build_id) - 1, 0) from builds
         where built_at < to_timestamp($3::float8 / 1000)
           and built_at > to_timestamp($3::float8 / 1000) - interval '7 days'))
     where slave_id = $1`,
    [slave_id, reason, since],
  );
}

/** Readmits a slave that was set aside, with its earlier sessions. Builds that were requeued stay in the queue. */
export async function clearSetAside(database: Database, slaveId: number): Promise<void> {
  await database.query(
    `update slaves s set set_aside = null, set_aside_reason = null, suspect_after = null
     from slaves o
     where o.slave_id = $1 and s.set_aside is not null
       and (s.nats_user, s.label, s.abi, s.platform) = (o.nats_user, o.label, o.abi, o.platform)`,
    [slaveId],
  );
}

/**
 * Returns the session for which a slave is set aside: this one or, if `isNew`, an earlier one of the same slave; null
 * if it is not set aside.
 */
export async function findSetAside(db: Queryable, slaveId: number, isNew: boolean): Promise<SetAside | null> {
  const [row] = await db.query<SqlRow & { slave_id: number; since: number; reason: string }>(
    `select s.slave_id, floor(extract(epoch from s.set_aside) * 1000)::float8 as since,
       coalesce(s.set_aside_reason, '') as reason
     from slaves o join slaves s on (s.nats_user, s.label, s.abi, s.platform) = (o.nats_user, o.label, o.abi, o.platform)
     where o.slave_id = $1 and s.set_aside is not null and (s.slave_id = $1 or $2)
     order by s.slave_id <> $1, s.slave_id desc limit 1`,
    [slaveId, isNew],
  );
  return row ? [row.slave_id, row.since, row.reason] : null;
}

/** Returns the outcomes of the newest builds, by which slaves are compared, in the order in which the builds ended. */
export async function recentOutcomes(db: Queryable): Promise<SlaveOutcome[]> {
  const rows = await db.query<{
    slave_id: number;
    abi: string;
    platform: string;
    package: string;
    failure_class: string | null;
    failed: boolean;
    ended: number;
    duration_s: number;
  }>(
    `select b.slave_id, t.abi, t.platform, p.package, b.failure_class, not b.status as failed,
       floor(extract(epoch from b.built_at) * 1000)::float8 as ended, extract(epoch from b.duration)::float8 as duration_s
     from builds b join slaves s using (slave_id) join targets t using (target_id)
       join versions v using (version_id) join packages p using (package_id)
     where b.build_id > (select coalesce(max(build_id), 0) from builds) - ${OUTCOME_SAMPLE.builds}
       and b.built_at > now() - interval '${OUTCOME_SAMPLE.age}' and not b.transient
       -- Failures that were requeued do not count, unless their slave is still set aside for them.
       and (b.requeue_reason is null or (b.requeue_reason = 'unconfirmed' and s.set_aside is not null))
     order by b.build_id`,
  );
  return rows.map((row): SlaveOutcome => [
    ...([row.slave_id, row.abi, row.platform, row.package, row.failed, row.failure_class] as const),
    ...([row.ended, row.duration_s] as const),
  ]);
}

/**
 * Requeues the failures of slaves that are set aside, of these slaves and of those that were set aside within
 * REVIEW_PERIOD, up to BATCH_SIZE of each slave per call. Returns for each slave how the builds that were requeued
 * before have ended on other slaves. A failure that another slave has confirmed stays final.
 */
export async function reviewSlaves(database: Database, slaveIds: readonly number[]): Promise<SlaveReview[]> {
  const slaves = await database.query<{ slave_id: number }>(
    `select slave_id from slaves
     where set_aside is not null and (slave_id = any ($1) or set_aside > now() - interval '${REVIEW_PERIOD}')
     order by slave_id`,
    [slaveIds],
  );
  const reviews: SlaveReview[] = [];
  for (const { slave_id } of slaves) {
    const count = await requeueUnconfirmed(database, slave_id);
    const { confirmed, refuted } = await countVerdicts(database, slave_id);
    reviews.push([slave_id, count, count >= BATCH_SIZE, confirmed, refuted]);
  }
  return reviews;
}

async function requeueUnconfirmed(database: Database, slaveId: number): Promise<number> {
  return await database.transaction(async (db) => {
    const rows = await db.query<{ build_id: number; version_id: number; target_id: number; package: string }>(
      `select b.build_id, b.version_id, b.target_id, p.package
       from slaves s join builds b on b.slave_id = s.slave_id and b.build_id > s.suspect_after
         join versions v using (version_id) join packages p using (package_id)
       where s.slave_id = $1 and s.set_aside is not null
         and not b.status and not b.transient and b.requeue_reason is null
         and not exists (
           select from builds o
           where o.version_id = b.version_id and o.target_id = b.target_id and o.slave_id <> b.slave_id
             and not o.status and not o.transient and o.requeue_reason is distinct from 'unconfirmed')
       order by b.build_id limit ${BATCH_SIZE}`,
      [slaveId],
    );
    return (await requeueFailures(db, rows, 'unconfirmed')).length;
  });
}

/** Counts how many of this slave's requeued failures other slaves have confirmed, and how many they have built. */
async function countVerdicts(
  db: Queryable,
  slaveId: number,
): Promise<{ readonly confirmed: number; readonly refuted: number }> {
  const [row] = await db.query<{ confirmed: number; refuted: number }>(
    `select count(*) filter (where o.failed and not o.built) as confirmed, count(*) filter (where o.built) as refuted
     from slaves s join builds b on b.slave_id = s.slave_id and b.build_id > s.suspect_after
       cross join lateral (
         select coalesce(bool_or(status), false) as built, coalesce(bool_or(
           not status and not transient and requeue_reason is distinct from 'unconfirmed'), false) as failed
         from builds o
         where o.version_id = b.version_id and o.target_id = b.target_id and o.slave_id <> b.slave_id
           and o.build_id > b.build_id) o
     where s.slave_id = $1 and b.requeue_reason = 'unconfirmed'`,
    [slaveId],
  );
  return row ?? { confirmed: 0, refuted: 0 };
}
