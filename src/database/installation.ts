import type { Queryable, SqlRow } from './pool.js';

/** Whose database this is, and which farm is at work on it. */
export interface Installation {
  readonly id: string;
  /** The machine on which the tables were made. */
  readonly name: string;
  /** The servers and prefix over which its processes find each other; null: nobody is at work. */
  readonly holder: string | null;
  readonly holderHost: string | null;
  /** Milliseconds since 1970. */
  readonly holderSince: number | null;
  /** Goes up every few seconds while somebody is at work. */
  readonly beat: number;
}

export async function readInstallation(db: Queryable): Promise<Installation | undefined> {
  const [row] = await db.query<Installation & SqlRow>(
    `select id::text, name, holder, holder_host as "holderHost", beat,
       floor(extract(epoch from holder_since) * 1000)::float8 as "holderSince"
     from installation`,
  );
  return row;
}

/** Takes the database for `holder`, unless it is another's than `from` or its beat has gone on from `beat`. */
export async function claimInstallation(
  db: Queryable,
  { holder, host, from, beat }: { holder: string; host: string; from: string | null; beat: number },
): Promise<boolean> {
  const rows = await db.query(
    `update installation set beat = beat + 1, holder = $1, holder_host = $2,
       holder_since = case when holder is distinct from $1 then now() else holder_since end
     where holder is null or holder = $1 or (holder = $3 and beat = $4) returning 1`,
    [holder, host, from, beat],
  );
  return rows.length > 0;
}

/** Says that `holder` is still at work; false: the database is another's. */
export async function renewInstallation(db: Queryable, holder: string): Promise<boolean> {
  const rows = await db.query('update installation set beat = beat + 1 where holder = $1 returning 1', [
    holder,
  ]);
  return rows.length > 0;
}

/** Lets the next farm begin at once, over whatever servers. */
export async function releaseInstallation(db: Queryable, holder: string): Promise<void> {
  await db.query(
    'update installation set holder = null, holder_host = null, holder_since = null where holder = $1',
    [holder],
  );
}

/** The same as one thing, for whoever joins a farm. */
export const installationRegistry = (db: Queryable) => ({
  read: () => readInstallation(db),
  hold: (claim: Parameters<typeof claimInstallation>[1]) => claimInstallation(db, claim),
  beat: (holder: string) => renewInstallation(db, holder),
});
