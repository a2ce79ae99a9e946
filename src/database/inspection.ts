import { PiwError } from '../errors.js';
import { installedVersion, newerError, noRoleError, schemaVersion } from './migrations.js';
import { Database, type SqlRow } from './pool.js';
import { hasMasterRights } from './rights.js';
import { refuseReadOnly } from './role.js';

/** What piw initdb finds before it changes anything. */
export interface DatabaseInspection {
  readonly database: string;
  /** The role that we connect as. */
  readonly role: string;
  /** The installed schema version; 0 if there are no tables. */
  readonly installed: number;
  readonly required: number;
  /** The role for the master, whether it is a superuser, and whether it already has all rights on the tables. */
  readonly user: string;
  readonly userIsSuperuser: boolean;
  readonly userHasRights: boolean;
}

interface RolesRow extends SqlRow {
  readonly database: string;
  readonly role: string;
  readonly may_create: boolean;
  readonly not_ours: string | null;
  readonly user_exists: boolean;
  readonly user_is_superuser: boolean;
}

/**
 * Returns the state of a database, for the master's role `user`. Throws PIW_DATABASE_READ_ONLY, PIW_DATABASE_FOREIGN,
 * PIW_DATABASE_NEWER, PIW_DATABASE_RIGHTS if our role may not create or change the tables, and PIW_NO_ROLE if there is no role `user`.
 */
export async function inspectDatabase(dsn: string, user: string): Promise<DatabaseInspection> {
  const db = await Database.open(dsn, 'initdb', { connections: 1 });
  try {
    await refuseReadOnly(db);
    const [installed, required] = [await installedVersion(db), schemaVersion()];
    if (installed > required) throw newerError(installed, required);
    const [row] = await db.query<RolesRow>(
      `with ours as (
         select relname, relowner from pg_class
         where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p')
       ), master as (select rolsuper from pg_roles where rolname = $1)
       select current_database() as database, current_user as role,
         has_schema_privilege(current_schema(), 'create') as may_create,
         (select relname from ours where not pg_has_role(relowner, 'usage') order by relname limit 1) as not_ours,
         exists (select 1 from master) as user_exists,
         coalesce((select rolsuper from master), false) as user_is_superuser`,
      [user],
    );
    if (!row) throw new Error('the query for roles returned no row');
    const { database, role } = row;
    if (!row.may_create)
      throw new PiwError(
        'PIW_DATABASE_RIGHTS',
        `role ${role} may not create tables in the database ${database}`,
      );
    if (installed > 0 && row.not_ours !== null)
      throw new PiwError(
        'PIW_DATABASE_RIGHTS',
        `role ${role} does not own the tables of the database ${database}, for example ${row.not_ours}`,
      );
    if (!row.user_exists) throw noRoleError(user);
    return {
      database,
      role,
      installed,
      required,
      user,
      userIsSuperuser: row.user_is_superuser,
      userHasRights: installed > 0 && (await hasMasterRights(db, user)),
    };
  } finally {
    await db.close();
  }
}
