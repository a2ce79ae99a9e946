import { Database } from '../../src/database/pool.js';
import { addTarget } from '../../src/database/targets.js';

export const PLATFORM = 'linux_x86_64';
const ABIS = ['cp39', 'cp310', 'cp311', 'cp312', 'cp313', 'cp314', 'cp315', 'cp316'];
/** requires-python specifiers, each with the percentage of versions that have it; the other versions have none. */
const SPECIFIERS = [
  ['>=3.8', 30],
  ['>=3.10', 15],
  ['>=3.11', 10],
  ['>=3.12', 5],
] as const;

export const abisOf = (count: number): readonly string[] => ABIS.slice(0, count);

/** Doesn't wait for the disk: after a crash the database would be filled again, not recovered. */
const NO_SYNC_COMMIT = 'set synchronous_commit = off';

/**
 * Fills a database with versions distributed like PyPI's: a few packages with thousands of them, some with a thousand
 * or fifty, and most with six; released over ten years; nothing is built yet, and everything is queued.
 *
 * Uses SQL of its own for speed, and checks for a sample that the queue equals the view builds_pending.
 */
export async function fillPypiShape(
  dsn: string,
  options: { readonly versions: number; readonly abis: number },
  say: (line: string) => void,
): Promise<void> {
  const { versions, abis } = options;
  const database = await Database.open(dsn, 'bench', { connections: 1 });
  const runInSlices = async (sql: string, from: number, to: number, step: number): Promise<void> => {
    for (let start = from; start < to; start += step)
      await database.query(sql, [start, Math.min(start + step, to)]);
  };
  try {
    await database.query(NO_SYNC_COMMIT);
    for (const abi of abisOf(abis))
      await addTarget(database, { abi, platform: PLATFORM, py_version_tag: abi, skip: null });
    const large = [
      [Math.max(1, Math.round(versions / 250_000)), 5000],
      [Math.max(1, Math.round(versions / 10_000)), 1000],
      [Math.max(1, Math.round(versions / 250)), 50],
    ] as const;
    const largeVersions = large.reduce((sum, [count, each]) => sum + count * each, 0);
    const sizes = [...large, [Math.max(1, Math.ceil((versions - largeVersions) / 6)), 6]] as const;
    let first = 0;
    for (const [count, each] of sizes) {
      say(`adding ${count} packages with ${each} versions`);
      await runInSlices(
        `insert into packages (package, origin) select 'p' || n, 'feed' from generate_series($1::int, $2::int - 1) n`,
        first,
        first + count,
        50_000,
      );
      await runInSlices(
        `insert into versions (package_id, version, sort_key, released, has_sdist, origin, sdist_url, sdist_sha256)
         select package_id, '1.' || i, '10010b0011b' || lpad(length(i::text)::text, 3, '0') || i || 'a4010',
           '2016-01-01'::timestamptz + (i + random()) / ${each} * interval '3650 days', true, 'feed',
           'https://files.example.org/' || package || '-1.' || i || '.tar.gz', repeat('a', 64)
         from generate_series($1::int, $2::int - 1) n join packages on package = 'p' || n,
           generate_series(1, ${each}) i`,
        first,
        first + count,
        Math.max(1, Math.floor(50_000 / each)),
      );
      first += count;
    }
    let from = 0;
    for (const [specifier, share] of SPECIFIERS) {
      await database.query(
        `with s as (insert into specifiers (specifier) values ($1) returning specifier_id)
         insert into specifier_admits select s.specifier_id, t.target_id from s, targets t
         where substring(t.abi from 4)::int >= $2`,
        [specifier, Number(specifier.slice(4))],
      );
      say(`setting requires-python ${specifier} for ${share} % of the versions`);
      await runInSlices(
        `update versions set specifier_id = (select max(specifier_id) from specifiers)
         where version_id between $1::bigint and $2::bigint - 1 and version_id % 100 between ${from} and ${from + share - 1}`,
        1,
        versions * 1.2,
        500_000,
      );
      from += share;
    }
    say('filling the queue');
    await runInSlices(
      `insert into queue (version_id, target_id, priority, released, package_id)
       select v.version_id, t.target_id, 0, v.released, v.package_id
       from versions v cross join lateral (
         select target_id from targets t
         where v.specifier_id is null or exists (
           select from specifier_admits a where a.specifier_id = v.specifier_id and a.target_id = t.target_id)
         order by rank limit 1) t
       where v.version_id between $1::bigint and $2::bigint - 1`,
      1,
      versions * 1.2,
      100_000,
    );
    const mismatches = await database.query(
      `with sample as materialized (select version_id from versions tablesample system (0.1) limit 5000),
         due as (select version_id, target_id from builds_pending where version_id = any (array(select version_id from sample))),
         there as (select version_id, target_id from queue where version_id in (select version_id from sample))
       (table due except table there) union all (table there except table due)`,
    );
    if (mismatches.length > 0) throw new Error('the filled queue differs from the view builds_pending');
  } finally {
    await database.close();
  }
}
