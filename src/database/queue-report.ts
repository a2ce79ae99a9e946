import type { RequeueReason } from '../protocols/retry.js';
import type { QueuedVersion } from '../model/queue.js';
import type { TARGET_STATES } from '../model/target.js';
import type { Queryable, SqlRow } from './pool.js';

/** The highest position that is counted. Counting that far takes 30 ms per target, even in a queue of millions. */
const MAX_POSITION = 50_000;

/** Whether the newest or the oldest releases of a priority are built first; see nextPendingBuilds in queue.ts. */
export type QueueOrder = 'newest' | 'oldest';

interface BuildStateRow extends SqlRow {
  readonly version_id: number;
  readonly target_id: number;
  readonly version: string;
  readonly abi: string;
  readonly platform: string;
  readonly state: (typeof TARGET_STATES)[number];
  readonly priority: number | null;
  readonly slave: string | null;
  readonly filename: string | null;
  readonly build_id: number | null;
  readonly failure_class: string | null;
  /** Why the newest build failed, in a sentence. */
  readonly reason: string | null;
  /** Why the newest build no longer counts; null: it counts. */
  readonly requeue_reason: RequeueReason | null;
  /** Why the version is not built on any target; null: it may be built. */
  readonly barred: string | null;
  readonly admitted: boolean;
  readonly requires_python: string | null;
  readonly filled: boolean;
  readonly target_skip: string | null;
  /** Milliseconds since 1970. */
  readonly held_until: number | null;
}

/**
 * Returns the state of each version of a package on each target, and why, newest version first. Empty if there is no
 * such package.
 */
export async function packageQueue(
  db: Queryable,
  name: string,
  backlogOrder: QueueOrder,
): Promise<QueuedVersion[]> {
  const rows = await db.query<BuildStateRow>(
    `select s.version_id, s.target_id, v.version, s.abi, s.platform, s.state, s.priority,
       l.label as slave, s.filename, s.build_id, s.failure_class, s.reason, s.requeue_reason,
       case when v.skip is not null then 'skipped because ' || v.skip
         when p.skip is not null then 'the package is skipped because ' || p.skip
         when p.removed_at is not null or v.removed_at is not null then 'removed from the index'
         when p.status = 'quarantined' or v.quarantined then 'quarantined'
         when v.yanked is not null then 'yanked' || case when v.yanked = '' then '' else ' because ' || v.yanked end
         when not v.has_sdist then 'no source distribution' end as barred,
       v.specifier_id is null or exists (
         select from specifier_admits a where a.specifier_id = v.specifier_id and a.target_id = s.target_id) as admitted,
       r.specifier as requires_python, v.version_id >= t.filled_from as filled, t.skip as target_skip,
       floor(extract(epoch from s.held_until) * 1000)::float8 as held_until
     from packages p join build_states s using (package_id) join versions v using (version_id) join targets t using (target_id)
     left join specifiers r using (specifier_id) left join slaves l using (slave_id)
     where p.package = $1 order by v.sort_key desc, v.version desc, s.rank, s.platform`,
    [name],
  );
  const positions = await findPositions(db, rows, backlogOrder);
  // For each version and platform, the lowest queued ABI so far: the other ABIs wait for it.
  const lowestQueuedAbi = new Map<string, string>();
  return rows.map((row) => {
    const { version, abi, platform, state } = row;
    const versionKey = `${row.version_id} ${platform}`;
    const earlierAbi = lowestQueuedAbi.get(versionKey);
    if (row.priority !== null && earlierAbi === undefined) lowestQueuedAbi.set(versionKey, abi);
    const position = positions.get(row) ?? null;
    return [version, abi, platform, state, position, describeState(row, position, earlierAbi)];
  });
}

function describeState(row: BuildStateRow, position: number | null, earlierAbi: string | undefined): string {
  const { filename, slave, failure_class, build_id, barred } = row;
  switch (row.state) {
    case 'built':
      return build_id === null ? `served by ${filename ?? ''}` : (filename ?? '');
    case 'building':
      return `on slave ${slave ?? ''}`;
    case 'waiting':
      if (row.held_until !== null) {
        return `retry at ${new Date(row.held_until).toISOString().slice(0, 16).replace('T', ' ')} UTC${failure_class === null ? '' : ` after ${describeFailure(row)}`}`;
      }
      return [describeRequeue(row), position === null ? TOO_FAR_BACK : '']
        .filter((text) => text !== '')
        .join('; ');
    case 'failed':
      return describeFailure(row);
    case 'none':
      if (barred !== null) return barred;
      if (!row.admitted) return `requires Python ${row.requires_python ?? ''}`;
      if (row.target_skip !== null) return `the target is skipped because ${row.target_skip}`;
      if (!row.filled) return 'the target is new, and this version has not been queued yet';
      if (earlierAbi !== undefined) return `waits for ${earlierAbi}, whose wheel may serve this ABI too`;
      return 'not due';
  }
}

const describeFailure = ({ failure_class, build_id, reason }: BuildStateRow): string =>
  `${failure_class ?? 'other'}, build ${String(build_id)}${reason === null ? '' : `: ${reason}`}`;

/** Returns why a version that has failed waits again. */
function describeRequeue(row: BuildStateRow): string {
  if (row.requeue_reason === null) return '';
  return row.requeue_reason === 'retry'
    ? `requeued after ${describeFailure(row)}`
    : `another slave must confirm ${describeFailure(row)}`;
}

const TOO_FAR_BACK = `more than ${MAX_POSITION.toLocaleString('en')} builds are ahead of it`;

/**
 * Returns the positions in the queue, from 1, of the rows that wait. Reads the front of the queue once per target and
 * priority, in the order of the index queue_next, in which builds are leased. A row that is not found there is further
 * back than MAX_POSITION.
 */
async function findPositions(
  db: Queryable,
  rows: readonly BuildStateRow[],
  backlogOrder: QueueOrder,
): Promise<ReadonlyMap<BuildStateRow, number>> {
  const orderBy =
    backlogOrder === 'newest'
      ? 'released desc nulls last, version_id desc'
      : 'released asc nulls first, version_id asc';
  const positions = new Map<BuildStateRow, number>();
  const waitingGroups = groupByTargetAndPriority(
    rows.filter(({ state, held_until }) => state === 'waiting' && held_until === null),
  );
  const locateGroup = async (group: QueueGroup): Promise<void> => {
    const [{ target_id, priority }] = group;
    const positionRows = await db.query<{ version_id: number; place: number }>(
      `select version_id, place + (
         select count(*) from (
           select from queue where target_id = $1 and lease is null and priority > $2
           order by priority desc limit ${MAX_POSITION}) above) as place
       from (
         select version_id, row_number() over (order by ${orderBy}) as place from queue
         where target_id = $1 and lease is null and priority = $2
         order by ${orderBy} limit ${MAX_POSITION}) front
       where version_id = any ($3)`,
      [target_id, priority, group.map((row) => row.version_id)],
    );
    const positionByVersionId = new Map(positionRows.map((row) => [row.version_id, row.place]));
    for (const row of group) {
      const position = positionByVersionId.get(row.version_id);
      if (position !== undefined && position <= MAX_POSITION) positions.set(row, position);
    }
  };
  await Promise.all(waitingGroups.map(locateGroup));
  return positions;
}

type QueueGroup = [BuildStateRow, ...BuildStateRow[]];

/** Groups rows by target and priority. */
function groupByTargetAndPriority(rows: readonly BuildStateRow[]): readonly QueueGroup[] {
  const groupsByKey = new Map<string, QueueGroup>();
  for (const row of rows) {
    const key = `${row.target_id} ${String(row.priority)}`;
    const group = groupsByKey.get(key);
    if (group) group.push(row);
    else groupsByKey.set(key, [row]);
  }
  return [...groupsByKey.values()];
}
