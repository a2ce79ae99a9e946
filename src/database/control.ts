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
