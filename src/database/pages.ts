import { PiwError } from '../errors.js';
import type { PagePriority } from '../model/page.js';
import { assertNotFenced } from './fences.js';
import type { Database, Queryable } from './pool.js';

type DuePageTuple = readonly [kind: string, argument: string, revision: number];

/** Pages that the Secretary loads at once; the others stay in the database. */
const PAGES_PER_LOAD = 1000;

/**
 * Marks pages as due, and returns their revisions in the same order; a page that is named twice is marked once. Call it in
 * the transaction that changes what the pages show. `PKG`: a package's page in the simple index and its project page;
 * `PROJECT`: the project page alone; `LOG`: the log page of a build; `DELPKG`: the pages of a deleted package.
 */
export async function markPagesDue(
  db: Queryable,
  pages: readonly (readonly [kind: 'PKG' | 'PROJECT' | 'LOG' | 'DELPKG', argument: string])[],
): Promise<readonly number[]> {
  return await insertDuePages(db, pages);
}

/**
 * Marks the pages of changed packages as due: the simple index as well only for a package with files. Most packages of
 * a feed have none, and their pages must not delay those that people install from.
 */
export async function markPackagesDue(db: Queryable, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  await db.query(
    `insert into pages_backlog (kind, argument)
     select distinct case when exists (
         select from packages p join versions v using (package_id) join files f using (version_id)
         where p.package = g.name) then 'PKG' else 'PROJECT' end as kind, name
     from unnest($1::text[]) as g (name) order by 1, 2
     on conflict (kind, argument) do update set revision = excluded.revision`,
    [names],
  );
}

/** The task whose lease guards the pages. */
const SECRETARY_TASK = 'the-secretary';

/** Changes to the backlog of pages. */
interface PageUpdates {
  /** The revision of the Secretary's lease; null for other senders, which may only report due pages. */
  readonly fence: number | null;
  /** Pages that are due. */
  readonly pages: readonly (readonly [kind: string, argument: string])[];
  /** Pages that have been written. */
  readonly written: readonly DuePageTuple[];
  /** Packages whose entry in the root index changes: the serial of their page; null: no entry. */
  readonly listed: readonly (readonly [name: string, serial: number | null])[];
}

/**
 * Marks pages as due, and returns their revisions in the same order. Removes written pages from the backlog, unless they
 * have become due again since their revision. Throws PIW_FENCED for a Secretary that has been replaced, whose knowledge of
 * the listed packages is out of date, and PIW_REFUSED if anyone else reports written or listed pages.
 */
export async function savePages(
  database: Database,
  { fence: revision, pages, written, listed }: PageUpdates,
): Promise<readonly number[]> {
  return await database.transaction(async (db) => {
    if (revision !== null) await assertNotFenced(db, SECRETARY_TASK, revision);
    else if (written.length > 0 || listed.length > 0)
      throw new PiwError('PIW_REFUSED', 'only the Secretary may report written or listed pages');
    const listings = listed.filter(([, serial]) => serial !== null);
    const delistings = listed.filter(([, serial]) => serial === null);
    if (listings.length > 0) {
      await db.query(
        `insert into listed_packages (package, serial) select * from unnest($1::text[], $2::bigint[])
         on conflict (package) do update set serial = excluded.serial where listed_packages.serial < excluded.serial`,
        [listings.map(([name]) => name), listings.map(([, serial]) => serial)],
      );
    }
    if (delistings.length > 0)
      await db.query('delete from listed_packages where package = any ($1)', [
        delistings.map(([name]) => name),
      ]);
    if (written.length > 0) {
      await db.query(
        `delete from pages_backlog b using unnest($1::text[], $2::text[], $3::bigint[]) as w (kind, argument, revision)
         where b.kind = w.kind and b.argument = w.argument and b.revision <= w.revision`,
        [
          written.map(([kind]) => kind),
          written.map(([, argument]) => argument),
          written.map(([, , revision]) => revision),
        ],
      );
    }
    return await insertDuePages(db, pages);
  });
}

async function insertDuePages(db: Queryable, pages: PageUpdates['pages']): Promise<readonly number[]> {
  if (pages.length === 0) return [];
  // Always in the same order, so that two batches never deadlock.
  const rows = await db.query<{ kind: string; argument: string; revision: number }>(
    `insert into pages_backlog (kind, argument)
     select distinct kind, argument from unnest($1::text[], $2::text[]) as g (kind, argument) order by 1, 2
     on conflict (kind, argument) do update set revision = excluded.revision returning kind, argument, revision`,
    [pages.map(([kind]) => kind), pages.map(([, argument]) => argument)],
  );
  const revisions = new Map(rows.map(({ kind, argument, revision }) => [`${kind} ${argument}`, revision]));
  return pages.map(([kind, argument]) => revisions.get(`${kind} ${argument}`) ?? 0);
}

/** Returns up to PAGES_PER_LOAD due pages of a priority, by revision, after revision `after`: see the index pages_next. */
export async function loadPages(
  db: Queryable,
  priority: PagePriority,
  after: number,
): Promise<readonly [string, string, number][]> {
  const rows = await db.query<{ kind: string; argument: string; revision: number }>(
    `select kind, argument, revision from pages_backlog
     where page_priority(kind) = $1 and revision > $2 order by revision limit ${PAGES_PER_LOAD}`,
    [priority, after],
  );
  return rows.map(({ kind, argument, revision }) => [kind, argument, revision]);
}

/**
 * Allocates a block of a thousand serials that were never used, and returns the first one and their number. Throws
 * PIW_FENCED for a Secretary that has been replaced, which would get higher serials than its successor.
 */
export async function allocateSerials(
  database: Database,
  revision: number,
): Promise<{ first: number; count: number }> {
  return await database.transaction(async (db) => {
    await assertNotFenced(db, SECRETARY_TASK, revision);
    const [row] = await db.query<{ first: number }>("select nextval('serials') as first");
    if (!row) throw new Error('a sequence always has a next value');
    return { first: row.first, count: 1000 };
  });
}

/** Returns up to `page.limit` packages that the root of the simple index lists, by name, after `page.after`. */
export async function listedPackages(
  db: Queryable,
  page: { readonly after: string; readonly limit: number },
): Promise<[name: string, serial: number][]> {
  const rows = await db.query<{ package: string; serial: number }>(
    'select package, serial from listed_packages where package > $1 order by package limit $2',
    [page.after, page.limit],
  );
  return rows.map((row) => [row.package, row.serial]);
}
