import { fence } from './fences.js';
import type { Database, Queryable } from './pool.js';

/** Returns the tasks that an administrator has paused; `*` stands for all. */
export async function pausedTasks(db: Queryable): Promise<readonly string[]> {
  const rows = await db.query<{ task: string }>('select task from paused_tasks order by task');
  return rows.map(({ task }) => task);
}

export async function setPaused(database: Database, task: string, paused: boolean): Promise<void> {
  if (paused)
    await database.query('insert into paused_tasks (task) values ($1) on conflict do nothing', [task]);
  // Resuming `*` also resumes each task that was paused by name.
  else await database.query(`delete from paused_tasks where task = $1 or $1 = '*'`, [task]);
}

/** Returns the serial up to which the index's events have been applied. */
export async function pypiSerial(db: Queryable): Promise<number> {
  const [row] = await db.query<{ pypi_serial: number }>('select serial as pypi_serial from feed');
  return row?.pypi_serial ?? 0;
}

/** Sets the serial up to which events have been applied. Throws PIW_FENCED for a Cloud Gazer that has been replaced. */
export async function setPypiSerial(database: Database, serial: number, revision: number): Promise<void> {
  await database.transaction(async (db) => {
    await fence(db, 'cloud-gazer', revision);
    await db.query('update feed set serial = $1', [serial]);
  });
}
