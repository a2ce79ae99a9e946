import { covers, parseTarget, pythonVersionOf, targetRank, type WheelTags } from '../wheels/tags.js';
import { admits } from '../wheels/versions.js';
import type { RegisteredTarget, Target } from '../model/target.js';
import type { Database, Queryable, SqlRow } from './pool.js';
import { notifyQueue, requeue } from './queue.js';

/**
 * Advisory lock on the set of targets. A transaction that creates a target holds it exclusively for a moment;
 * lock_versions() in sql/ and transactions that create a tag or a specifier share it. So none misses the other: whoever
 * comes second relates the new row to all existing ones. A transaction that takes the lock while it has locked a
 * target's row has locked that row `for no key update`, so that sharers of the lock can still reference the target.
 */
const TARGETS_LOCK = 7_367_033;
/** Advisory lock that is taken first when a target is created: of two that create the same one, the second sees it. */
const TARGET_CREATION_LOCK = 0x706978;
/** Versions per slice. */
const SLICE_VERSIONS = 1000;
/** Slices that are processed at once when a target is changed: enough for all of a small farm. */
const INITIAL_SLICES = 3;
/** The value of `filled_from` for a target that is not queued for any version. */
const NO_VERSIONS = '9223372036854775807';

/** Prevents new targets until the transaction ends. */
async function shareTargetsLock(db: Queryable): Promise<void> {
  await db.query('select pg_advisory_xact_lock_shared($1)', [TARGETS_LOCK]);
}

interface TargetRow {
  readonly [column: string]: unknown;
  readonly target_id: number;
  readonly abi: string;
  readonly platform: string;
}

async function allTargets(db: Queryable): Promise<readonly TargetRow[]> {
  return await db.query<TargetRow>('select target_id, abi, platform from targets');
}

/** Returns all targets, lowest ABI first, each with the progress of filling the queue for it, or emptying it. */
export async function listTargets(db: Queryable): Promise<readonly RegisteredTarget[]> {
  return await db.query<RegisteredTarget & SqlRow>(
    `select abi, platform, py_version_tag, skip,
       case when leaving then 'leaving'
         when skip is null then case when filled_from = 0 then 'active' else 'filling' end
         when filled_from = ${NO_VERSIONS} then 'skipped' else 'emptying' end as phase,
       case when skip is null then 1 - through else through end as done
     from (
       select *, least(greatest(filled_from - 1, 0), newest)::float8 / newest as through
       from targets, (select greatest(max(version_id), 1) as newest from versions) v) t
     order by rank, platform`,
  );
}

/**
 * Registers a target, or updates one: builds are queued for it from now on or, with a reason in `skip`, no longer. The
 * queue is updated in slices: the first `slices` here, the rest by fillSlice.
 */
export async function addTarget(
  database: Database,
  { abi, platform, py_version_tag, skip }: Target,
  slices = INITIAL_SLICES,
): Promise<void> {
  const parsed = parseTarget(abi, platform);
  await database.transaction(async (db) => {
    await db.query('select pg_advisory_xact_lock($1)', [TARGET_CREATION_LOCK]);
    const [existing] = await db.query<{ target_id: number }>(
      'select target_id from targets where abi = $1 and platform = $2 for no key update',
      [abi, platform],
    );
    // Exclusively for a moment: all versions with ids below the target's `filled_from` are committed, and whoever adds
    // more sees the target.
    await db.query('select pg_advisory_xact_lock($1)', [TARGETS_LOCK]);
    if (existing) {
      await db.query(
        `update targets set skip = $2, leaving = false,
           filled_from = case when $2::text is null and filled_from = ${NO_VERSIONS}
             then (select coalesce(max(version_id), 0) + 1 from versions) else filled_from end
         where target_id = $1`,
        [existing.target_id, skip],
      );
      return;
    }
    const [row] = await db.query<{ target_id: number }>(
      `insert into targets (abi, platform, py_version_tag, rank, skip, filled_from)
       select $1, $2, $3, $4, $5, case when $5::text is null then coalesce(max(version_id), 0) + 1 else ${NO_VERSIONS} end
       from versions returning target_id`,
      [abi, platform, py_version_tag, targetRank(parsed), skip],
    );
    const targetId = row?.target_id ?? 0;
    const specifiers = await db.query<{ specifier_id: number; specifier: string }>(
      'select specifier_id, specifier from specifiers',
    );
    const tags = await db.query<WheelTags & SqlRow & { readonly tag_id: number }>('select * from tags');
    const admitting = specifiers.filter(({ specifier }) => admits(specifier, pythonVersionOf(parsed)));
    const covering = tags.filter((tag) => covers(tag, parsed));
    await db.query('insert into specifier_admits select unnest($1::int[]), $2', [
      admitting.map((s) => s.specifier_id),
      targetId,
    ]);
    await db.query('insert into tag_covers select unnest($1::int[]), $2', [
      covering.map((t) => t.tag_id),
      targetId,
    ]);
  });
  await fillSlices(database, slices);
}

/** Removes a target and its builds, also in slices. Its files stay, because they may serve other targets. */
export async function removeTarget(
  database: Database,
  abi: string,
  platform: string,
  slices = INITIAL_SLICES,
): Promise<void> {
  await database.query(
    `update targets set skip = 'it is being removed', leaving = true where abi = $1 and platform = $2`,
    [abi, platform],
  );
  await fillSlices(database, slices);
}

async function fillSlices(database: Database, slices: number): Promise<void> {
  for (let slice = 0; slice < slices; slice += 1) if (!(await fillSlice(database))) return;
}

/**
 * Queues `size` more versions for a target that was added, or dequeues them for one that was skipped or is being
 * removed. Returns false if no target has anything left to do. Locks only the versions of its slice: transactions that
 * add versions share TARGETS_LOCK from before they assign ids, so all versions below a target's `filled_from` are
 * committed.
 */
export async function fillSlice(database: Database, size = SLICE_VERSIONS): Promise<boolean> {
  return await database.transaction(async (db) => {
    const [target] = await db.query<{
      target_id: number;
      skip: string | null;
      /** It is being removed, and nothing is queued for it any more. */
      drained: boolean;
    }>(
      `select target_id, skip, leaving and filled_from = ${NO_VERSIONS} as drained from targets
       where (skip is null and filled_from > 0) or (skip is not null and filled_from < ${NO_VERSIONS}) or leaving
       order by skip is null, target_id limit 1 for no key update skip locked`,
    );
    if (!target) return false;
    if (target.drained) await deleteTargetBuilds(db, target.target_id, size);
    else await (target.skip === null ? fillTarget : drainTarget)(db, target.target_id, size);
    return true;
  });
}

async function fillTarget(db: Queryable, targetId: number, size: number): Promise<void> {
  const versions = await db.query<{ version_id: number }>(
    `select version_id from versions where version_id < (select filled_from from targets where target_id = $1)
     order by version_id desc limit ${size}`,
    [targetId],
  );
  const first = versions.length < size ? 0 : (versions.at(-1)?.version_id ?? 0);
  await db.query('update targets set filled_from = $2 where target_id = $1', [targetId, first]);
  await requeue(
    db,
    versions.map(({ version_id }) => version_id),
  );
  await notifyQueue(db);
}

async function drainTarget(db: Queryable, targetId: number, size: number): Promise<void> {
  const selectVersions = async () =>
    await db.query<{ version_id: number }>(
      `select version_id from versions where version_id >= (select filled_from from targets where target_id = $1)
       order by version_id limit ${size}`,
      [targetId],
    );
  let versions = await selectVersions();
  if (versions.length < size) {
    // The last slice: exclusively, because no version may be added between this query and the update.
    await db.query('select pg_advisory_xact_lock($1)', [TARGETS_LOCK]);
    versions = await selectVersions();
  }
  const next = versions.length < size ? NO_VERSIONS : String((versions.at(-1)?.version_id ?? 0) + 1);
  await db.query('update targets set filled_from = $2::bigint where target_id = $1', [targetId, next]);
  await requeue(
    db,
    versions.map(({ version_id }) => version_id),
  );
}

/** Deletes up to `size` builds of a target for which nothing is queued any more; deletes the target after the last. */
async function deleteTargetBuilds(db: Queryable, targetId: number, size: number): Promise<void> {
  const deleted = await db.query<{ version_id: number }>(
    `delete from builds where build_id in (select build_id from builds where target_id = $1 limit ${size})
     returning version_id`,
    [targetId],
  );
  if (deleted.length > 0) return;
  await db.query('delete from queue where target_id = $1', [targetId]);
  await db.query('delete from targets where target_id = $1', [targetId]);
}

/** Returns the ids of these requires-python specifiers. Evaluates new ones for every target. */
export async function ensureSpecifierIds(
  db: Queryable,
  specifiers: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  // Sorted, so that two transactions that create the same specifiers never deadlock.
  const wanted = [...new Set(specifiers)].sort();
  const find = async () =>
    new Map(
      (
        await db.query<{ specifier: string; specifier_id: number }>(
          'select specifier, specifier_id from specifiers where specifier = any ($1)',
          [wanted],
        )
      ).map((row) => [row.specifier, row.specifier_id] as const),
    );
  if (wanted.length === 0) return new Map();
  const existing = await find();
  if (existing.size === wanted.length) return existing;
  await shareTargetsLock(db);
  const targetRows = await allTargets(db);
  for (const specifier of wanted.filter((name) => !existing.has(name))) {
    const [row] = await db.query<{ specifier_id: number }>(
      'insert into specifiers (specifier) values ($1) on conflict do nothing returning specifier_id',
      [specifier],
    );
    if (!row) continue;
    const admitted = targetRows.filter(({ abi, platform }) =>
      admits(specifier, pythonVersionOf(parseTarget(abi, platform))),
    );
    await db.query('insert into specifier_admits select $1, unnest($2::int[])', [
      row.specifier_id,
      admitted.map((t) => t.target_id),
    ]);
  }
  return await find();
}

/** Returns the id of a wheel's tags and reach. Evaluates new ones for every target. */
export async function ensureTagId(db: Queryable, tag: WheelTags): Promise<number> {
  const find = async () =>
    (
      await db.query<{ tag_id: number }>(
        'select tag_id from tags where py = $1 and abi = $2 and platform = $3 and reach = $4',
        [tag.py, tag.abi, tag.platform, tag.reach],
      )
    )[0]?.tag_id;
  const existing = await find();
  if (existing !== undefined) return existing;
  await shareTargetsLock(db);
  const [row] = await db.query<{ tag_id: number }>(
    'insert into tags (py, abi, platform, reach) values ($1, $2, $3, $4) on conflict do nothing returning tag_id',
    [tag.py, tag.abi, tag.platform, tag.reach],
  );
  if (!row) return (await find()) ?? 0;
  const covered = (await allTargets(db)).filter(({ abi, platform }) =>
    covers(tag, parseTarget(abi, platform)),
  );
  await db.query('insert into tag_covers select $1, unnest($2::int[])', [
    row.tag_id,
    covered.map((t) => t.target_id),
  ]);
  return row.tag_id;
}
