import type { Database, Queryable } from './pool.js';

type Page = readonly [kind: string, argument: string];

/** How many pages the Secretary has in mind at once; the rest waits here. */
const MOST = 10_000;

/** Notes pages that are due, and takes out those that are written. */
export async function savePages(
  database: Database,
  pages: readonly Page[],
  remove: readonly Page[],
): Promise<void> {
  if (pages.length > 0) {
    await database.query(
      `insert into pages_backlog (kind, argument) select * from unnest($1::text[], $2::text[]) on conflict do nothing`,
      columns(pages),
    );
  }
  if (remove.length > 0) {
    await database.query(
      `delete from pages_backlog b using unnest($1::text[], $2::text[]) as r (kind, argument)
       where b.kind = r.kind and b.argument = r.argument`,
      columns(remove),
    );
  }
}

/** The pages that are due: what people install from first, build logs last. */
export async function loadPages(db: Queryable): Promise<readonly [string, string][]> {
  const rows = await db.query<{ kind: string; argument: string }>(
    `select kind, argument from pages_backlog
     order by case kind when 'LOG' then 2 when 'PROJECT' then 1 else 0 end, noted limit $1`,
    [MOST],
  );
  return rows.map(({ kind, argument }) => [kind, argument]);
}

function columns(pages: readonly Page[]): [string[], string[]] {
  return [pages.map(([kind]) => kind), pages.map(([, argument]) => argument)];
}
