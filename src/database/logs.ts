import type { LogPosition, LogStretch } from '../protocols/weblog.js';
import type { Database, Queryable } from './pool.js';

/**
 * How far a web server's log has been counted: so many bytes of it, by whatever name it goes and however it is
 * stored. It is moved on by the transaction that writes what stood there. So a log that is read again, and a message
 * that is sent again, are found out in the same place, and count once.
 */
export interface LogProgress {
  readonly upto: number;
  /** The digest of the last bytes before `upto`. */
  readonly mark: string;
  /** This stretch was counted now. */
  readonly counted: boolean;
  /** Downloads of files that aren't here. */
  readonly unknown: number;
}

/** A log that nobody has asked for in so many days is forgotten: no web server keeps one for so long. */
const LOG_RETENTION_DAYS = 400;
/** There are no more with one beginning, unless somebody makes them up. */
const MAX_LOGS = 1000;
/** No log has this mark. */
export const FORGOTTEN_LOG_MARK = 'gone';

/** The logs that begin so, the one that was counted farthest first; with a `fresh` one, of which nothing was, if wanted. */
export async function findLogs(
  database: Database,
  head: string,
  fresh: boolean,
): Promise<readonly LogPosition[]> {
  if (fresh) {
    await database.query(
      `delete from logs where seen < now() - interval '${String(LOG_RETENTION_DAYS)} days'`,
    );
    await database.query('insert into logs (head) values ($1) on conflict do nothing', [head]);
  }
  const rows = await database.query<{ log_id: number; upto: number; mark: string; old: boolean }>(
    `select log_id, upto, mark, seen < now() - interval '1 day' as old
     from logs where head = $1 order by upto desc, log_id limit ${String(MAX_LOGS)}`,
    [head],
  );
  const staleIds = rows.filter((row) => row.old).map(({ log_id }) => log_id);
  if (staleIds.length > 0)
    await database.query('update logs set seen = now() where log_id = any ($1)', [staleIds]);
  return rows.map(({ log_id, upto, mark }) => [log_id, upto, mark]);
}

/** How far it has been counted; nobody else moves it on before this transaction has ended. */
export async function lockLog(db: Queryable, log: number): Promise<Pick<LogProgress, 'upto' | 'mark'>> {
  const [row] = await db.query<Pick<LogProgress, 'upto' | 'mark'>>(
    'select upto, mark from logs where log_id = $1 for update',
    [log],
  );
  // It was forgotten; whoever reads it looks for it anew.
  return row ? { upto: row.upto, mark: row.mark } : { upto: 0, mark: FORGOTTEN_LOG_MARK };
}

/** Part of a transaction that holds it. */
export async function advanceLog(
  db: Queryable,
  { log, to, mark }: Pick<LogStretch, 'log' | 'to' | 'mark'>,
): Promise<void> {
  await db.query('update logs set upto = $2, mark = $3, seen = now() where log_id = $1', [log, to, mark]);
}
