import type { LogPosition, LogStretch } from '../protocols/weblog.js';
import type { Database, Queryable } from './pool.js';

/**
 * How far a web server's log has been counted, whatever its name and however it is stored. The transaction that writes
 * the counted entries also advances the position, so that a log that is read twice, or a message that is sent twice,
 * counts once.
 */
export interface LogProgress {
  /** Bytes of the log that have been counted. */
  readonly upto: number;
  /** The digest of the last bytes before `upto`. */
  readonly mark: string;
  /** Whether this call has counted the stretch. */
  readonly counted: boolean;
  /** Downloads of files that the farm does not have. */
  readonly unknown: number;
}

/** Days after which a log that nobody has asked for is forgotten: longer than any web server keeps one. */
const LOG_RETENTION_DAYS = 400;
/** The most logs with the same head that are returned. Only forged logs reach the limit. */
const MAX_LOGS = 1000;
/** The mark of a log that has been forgotten; never the digest of a log. */
export const FORGOTTEN_LOG_MARK = 'gone';

/**
 * Returns the logs with this head, the one that was counted farthest first. With `fresh` it first makes sure that a log
 * with this head exists of which nothing has been counted, and deletes logs older than LOG_RETENTION_DAYS.
 */
export async function findLogs(
  database: Database,
  head: string,
  fresh: boolean,
): Promise<readonly LogPosition[]> {
  if (fresh) {
    await database.query(`delete from logs where seen < now() - interval '${LOG_RETENTION_DAYS} days'`);
    await database.query('insert into logs (head) values ($1) on conflict do nothing', [head]);
  }
  const rows = await database.query<{ log_id: number; upto: number; mark: string; old: boolean }>(
    `select log_id, upto, mark, seen < now() - interval '1 day' as old
     from logs where head = $1 order by upto desc, log_id limit ${MAX_LOGS}`,
    [head],
  );
  const staleIds = rows.filter((row) => row.old).map(({ log_id }) => log_id);
  if (staleIds.length > 0)
    await database.query('update logs set seen = now() where log_id = any ($1)', [staleIds]);
  return rows.map(({ log_id, upto, mark }) => [log_id, upto, mark]);
}

/** Returns how far a log has been counted, and locks it until the end of the transaction. */
export async function lockLog(db: Queryable, log: number): Promise<Pick<LogProgress, 'upto' | 'mark'>> {
  const [row] = await db.query<Pick<LogProgress, 'upto' | 'mark'>>(
    'select upto, mark from logs where log_id = $1 for update',
    [log],
  );
  // The log was forgotten; its reader has to look it up again.
  return row ? { upto: row.upto, mark: row.mark } : { upto: 0, mark: FORGOTTEN_LOG_MARK };
}

/** Advances the position of a log that this transaction has locked. */
export async function advanceLog(
  db: Queryable,
  { log, to, mark }: Pick<LogStretch, 'log' | 'to' | 'mark'>,
): Promise<void> {
  await db.query('update logs set upto = $2, mark = $3, seen = now() where log_id = $1', [log, to, mark]);
}
