import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { homePageData } from '../../src/database/front.js';
import { migrate } from '../../src/database/migrations.js';
import { deletePackage, searchIndex } from '../../src/database/packages.js';
import type { Database, Queryable } from '../../src/database/pool.js';
import { readStatistics } from '../../src/database/statistics.js';
import { sumUp } from '../../src/database/sums.js';
import { removeTarget } from '../../src/database/targets.js';
import type { Statistics } from '../../src/protocols/statistics.js';
import { emptyDatabase, testDatabase } from '../helpers/database.js';
import { seededRandom } from '../helpers/random.js';
import { ARM, LINUX, RandomFarm } from '../helpers/random-farm.js';

t.setTimeout(120_000);

const SQL = fileURLToPath(new URL('../../../sql/', import.meta.url));

/** Actions that a random history contains in addition to those of RandomFarm, and how often. */
const ACTIONS = [
  ...['sum up', 'delete package', 'new version', 'new version', 'new version', 'add target', 'add target'],
  ...['take', 'hand in', ...Array.from({ length: 16 }, () => 'log a build')],
];

/**
 * Makes builds end at random times of the last two years, mostly recently, and records each build that ends in a table
 * that keeps it even if the build is deleted afterwards.
 */
async function recordEndedBuilds(db: Database, seed: number): Promise<void> {
  await db.query(`select setseed(${seed / 100})`);
  await db.query('create table ended (built_at timestamptz, status boolean, transient boolean)');
  await db.query(
    `create function some_time() returns trigger language plpgsql as $$
     begin
       new.built_at = now() - random() * case floor(random() * 4)
         when 0 then interval '2 hours' when 1 then interval '2 days' when 2 then interval '60 days'
         else interval '700 days' end;
       return new;
     end $$;
     create trigger some_time before insert on builds for each row execute function some_time();
     create function write_down() returns trigger language plpgsql as $$
     begin
       insert into ended values (new.built_at, new.status,
         -- Before schema 16, the column was called \`passing\`.
         coalesce(to_jsonb(new) -> 'transient', to_jsonb(new) -> 'passing')::boolean);
       return null;
     end $$;
     create trigger write_down after insert on builds for each row execute function write_down();`,
  );
}

/** Returns the same figures as readStatistics(), by counting rows. */
async function countedStatistics(db: Queryable): Promise<Partial<Statistics>> {
  const [row] = await db.query<{ all: Partial<Statistics> }>(
    `select json_build_object(
       'counted', floor(extract(epoch from now()) * 1000),
       'packages', (select count(*) from packages),
       'packages_built', (select count(distinct package_id) from files join versions using (version_id)),
       'versions', (select count(*) from versions),
       'builds', (select count(*) from ended),
       'builds_failed', (select count(*) from ended where not status and not transient),
       'builds_retried', (select count(*) from ended where transient),
       'builds_last_hour', (select count(*) from ended where built_at >= date_trunc('minute', now()) - interval '59 minutes'),
       'builds_succeeded_last_hour',
         (select count(*) from ended where status and built_at >= date_trunc('minute', now()) - interval '59 minutes'),
       'builds_last_day', (select count(*) from ended where built_at >= date_trunc('minute', now()) - interval '1439 minutes'),
       'builds_succeeded_last_day',
         (select count(*) from ended where status and built_at >= date_trunc('minute', now()) - interval '1439 minutes'),
       'building', (select count(*) from queue where slave_id is not null),
       'files', (select count(*) from files),
       'files_bytes', (select coalesce(sum(filesize), 0) from files),
       'downloads', (select coalesce(sum(downloads), 0) from download_hours),
       'queue', (select coalesce(json_agg(json_build_array(abi, platform,
           (select count(*) from queue q where q.target_id = t.target_id and slave_id is null)) order by rank, platform), '[]')
         from targets t),
       'oldest_release',
         (select floor(extract(epoch from min(released)) * 1000) from queue where priority = 1 and lease is null)) as all`,
  );
  return row?.all ?? {};
}

/** Returns the points of the home page's charts by counting rows: [began, builds, failed]. */
async function countedPoints(db: Queryable, step: string): Promise<readonly (readonly number[])[]> {
  const rows = await db.query<{ began: number; builds: number; failed: number }>(
    `select floor(extract(epoch from date_trunc('${step}', built_at, 'UTC')) * 1000)::float8 as began,
       count(*) as builds, count(*) filter (where not status) as failed
     from ended group by 1 order by 1`,
  );
  return rows.map(({ began, builds, failed }) => [began, builds, failed]);
}

/** Checks that all figures equal the counted ones, as of the same moment. */
async function compareFigures(t: Test, db: Database, message: string): Promise<void> {
  await db.transaction(async (within) => {
    // The figures must not depend on the session's time zone, even one with daylight saving time.
    await within.query(`set local timezone = 'America/St_Johns'`);
    t.match(await readStatistics(within), await countedStatistics(within), message);
    const { history } = await homePageData(within);
    for (const step of ['hour', 'day', 'month'] as const) {
      const points = history[`${step}s`];
      const first = points[0]?.[0] ?? 0;
      t.same(
        points.filter(([, builds]) => builds > 0).map(([began, builds, failed]) => [began, builds, failed]),
        (await countedPoints(within, step)).filter(([began = 0]) => began >= first),
        `${message}, by ${step}`,
      );
    }
    t.same(
      (await searchIndex(within, { after: '', limit: 100 })).map(([name, , files]) => [name, files]),
      (
        await within.query<{ package: string; files: number }>(
          `select package, count(filename) as files from packages p left join versions using (package_id)
             left join files using (version_id) group by package order by package`,
        )
      ).map((row) => [row.package, row.files]),
      `${message}, the files of each package`,
    );
  });
}

void t.test('after every step of a random history the figures equal the counted ones', async (t) => {
  const steps = Number(process.env['PIW_TEST_STEPS'] ?? 250);
  for (let seed = 1; seed <= Number(process.env['PIW_TEST_SEEDS'] ?? 2); seed += 1) {
    const { db } = await testDatabase(t);
    await recordEndedBuilds(db, seed);
    const random = seededRandom(seed);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
    const farm = new RandomFarm(db);
    await farm.setUp();
    for (let step = 0; step < steps; step += 1) {
      const action = pick([...ACTIONS, ...RandomFarm.actions]);
      if (action === 'sum up') while (await sumUp(db, 0, pick([1, 3, 1000])));
      else if (action === 'delete package')
        await deletePackage(db, pick(['a', 'b', 'c', 'c', 'c', 'c', 'c', 'c']));
      else await farm.apply({ action, seed: Math.floor(random() * 2 ** 32) });
      if (step % 5 === 0 || step === steps - 1)
        await compareFigures(t, db, `seed ${seed}, step ${step}: ${action}`);
    }
    const { builds } = await readStatistics(db);
    t.ok(builds > 20, `${builds} builds have ended`);
    await db.query('delete from packages');
    for (const [abi, platform] of [
      ['cp39', LINUX],
      ['cp311', LINUX],
      ['cp311', ARM],
    ] as const)
      await removeTarget(db, abi, platform, 10);
    await compareFigures(t, db, 'when everything is removed');
    t.match(await readStatistics(db), { packages: 0, versions: 0, files: 0, files_bytes: 0, builds });
    while (await sumUp(db, 0, 50));
    await compareFigures(t, db, 'and summed up');
    t.same(await db.query('select 1 from figure_changes'), []);
    t.same(await db.query('select 1 from package_files'), []);
  }
});

void t.test('concurrent changes and sums lose nothing and count nothing twice', async (t) => {
  const { db } = await testDatabase(t);
  await recordEndedBuilds(db, 7);
  let running = 4;
  const summing = [1, 2].map(async () => {
    while (running > 0) await sumUp(db, 0, 5);
  });
  await Promise.all(
    [1, 2, 3, 4].map(async (seed) => {
      const random = seededRandom(seed);
      const farm = new RandomFarm(db);
      await farm.setUp();
      const actions = [
        'log a build',
        'new version',
        'delete builds',
        'delete version',
        'events',
        'add target',
        'take',
        'hand in',
      ];
      for (let step = 0; step < 100; step += 1) {
        const action = actions[Math.floor(random() * actions.length)] ?? '';
        await farm.apply({ action, seed: Math.floor(random() * 2 ** 32) });
      }
      running -= 1;
    }),
  );
  await Promise.all(summing);
  await compareFigures(t, db, 'at the end');
});

void t.test('all figures of a new farm are 0', async (t) => {
  const { db } = await testDatabase(t);
  for (const summed of [false, true]) {
    if (summed) t.equal(await sumUp(db, 0), false);
    const { counted: at, database_bytes: bytes, ...rest } = await readStatistics(db);
    t.ok(at > 1.7e12 && bytes > 0);
    t.same(rest.queue, []);
    t.same(
      Object.entries(rest).filter(([, value]) => value !== 0 && value !== null && !Array.isArray(value)),
      [],
    );
    const { history, latest, popular } = await homePageData(db);
    t.same([history.hours.length, history.days.length, history.months.length], [48, 365, 1]);
    t.ok(
      [...history.hours, ...history.days, ...history.months].every(
        ([, ...figures]) => figures.join() === '0,0,0',
      ),
    );
    t.same([latest, popular], [[], []]);
  }
});

void t.test('a Big Brother that was replaced is fenced when it sums up', async (t) => {
  const { db } = await testDatabase(t);
  await sumUp(db, 2);
  await t.rejects(sumUp(db, 1), { code: 'PIW_FENCED' });
});

void t.test('downloads count by UTC day and hour, and make packages popular', async (t) => {
  const { db } = await testDatabase(t);
  await db.query(
    `insert into packages (package, origin, status) values
       ('a', 'feed', 'active'), ('b', 'feed', 'active'), ('c', 'feed', 'active'), ('hidden', 'feed', 'quarantined')`,
  );
  const day = `(now() at time zone 'UTC')::date`;
  await db.query(
    `insert into download_days select package_id, ${day} - ago, downloads
     from (values ('a', 0, 5), ('a', 29, 1), ('a', 30, 100), ('b', 29, 7), ('hidden', 0, 9)) g (package, ago, downloads)
       join packages using (package)`,
  );
  await db.query(
    `insert into download_hours select date_trunc('hour', now()) - ago, downloads
     from (values (interval '0', 1), ('23 hours', 2), ('24 hours', 4), ('800 hours', 8)) g (ago, downloads)`,
  );
  t.match(await readStatistics(db), { downloads: 15, downloads_last_day: 3, downloads_last_month: 7 });
  t.same((await homePageData(db)).popular, [], 'until the month is summed up');
  await sumUp(db, 0);
  const { popular, history } = await homePageData(db);
  t.same(popular, [
    ['b', 7],
    ['a', 6],
  ]);
  t.same(
    (await searchIndex(db, { after: '', limit: 10 })).map(([name, , , downloads]) => [name, downloads]),
    [
      ['a', 6],
      ['b', 7],
      ['c', 0],
      ['hidden', 9],
    ],
  );
  const sum = (steps: readonly (readonly number[])[]) =>
    steps.reduce((all, [, , , downloads = 0]) => all + downloads, 0);
  t.same([sum(history.hours), sum(history.days), sum(history.months)], [7, 15, 15]);
  t.same(
    history.hours
      .slice(-25)
      .map(([, , , downloads]) => downloads)
      .filter((n) => n > 0),
    [4, 2, 1],
  );
  await db.query(
    `delete from download_days where package_id = (select package_id from packages where package = 'b')`,
  );
  await db.query(`update month_summed set took = '0'`);
  await sumUp(db, 0);
  t.same((await homePageData(db)).popular, [['a', 6]], 'removed downloads no longer count');
});

void t.test('charts begin with the first month that has data, and have no gaps', async (t) => {
  const { db } = await testDatabase(t);
  const [row] = await db.query<{ months: number; first: number }>(
    `insert into download_hours values ('2024-02-29 23:00Z', 1)
     returning ((extract(year from now() at time zone 'UTC') - 2024) * 12 + extract(month from now() at time zone 'UTC') - 1)::int as months`,
  );
  const { months, days } = (await homePageData(db)).history;
  t.equal(months.length, row?.months);
  t.same(months[0], [Date.UTC(2024, 1), 0, 0, 1]);
  t.ok(months.every(([began]) => new Date(began).toISOString().endsWith('-01T00:00:00.000Z')));
  t.ok(days.every(([began], index) => began === (days[0]?.[0] ?? 0) + index * 86_400_000));
  // From a machine whose clock was never set.
  await db.query(`insert into download_hours values ('1890-01-01', 1)`);
  t.equal((await homePageData(db)).history.months.length, 1200);
});

void t.test('the migration that adds sums includes existing rows', async (t) => {
  const { db, dsn } = await emptyDatabase(t);
  for (const file of [1, 2, 3, 4, 5, 6])
    await db.query(await readFile(join(SQL, `00000${file}.sql`), 'utf8').catch(() => ''));
  await db.query('insert into configuration (schema_version) values (6)');
  await recordEndedBuilds(db, 3);
  await db.query(
    `insert into targets (abi, platform, py_version_tag, rank) values
       ('cp39', 'linux_x86_64', 'cp39', 3009), ('cp311', 'linux_x86_64', 'cp311', 3011);
     insert into packages (package, origin) select 'p' || n, 'feed' from generate_series(1, 30) n;
     insert into versions (package_id, version, sort_key, has_sdist, origin, priority, released)
       select package_id, '1.' || n, '1.' || n, true, 'feed', n % 2, now() - n * interval '1 hour'
       from packages, generate_series(1, 7) n;
     insert into builds (version_id, target_id, duration, status, passing, output)
       select version_id, target_id, '1 s', random() < 0.6, random() < 0.1, '' from versions, targets, generate_series(1, 3);
     delete from ended;
     update builds set status = false where passing;
     insert into ended select built_at, status, passing from builds;
     insert into tags (py, abi, platform) values ('py3', 'none', 'any');
     insert into files (filename, version_id, build_id, filesize, sha256, metadata_sha256, tag_id)
       select 'f' || build_id, version_id, build_id, build_id, '', '', 1 from builds where status and random() < 0.1;
     insert into queue (version_id, target_id, priority, released, of_package)
       select version_id, target_id, priority, released, package_id from versions, targets where random() < 0.5;
     update queue set lease = version_id, slave_id = 1 where target_id = 1 and version_id < 20`,
  );
  await migrate(dsn, { user: decodeURIComponent(new URL(dsn).username) });
  await compareFigures(t, db, 'after the migration');
  const { builds, files, queue } = await readStatistics(db);
  t.ok(builds === 1260 && files > 20 && queue.every(([, , waiting]) => waiting > 20));
  await db.query('delete from versions where version_id % 3 = 0');
  await db.query(
    `insert into builds (version_id, target_id, duration, status, output) select 1, 1, '1 s', true, ''`,
  );
  await compareFigures(t, db, 'and afterwards');
  await sumUp(db, 0);
  await compareFigures(t, db, 'and summed up');
});
