import { PiwError } from '../errors.js';
import type { PagePriority } from '../protocols/oracle.js';
import { fence } from './fences.js';
import type { Database, Queryable } from './pool.js';

type DuePageTuple = readonly [kind: string, argument: string, note: number];

/** How many pages are handed to the Secretary at once; the rest waits here. */
const PAGES_PER_LOAD = 1000;

/**
 * Notes pages that are due, in the transaction that changes what they show; one that is named twice is noted
 * once. `PKG`: a package's index and its project page; `PROJECT`: the latter alone; `LOG`: of a build;
 * `DELPKG`: of a package that is forgotten.
 */
export async function markPagesDue(
  db: Queryable,
  pages: readonly (readonly [kind: 'PKG' | 'PROJECT' | 'LOG' | 'DELPKG', argument: string])[],
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
export async function markPackagesDue(db: Queryable, names: readonly string[]): Promise<void> {
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

/** The holder of the lease that is asked for. */
const SECRETARY_TASK = 'the-secretary';

/** What the Secretary has to say of pages; of others, who have no fence, only what is due is heard. */
export interface PageUpdates {
  readonly fence: number | null;
  readonly pages: readonly (readonly [kind: string, argument: string])[];
  readonly written: readonly DuePageTuple[];
  /** How packages are listed from now on: the serial of the page; null: not at all. */
  readonly listed: readonly (readonly [name: string, serial: number | null])[];
}

/**
 * Notes pages that are due, and gives their notes in the same order; takes out those that are
 * written, unless they have become due again since the note that comes with them. Raises PIW_FENCED for a
 * Secretary that has been replaced: what it knows of how packages are listed is old.
 */
export async function savePages(
  database: Database,
  { fence: revision, pages, written, listed }: PageUpdates,
): Promise<readonly number[]> {
  return await database.transaction(async (db) => {
    if (revision !== null) await fence(db, SECRETARY_TASK, revision);
    else if (written.length > 0 || listed.length > 0)
      throw new PiwError('PIW_REFUSED', 'only a Secretary knows what was written');
    const listings = listed.filter(([, serial]) => serial !== null);
    const delistings = listed.filter(([, serial]) => serial === null);
    if (listings.length > 0) {
      await db.query(
        `insert into listed (package, serial) select * from unnest($1::text[], $2::bigint[])
         on conflict (package) do update set serial = excluded.serial where listed.serial < excluded.serial`,
        [listings.map(([name]) => name), listings.map(([, serial]) => serial)],
      );
    }
    if (delistings.length > 0)
      await db.query('delete from listed where package = any ($1)', [delistings.map(([name]) => name)]);
    if (written.length > 0) {
      await db.query(
        `delete from pages_backlog b using unnest($1::text[], $2::text[], $3::bigint[]) as w (kind, argument, note)
         where b.kind = w.kind and b.argument = w.argument and b.note <= w.note`,
        [
          written.map(([kind]) => kind),
          written.map(([, argument]) => argument),
          written.map(([, , note]) => note),
        ],
      );
    }
    return await insertDuePages(db, pages);
  });
}

async function insertDuePages(db: Queryable, pages: PageUpdates['pages']): Promise<readonly number[]> {
  if (pages.length === 0) return [];
  const rows = await db.query<{ kind: string; argument: string; note: number }>(
    `insert into pages_backlog (kind, argument)
     select distinct kind, argument from unnest($1::text[], $2::text[]) as g (kind, argument) order by 1, 2
     on conflict (kind, argument) do update set note = excluded.note returning kind, argument, note`,
    [pages.map(([kind]) => kind), pages.map(([, argument]) => argument)],
  );
  const notes = new Map(rows.map(({ kind, argument, note }) => [`${kind} ${argument}`, note]));
  return pages.map(([kind, argument]) => notes.get(`${kind} ${argument}`) ?? 0);
}

/** The pages of a lane that are due, in the order of their notes, after that one: see the index pages_next. */
export async function loadPages(
  db: Queryable,
  priority: PagePriority,
  after: number,
): Promise<readonly [string, string, number][]> {
  const rows = await db.query<{ kind: string; argument: string; note: number }>(
    `select kind, argument, note from pages_backlog
     where lane_of(kind) = $1 and note > $2 order by note limit ${String(PAGES_PER_LOAD)}`,
    [priority, after],
  );
  return rows.map(({ kind, argument, note }) => [kind, argument, note]);
}

/**
 * The first of a thousand serials that nobody was ever given, and how many they are. Raises PIW_FENCED: one that
 * was replaced would get higher ones than who took over has.
 */
export async function allocateSerials(
  database: Database,
  revision: number,
): Promise<{ first: number; count: number }> {
  return await database.transaction(async (db) => {
    await fence(db, SECRETARY_TASK, revision);
    const [row] = await db.query<{ first: number }>("select nextval('serials') as first");
    if (!row) throw new Error('a sequence always has a next value');
    return { first: row.first, count: 1000 };
  });
}

/** What the root of the simple index names, by name, after that one. */
export async function listedPackages(
  db: Queryable,
  page: { readonly after: string; readonly limit: number },
): Promise<[name: string, serial: number][]> {
  const rows = await db.query<{ package: string; serial: number }>(
    'select package, serial from listed where package > $1 order by package limit $2',
    [page.after, page.limit],
  );
  return rows.map((row) => [row.package, row.serial]);
}
