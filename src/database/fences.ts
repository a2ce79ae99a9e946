import { PiwError } from '../errors.js';
import type { Database, Queryable } from './pool.js';

/** The newest revision of each task that this process has written; the same or an older one needs no write. */
const writtenRevisions = new Map<string, number>();

/**
 * Throws PIW_FENCED if a newer revision of this task's lease than `revision` has been seen: the sender has been
 * replaced, and doesn't know it yet. Call it in the transaction that it guards.
 */
export async function assertNotFenced(db: Queryable, task: string, revision: number): Promise<void> {
  const rows = await db.query(
    `insert into fences (task, revision) values ($1, $2)
     on conflict (task) do update set revision = excluded.revision where fences.revision <= excluded.revision
     returning 1`,
    [task, revision],
  );
  if (rows.length === 0) throw new PiwError('PIW_FENCED', `${task}: a newer process holds the lease`);
}

/**
 * Records a revision for statements that check by themselves whether a newer one has been seen. Writes once per
 * revision, and waits until it is on disk even on a `relaxed` connection. Throws PIW_FENCED like assertNotFenced().
 */
export async function recordFence(database: Database, task: string, revision: number): Promise<void> {
  if ((writtenRevisions.get(task) ?? -1) >= revision) return;
  await database.transaction(async (db) => {
    await db.query('set local synchronous_commit = on');
    await assertNotFenced(db, task, revision);
  });
  writtenRevisions.set(task, revision);
}
