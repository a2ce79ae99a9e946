import type { Database, Queryable } from './pool.js';

type Due = readonly [kind: string, argument: string, note: number];

/** How many pages are handed to the Secretary at once; the rest waits here. */
const MOST = 1000;

/**
 * Notes pages that are due, in the transaction that changes what they show; one that is named twice is noted
 * once. `PKG`: a package's index and its project page; `PROJECT`: the latter alone; `LOG`: of a build.
 */
export async function noteDue(
  db: Queryable,
  pages: readonly (readonly [kind: 'PKG' | 'PROJECT' | 'LOG', argument: string])[],
): Promise<void> {
  if (pages.length === 0) return;
  // In one order always, so that two batches never wait for each other.
  await db.query(
    `insert into pages_backlog (kind, argument)
     select distinct kind, argument from unnest($1::text[], $2::text[]) as g (kind, argument) order by 1, 2
     on conflict (kind, argument) do update set note = excluded.note`,
    [pages.map(([kind]) => kind), pages.map(([, argument]) => argument)],
  );
}

/**
 * The same for packages of which something has changed: the index, too, of one that has a file. Of most that a
 * feed tells of nothing was built, and their pages are not to hold up those that people install from.
 */
export async function notePackages(db: Queryable, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  await db.query(
    `insert into pages_backlog (kind, argument)
     select distinct case when exists (
         select from packages p join versions v using (package_id) join files f using (version_id)
         where p.package = g.name) then 'PKG' else 'PROJECT' end as kind, name
     from unnest($1::text[]) as g (name) order by 1, 2
     on conflict (kind, argument) do update set note = excluded.note`,
    [names],
  );
}

/**
 * Notes pages that are due, and gives their notes in the same order; takes out those that are
 * written, unless they have become due again since the note that comes with them.
 */
export async function savePages(
  database: Database,
  pages: readonly (readonly [string, string])[],
  written: readonly Due[],
): Promise<readonly number[]> {
  if (written.length > 0) {
    await database.query(
      `delete from pages_backlog b using unnest($1::text[], $2::text[], $3::bigint[]) as w (kind, argument, note)
       where b.kind = w.kind and b.argument = w.argument and b.note <= w.note`,
      [
        written.map(([kind]) => kind),
        written.map(([, argument]) => argument),
        written.map(([, , note]) => note),
      ],
    );
  }
  const notes: number[] = [];
  for (const page of pages) {
    const [row] = await database.query<{ note: number }>(
      `insert into pages_backlog (kind, argument) values ($1, $2)
       on conflict (kind, argument) do update set note = excluded.note returning note`,
      page,
    );
    notes.push(row?.note ?? 0);
  }
  return notes;
}

/** The pages that are due, in the order of their notes, after that one: `logs` of builds, or all others. */
export async function loadPages(
  db: Queryable,
  logs: boolean,
  after: number,
): Promise<readonly [string, string, number][]> {
  const rows = await db.query<{ kind: string; argument: string; note: number }>(
    `select kind, argument, note from pages_backlog
     where (kind = 'LOG') = $1 and note > $2 order by note limit ${String(MOST)}`,
    [logs, after],
  );
  return rows.map(({ kind, argument, note }) => [kind, argument, note]);
}
