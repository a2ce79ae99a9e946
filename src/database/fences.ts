import { PiwError } from '../errors.js';
import type { Database, Queryable } from './pool.js';

/** The newest revision of each task that this process has written: an equal one needs no write. */
const writtenRevisions = new Map<string, number>();

/**
 * Raises PIW_FENCED when a newer revision of this task's lease has been seen than `revision`: the
 * sender was replaced, and doesn't know it yet. Call it in the transaction that it guards.
 */
export async function fence(db: Queryable, task: string, revision: number): Promise<void> {
  const rows = await db.query(
    `insert into fences (task, revision) values ($1, $2)
     on conflict (task) do update set revision = excluded.revision where fences.revision <= excluded.revision
     returning 1`,
    [task, revision],
  );
  if (rows.length === 0)
    throw new PiwError('PIW_FENCED', `${task}: a newer process than this one holds the lease`);
}

/**
 * The same for a statement that asks itself whether a newer one is known: written once a revision, and on
 * the disk then, however relaxed the database is.
 */
export async function raiseFence(database: Database, task: string, revision: number): Promise<void> {
  if ((writtenRevisions.get(task) ?? -1) >= revision) return;
  await database.transaction(async (db) => {
    await db.query('set local synchronous_commit = on');
    await fence(db, task, revision);
  });
  writtenRevisions.set(task, revision);
}
