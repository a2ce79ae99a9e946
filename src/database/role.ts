import { PiwError } from '../errors.js';
import type { Queryable } from './pool.js';

/** Throws PIW_SUPERUSER if the role is a superuser: the farm's processes must have limited rights. */
export async function refuseSuperuser(db: Queryable): Promise<void> {
  const [row] = await db.query<{ super: boolean }>(
    'select usesuper as super from pg_user where usename = current_user',
  );
  if (row?.super !== false) throw new PiwError('PIW_SUPERUSER', "the DSN's role is a PostgreSQL superuser");
}
