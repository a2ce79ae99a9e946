import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { deferred } from '../../src/concurrency/deferred.js';
import { dropLogs, logEntries } from '../../src/database/downloads.js';
import { findLogs } from '../../src/database/logs.js';
import { migrate } from '../../src/database/migrations.js';
import { deletePackage } from '../../src/database/packages.js';
import type { Database } from '../../src/database/pool.js';
import { projectDetails } from '../../src/database/projects.js';
import { deleteBuilds, deleteVersion } from '../../src/database/versions.js';
import type { LogKind } from '../../src/protocols/weblog.js';
import { LogStretchBuilder } from '../../src/weblog/stretch.js';
import { until } from '../helpers/bus.js';
import { emptyDatabase, testDatabase } from '../helpers/database.js';
import { AN_HOUR_AGO_MS, countDownloads, insertPackages, wheelFilename } from '../helpers/web-log.js';

const SQL = fileURLToPath(new URL('../../../sql/', import.meta.url));
const UNKNOWN_AGENT = [null, null, null, null, null, null, null, null, null, null] as never;

/**
 * Has entries counted as the beginning of a log that nobody has counted yet. An entry is [kind, what was requested,
 * time in milliseconds].
 */
async function countEntries(db: Database, ...entries: readonly (readonly [LogKind, string, number?])[]) {
  const [position] = await findLogs(db, `test ${Math.random()}`, true);
  const stretch = new LogStretchBuilder(0, () => ['192.0.2.1', 'GB']);
  for (const [kind, what, at = AN_HOUR_AGO_MS] of entries)
    stretch.add(kind, at / 1000, 'h', what, UNKNOWN_AGENT);
  return await logEntries(db, stretch.build(position?.[0] ?? 0, entries.length, 'm'));
}

/** Returns how many connections wait for another one's lock. */
async function lockWaiters(db: Database): Promise<number> {
  const rows = await db.query(
    'select 1 from pg_stat_activity where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0',
  );
  return rows.length;
}

const repeat = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value);
const download = (name: string, at = AN_HOUR_AGO_MS) => ['downloads', wheelFilename(name), at] as const;
/** Returns the sum of each package's downloads over all days. */
const sums = (db: Database) =>
  db.query<{ package: string; downloads: number }>(
    `select coalesce(package, '?') as package, sum(downloads)::int as downloads
     from download_days left join packages using (package_id) group by 1 order by 1`,
  );
/** Returns the sum of all downloads over all hours. */
const hours = async (db: Database) =>
  (await db.query('select coalesce(sum(downloads), 0)::int as sum from download_hours'))[0]?.['sum'];

void t.test(
  'downloads are stored as rows, and summed by file, by package and day, and by hour',
  async (t) => {
    const { db } = await testDatabase(t);
    await insertPackages(db, 'a', 'b');
    const before = Date.UTC(2025, 11, 31, 23, 59, 59);
    const answer = await countEntries(
      db,
      ...repeat(3, download('a')),
      download('b', before),
      download('b', before + 1000),
      download('gone'),
      ['index-pages', 'a'],
      ['pages', '/'],
    );
    t.match(answer, { counted: true, unknown: 1 });
    t.equal(await countDownloads(db), 5);
    t.same(
      await db.query(`select day::text, downloads from download_days where day < '2026-02-01' order by 1`),
      [
        { day: '2025-12-31', downloads: 1 },
        { day: '2026-01-01', downloads: 1 },
      ],
    );
    t.same(
      await db.query(`select extract(epoch from hour)::float8 as at from download_hours order by 1 limit 2`),
      [{ at: (before + 1000) / 1000 - 3600 }, { at: (before + 1000) / 1000 }],
    );
    t.same(await db.query('select kind, resource, country from page_hits order by 1'), [
      { kind: 'page', resource: '/', country: 'GB' },
      { kind: 'search', resource: 'a', country: 'GB' },
    ]);
    t.match(await projectDetails(db, 'a'), {
      downloads: 3,
      downloads_last_month: 3,
      files: [{ downloads: 3 }],
    });
    t.match(await projectDetails(db, 'b'), { downloads: 2, files: [{ downloads: 2 }] });
    await countEntries(db, download('a'));
    t.match(await projectDetails(db, 'a'), { downloads: 4, files: [{ downloads: 4 }] }, 'the sums grow');
  },
);

void t.test('a month has a partition of its own, which is created when it is needed', async (t) => {
  const { db } = await testDatabase(t);
  await insertPackages(db, 'a');
  const months = () =>
    db.query(
      `select inhrelid::regclass::text as name from pg_inherits where inhparent = 'downloads'::regclass order by 1`,
    );
  const present = (await months()).length;
  t.equal(present, 2, 'the partitions of this month and the next one exist already');
  await Promise.all(
    [2019, 2020, 2019, 2020].map((year) => countEntries(db, download('a', Date.UTC(year, 1, 29)))),
  );
  t.equal(
    (await months()).length,
    present + 2,
    'concurrent writers create one partition per month; 2019 had no 29 February',
  );
  t.same(await db.query('select count(*) from downloads_201903'), [{ count: 2 }]);
  await dropLogs(db, 1);
  t.equal((await months()).length, present);
  t.same(await db.query('select count(*) from downloads'), [{ count: 0 }]);
  t.equal(await hours(db), 4, 'the sums stay');
  t.match(await projectDetails(db, 'a'), { downloads: 4, files: [{ downloads: 4 }] });
});

void t.test(
  'deleting a version deletes its downloads; their sums stay until the package is deleted',
  async (t) => {
    const { db } = await testDatabase(t);
    await insertPackages(db, 'a', 'b', 'c');
    await countEntries(db, ...repeat(3, download('a')), ...repeat(2, download('b')), download('c'));
    const rows = () =>
      db.query(`select filename, count(*) from downloads join files using (file_id) group by 1 order by 1`);
    await deleteBuilds(db, 'a', '1.0');
    t.same(await db.query('select count(*) from downloads'), [{ count: 3 }]);
    t.same(await db.query('select count(*) from file_downloads'), [{ count: 2 }]);
    t.match(await projectDetails(db, 'a'), { downloads: 3, downloads_last_month: 3, files: [] });
    await deleteVersion(db, 'b', '1.0');
    t.same(await rows(), [{ filename: wheelFilename('c'), count: 1 }]);
    t.same(await sums(db), [
      { package: 'a', downloads: 3 },
      { package: 'b', downloads: 2 },
      { package: 'c', downloads: 1 },
    ]);
    await deletePackage(db, 'b');
    await deletePackage(db, 'c');
    t.same(await sums(db), [{ package: 'a', downloads: 3 }]);
    t.same(await db.query('select * from downloads'), []);
    t.equal(await hours(db), 6, "the farm's sums stay for ever");
    t.match(await countEntries(db, download('a')), { unknown: 1 });
  },
);

void t.test('downloads that arrive while their files are deleted leave no rows behind', async (t) => {
  const { db } = await testDatabase(t);
  const names = Array.from({ length: 30 }, (_, i) => `p${i}`);
  await insertPackages(db, ...names);
  const counting = Promise.all(
    Array.from({ length: 20 }, () => countEntries(db, ...names.flatMap((name) => repeat(5, download(name))))),
  );
  const deleting = Promise.all(
    names.map((name, i) => {
      if (i % 3 === 0) return deleteBuilds(db, name, '1.0');
      return i % 3 === 1 ? deletePackage(db, name) : deleteVersion(db, name, '1.0');
    }),
  );
  await Promise.all([counting, deleting]);
  t.same(await db.query('select * from downloads'), []);
  t.same(await db.query('select * from file_downloads'), []);
  t.same(
    await db.query('select * from download_days left join packages using (package_id) where package is null'),
    [],
  );
});

void t.test('deleting a file waits for downloads of it that are being written', async (t) => {
  const { db } = await testDatabase(t);
  await insertPackages(db, 'a');
  await countEntries(db, download('a'));
  const released = deferred();
  // Locks the rows that a transaction which writes downloads updates last, so that it waits there.
  const holding = db.transaction(async (within) => {
    await within.query('select 1 from download_hours for update');
    await released.promise;
  });
  const logging = countEntries(db, download('a'));
  await until(async () => (await lockWaiters(db)) === 1);
  const deleting = deleteBuilds(db, 'a', '1.0');
  await Promise.race([deleting, until(async () => (await lockWaiters(db)) === 2)]);
  released.resolve();
  await Promise.all([holding, logging, deleting]);
  t.same(await db.query('select file_id from downloads union select file_id from file_downloads'), []);
  t.same(await sums(db), [{ package: 'a', downloads: 2 }]);
});

void t.test('inconsistent, misplaced and repeated messages, and unknown logs, change nothing', async (t) => {
  const { db } = await testDatabase(t);
  await insertPackages(db, 'a');
  const [position] = await findLogs(db, 'x', true);
  const stretch = new LogStretchBuilder(0, () => ['h', null]);
  stretch.add('downloads', AN_HOUR_AGO_MS / 1000, 'h', wheelFilename('a'), UNKNOWN_AGENT);
  const message = stretch.build(position?.[0] ?? 0, 10, 'm');
  for (const override of [
    { hosts: [] },
    { resources: [] },
    { agents: [] },
    { entries: new Uint8Array(20).fill(255) },
  ])
    await t.rejects(logEntries(db, { ...message, ...override }), { code: 'PIW_MESSAGE_INVALID' });
  t.match(await logEntries(db, { ...message, log: 12_345 }), { counted: false });
  t.match(await logEntries(db, { ...message, from: 5 }), { counted: false, upto: 0 });
  t.equal(await countDownloads(db), 0);
  t.match(await logEntries(db, message), { counted: true });
  t.match(await logEntries(db, message), { counted: false, upto: 10, mark: 'm' });
  t.equal(await countDownloads(db), 1);
});

void t.test('two concurrent calls of dropLogs for the same months both succeed', async (t) => {
  const { db } = await testDatabase(t);
  await db.query(`select make_log_months('{2020-01-01}')`);
  let second: Promise<void> | undefined;
  await db.transaction(async (first) => {
    await first.query('select drop_log_months(1)');
    second = dropLogs(db, 1);
    await until(async () => (await lockWaiters(db)) === 1);
  });
  await second;
  t.equal((await db.query(`select from pg_inherits where inhparent = 'downloads'::regclass`)).length, 2);
});

void t.test('values with special characters are stored unchanged', async (t) => {
  const { db } = await testDatabase(t);
  const [position] = await findLogs(db, 'x', true);
  const odd = 'tab\there \\N \\. "quoted" \r\n é \u{1f600} \ud800';
  const stretch = new LogStretchBuilder(0, () => ['\\N', null]);
  stretch.add('pages', AN_HOUR_AGO_MS / 1000, 'h', odd, [odd, '', ...repeat(8, null)] as never);
  await logEntries(db, stretch.build(position?.[0] ?? 0, 10, 'm'));
  t.match(await db.query('select resource, accessed_by, arch, distro_name, distro_version from page_hits'), [
    {
      resource: odd.replace('\ud800', '\ufffd'),
      accessed_by: '\\N',
      arch: odd.replace('\ud800', '\ufffd'),
      distro_name: '',
      distro_version: null,
    },
  ]);
});

void t.test('migrating from version 4 keeps existing rows, and sums the downloads among them', async (t) => {
  const { db, dsn } = await emptyDatabase(t);
  for (const file of ['000001.sql', '000002.sql', '000003.sql', '000004.sql'])
    await db.query(await readFile(join(SQL, file), 'utf8'));
  await db.query(`
    insert into configuration (schema_version) values (4);
    insert into packages (package, origin) values ('a', 'feed'), ('b', 'feed');
    insert into versions (package_id, version, sort_key, has_sdist, origin) values
      (1, '1.0', '1.0', true, 'feed'), (2, '1.0', '1.0', true, 'feed');
    insert into tags (py, abi, platform) values ('py3', 'none', 'any');
    insert into files (filename, version_id, filesize, sha256, metadata_sha256, tag_id) values
      ('${wheelFilename('a')}', 1, 1, '', '', 1), ('${wheelFilename('b')}', 2, 1, '', '', 1);
    insert into downloads (filename, accessed_by, accessed_at, arch)
    select '${wheelFilename('a')}', 'h' || n, timestamptz '2025-12-31 23:59:59Z' + n * interval '1 second', 'armv7l'
    from generate_series(0, 99) as n;
    insert into downloads (filename, accessed_at) values
      ('${wheelFilename('b')}', '1970-01-01 00:00:00Z'), ('${wheelFilename('b')}', '9999-12-31 23:00:00Z');
    insert into page_hits (kind, what, accessed_at, py_name) values ('search', 'a', '2024-02-29 12:00:00Z', 'CPython')`);
  await migrate(dsn, { user: decodeURIComponent(new URL(dsn).username) });
  t.equal(await countDownloads(db), 102);
  t.match(await projectDetails(db, 'a'), { downloads: 100, files: [{ downloads: 100 }] });
  t.same(await db.query(`select day::text, downloads from download_days where package_id = 1 order by 1`), [
    { day: '2025-12-31', downloads: 1 },
    { day: '2026-01-01', downloads: 99 },
  ]);
  t.same(
    await db.query(
      `select count(*), min(accessed_by) as first, min(arch) as arch from downloads where accessed_at >= '2026-01-01Z' and accessed_at < '2027-01-01Z'`,
    ),
    [{ count: 99, first: 'h1', arch: 'armv7l' }],
  );
  t.match(await db.query('select kind, resource, py_name from page_hits'), [
    { kind: 'search', resource: 'a', py_name: 'CPython' },
  ]);
  t.match(await countEntries(db, download('a')), { counted: true });
  t.match(await projectDetails(db, 'a'), { downloads: 101 });
});

void t.test("the farm's role creates and drops monthly partitions of tables it doesn't own", async (t) => {
  const { db, dsn } = await emptyDatabase(t);
  const role = `role_${process.pid}`;
  await db.query(`create role ${role} login password 'x'`);
  t.teardown(async () => {
    await db.query(`drop owned by ${role}`);
    await db.query(`drop role ${role}`);
  });
  await migrate(dsn, { user: role });
  await insertPackages(db, 'a');
  const { Database: Pool } = await import('../../src/database/pool.js');
  const url = new URL(dsn);
  [url.username, url.password] = [role, 'x'];
  const roleDatabase = await Pool.open(url.href, 'test');
  try {
    t.match(await countEntries(roleDatabase, download('a', Date.UTC(2021, 4, 5))), { counted: true });
    t.same(await roleDatabase.query('select count(*) from downloads'), [{ count: 1 }]);
    await dropLogs(roleDatabase, 1);
    t.same(await roleDatabase.query('select count(*) from downloads'), [{ count: 0 }]);
    await t.rejects(roleDatabase.query('create table x ()'), /permission denied/);
  } finally {
    await roleDatabase.close();
  }
});
