import { covers, parseTarget, pythonOf, targetRank } from '../wheels/tags.js';
import { admits } from '../wheels/versions.js';
import type { Target } from '../protocols/oracle.js';
import type { Database, Queryable } from './pool.js';
import { hint, requeue } from './queue.js';

/**
 * New targets, new tags and new specifiers take this lock, so that none misses the other: each works
 * out what it means for all of the others that are there.
 */
const RELATIONS_LOCK = 0x706978;
/** Held alone by who changes the targets; requeue() in sql/ shares it. */
const TARGETS_LOCK = 7_367_033;
/** How many versions are queued again in one statement. */
const SLICE = 5000;

async function lockRelations(db: Queryable): Promise<void> {
  await db.query('select pg_advisory_xact_lock($1)', [RELATIONS_LOCK]);
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

export async function targets(db: Queryable): Promise<readonly Target[]> {
  return await db.query<TargetFields>(
    'select abi, platform, py_version_tag, skip from targets order by rank, platform',
  );
}
type TargetFields = Target & Readonly<Record<string, unknown>>;

/** Builds are made for it from now on, or (with a reason in `skip`) not at present. */
export async function addTarget(
  database: Database,
  { abi, platform, py_version_tag, skip }: Target,
): Promise<void> {
  const parsed = parseTarget(abi, platform);
  await database.transaction(async (db) => {
    await lockRelations(db);
    await db.query('select pg_advisory_xact_lock($1)', [TARGETS_LOCK]);
    const [known] = await db.query<{ target_id: number; skip: string | null }>(
      'select target_id, skip from targets where abi = $1 and platform = $2',
      [abi, platform],
    );
    if (known?.skip === skip) return;
    if (known) await db.query('update targets set skip = $2 where target_id = $1', [known.target_id, skip]);
    else {
      const [row] = await db.query<{ target_id: number }>(
        `insert into targets (abi, platform, py_version_tag, rank, skip) values ($1, $2, $3, $4, $5) returning target_id`,
        [abi, platform, py_version_tag, targetRank(parsed), skip],
      );
      const id = row?.target_id ?? 0;
      const specifiers = await db.query<{ specifier_id: number; specifier: string }>(
        'select specifier_id, specifier from specifiers',
      );
      const tags = await db.query<{ tag_id: number; py: string; abi: string; platform: string }>(
        'select * from tags',
      );
      const admitting = specifiers.filter(({ specifier }) => admits(specifier, pythonOf(parsed)));
      const covering = tags.filter((tag) => covers(tag, parsed));
      await db.query('insert into specifier_admits select unnest($1::int[]), $2', [
        admitting.map((s) => s.specifier_id),
        id,
      ]);
      await db.query('insert into tag_covers select unnest($1::int[]), $2', [
        covering.map((t) => t.tag_id),
        id,
      ]);
    }
    await requeueAll(db);
    await hint(db);
  });
}

/** Forgets a target, with its builds. Files stay: others may use them. */
export async function removeTarget(database: Database, abi: string, platform: string): Promise<void> {
  await database.transaction(async (db) => {
    await lockRelations(db);
    await db.query('select pg_advisory_xact_lock($1)', [TARGETS_LOCK]);
    await db.query('delete from targets where abi = $1 and platform = $2', [abi, platform]);
    await requeueAll(db);
  });
}

async function requeueAll(db: Queryable): Promise<void> {
  for (let after = 0; ;) {
    const rows = await db.query<{ version_id: number }>(
      'select version_id from versions where version_id > $1 order by version_id limit $2',
      [after, SLICE],
    );
    await requeue(
      db,
      rows.map(({ version_id }) => version_id),
    );
    const last = rows.at(-1);
    if (!last || rows.length < SLICE) return;
    after = last.version_id;
  }
}

/** The ids of these requires-python strings, by string; new ones are worked out for every target. */
export async function specifierIds(
  db: Queryable,
  specifiers: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const wanted = [...new Set(specifiers)];
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
  const known = await find();
  if (known.size === wanted.length) return known;
  await lockRelations(db);
  const there = await allTargets(db);
  for (const specifier of wanted.filter((one) => !known.has(one))) {
    const [row] = await db.query<{ specifier_id: number }>(
      'insert into specifiers (specifier) values ($1) on conflict do nothing returning specifier_id',
      [specifier],
    );
    if (!row) continue;
    const admitted = there.filter(({ abi, platform }) =>
      admits(specifier, pythonOf(parseTarget(abi, platform))),
    );
    await db.query('insert into specifier_admits select $1, unnest($2::int[])', [
      row.specifier_id,
      admitted.map((t) => t.target_id),
    ]);
  }
  return await find();
}

/** The id of a wheel's tags; new ones are worked out for every target. */
export async function tagId(
  db: Queryable,
  tag: { py: string; abi: string; platform: string },
): Promise<number> {
  const find = async () =>
    (
      await db.query<{ tag_id: number }>(
        'select tag_id from tags where py = $1 and abi = $2 and platform = $3',
        [tag.py, tag.abi, tag.platform],
      )
    )[0]?.tag_id;
  const known = await find();
  if (known !== undefined) return known;
  await lockRelations(db);
  const [row] = await db.query<{ tag_id: number }>(
    'insert into tags (py, abi, platform) values ($1, $2, $3) on conflict do nothing returning tag_id',
    [tag.py, tag.abi, tag.platform],
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
