import type { Queryable, SqlRow } from './pool.js';

/** The identity of a database, and the farm that is using it. */
interface Installation {
  readonly id: string;
  /** The host on which the tables were created. */
  readonly name: string;
  /** The NATS servers and prefix by which the farm's processes find each other; null: no farm is using the database. */
  readonly holder: string | null;
  readonly holderHost: string | null;
  /** Milliseconds since 1970. */
  readonly holderSince: number | null;
  /** A heartbeat counter, which increases every few seconds while a farm uses the database. */
  readonly heartbeat: number;
}

async function readInstallation(db: Queryable): Promise<Installation | undefined> {
  const [row] = await db.query<Installation & SqlRow>(
    `select id::text, name, holder, holder_host as "holderHost", heartbeat,
       floor(extract(epoch from holder_since) * 1000)::float8 as "holderSince"
     from installation`,
  );
  return row;
}

/**
 * Acquires the database for `holder`. Returns false if a holder other than `holder` and `from` has it, or if `from` has
 * sent a heartbeat since `heartbeat`.
 */
async function acquireInstallation(
  db: Queryable,
  { holder, host, from, heartbeat }: { holder: string; host: string; from: string | null; heartbeat: number },
): Promise<boolean> {
  const rows = await db.query(
    `update installation set heartbeat = heartbeat + 1, holder = $1, holder_host = $2,
       holder_since = case when holder is distinct from $1 then now() else holder_since end
     where holder is null or holder = $1 or (holder = $3 and heartbeat = $4) returning 1`,
    [holder, host, from, heartbeat],
  );
  return rows.length > 0;
}

/** Sends a heartbeat for `holder`. Returns false if another holder has the database. */
async function renewInstallation(db: Queryable, holder: string): Promise<boolean> {
  const rows = await db.query(
    'update installation set heartbeat = heartbeat + 1 where holder = $1 returning 1',
    [holder],
  );
  return rows.length > 0;
}

/** Releases the database, so that the next farm can start at once, even with other NATS servers. */
export async function releaseInstallation(db: Queryable, holder: string): Promise<void> {
  await db.query(
    'update installation set holder = null, holder_host = null, holder_since = null where holder = $1',
    [holder],
  );
}

/** Returns these functions as one object, for processes that join a farm. */
export const installationRegistry = (db: Queryable) => ({
  read: () => readInstallation(db),
  acquire: (options: Parameters<typeof acquireInstallation>[1]) => acquireInstallation(db, options),
  sendHeartbeat: (holder: string) => renewInstallation(db, holder),
});
