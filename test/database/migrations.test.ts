import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { checkSchemaVersion, migrate, schemaVersion } from '../../src/database/migrations.js';
import { Database } from '../../src/database/pool.js';
import { refuseSuperuser } from '../../src/database/role.js';
import { readStatistics } from '../../src/database/statistics.js';
import { adminDsn, emptyDatabase, testDatabase } from '../helpers/database.js';

const SQL = fileURLToPath(new URL('../../../sql/', import.meta.url));
const userOf = (dsn: string): string => decodeURIComponent(new URL(dsn).username);

void t.test('migrating twice changes nothing the second time', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await checkSchemaVersion(db);
  t.same(await migrate(dsn, { user: userOf(dsn) }), { from: schemaVersion(), to: schemaVersion() });
});

void t.test('tables of a newer version are refused and left as they are', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await db.query('update configuration set schema_version = 999999');
  await t.rejects(migrate(dsn, { user: userOf(dsn) }), { code: 'PIW_DATABASE_NEWER' });
  await t.rejects(checkSchemaVersion(db), { code: 'PIW_DATABASE_NEWER' });
});

void t.test('an upgrade that fails halfway leaves the database as it was', async (t) => {
  const { db, dsn } = await emptyDatabase(t);
  for (const number of [1, 2, 3, 4]) await db.query(await readFile(join(SQL, `00000${number}.sql`), 'utf8'));
  // A later migration creates a table of this name.
  await db.query(
    'insert into configuration (schema_version) values (4); create table installation (mine int)',
  );
  const state = async () =>
    await db.query(
      `select relname, relkind, (select schema_version from configuration) as version
       from pg_class where relnamespace = current_schema()::regnamespace order by relname`,
    );
  const before = await state();
  await t.rejects(migrate(dsn, { user: userOf(dsn) }), { message: /"installation" already exists/ });
  t.same(await state(), before);
});

void t.test('after the migration, pure wheels that PyPy had built serve only PyPy', async (t) => {
  const { db, dsn } = await emptyDatabase(t);
  // Tables of version 2, with a package whose extension PyPy doesn't build, and a pure package.
  for (const file of ['000001.sql', '000002.sql']) await db.query(await readFile(join(SQL, file), 'utf8'));
  await db.query(`
    insert into configuration (schema_version) values (2);
    insert into targets (abi, platform, py_version_tag, rank) values
      ('cp311', 'linux_x86_64', 'cp311', 3011), ('cp312', 'linux_x86_64', 'cp312', 3012),
      ('pypy39_pp73', 'linux_x86_64', 'pp39', 2003009), ('pypy310_pp73', 'linux_x86_64', 'pp310', 2003010);
    insert into packages (package, origin) values ('demo', 'feed'), ('pure', 'feed');
    insert into versions (package_id, version, sort_key, has_sdist, origin) values
      (1, '1.0', '1.0', true, 'feed'), (2, '1.0', '1.0', true, 'feed');
    insert into builds (version_id, target_id, lease, duration, status, output) values
      (1, 1, 1, '1 s', true, ''), (1, 3, 2, '1 s', true, ''), (2, 1, 3, '1 s', true, '');
    insert into tags (py, abi, platform) values ('cp311', 'cp311', 'linux_x86_64'), ('py3', 'none', 'any');
    insert into tag_covers values (1, 1), (2, 1), (2, 2), (2, 3), (2, 4);
    insert into files (filename, version_id, build_id, filesize, sha256, metadata_sha256, tag_id) values
      ('demo-1.0-cp311-cp311-linux_x86_64.whl', 1, 1, 1, '', '', 1), ('demo-1.0-py3-none-any.whl', 1, 2, 1, '', '', 2),
      ('pure-1.0-py3-none-any.whl', 2, 3, 1, '', '', 2);
    select requeue('{1,2}')`);
  t.same(await db.query('select 1 from queue'), []);
  await migrate(dsn, { user: userOf(dsn) });
  t.same(await db.query('select version_id, abi from queue join targets using (target_id)'), [
    { version_id: 1, abi: 'cp312' },
  ]);
  t.same(
    await db.query(
      `select filename, array_agg(target_id order by target_id) as serves
       from files join tag_covers using (tag_id) group by filename order by filename`,
    ),
    [
      { filename: 'demo-1.0-cp311-cp311-linux_x86_64.whl', serves: [1] },
      { filename: 'demo-1.0-py3-none-any.whl', serves: [3, 4] },
      { filename: 'pure-1.0-py3-none-any.whl', serves: [1, 2, 3, 4] },
    ],
  );
});

void t.test(
  'tables of an early version 3, which already had the reach of wheels, are migrated',
  async (t) => {
    const { db, dsn } = await emptyDatabase(t);
    for (const number of [1, 2, 3, 4])
      await db.query(await readFile(join(SQL, `00000${number}.sql`), 'utf8'));
    await db.query(`
    insert into configuration (schema_version) values (3);
    insert into tags (py, abi, platform, reach) values ('py3', 'none', 'any', 'all'), ('py3', 'none', 'any', 'pypy')`);
    t.same(await migrate(dsn, { user: userOf(dsn) }), { from: 3, to: schemaVersion() });
    t.same(await db.query('select reach from tags order by tag_id'), [{ reach: 'all' }, { reach: 'pypy' }]);
  },
);

void t.test('the migration of a farm without serials and log pages marks all pages due', async (t) => {
  const { db, dsn } = await emptyDatabase(t);
  for (const number of [1, 2, 3, 4]) await db.query(await readFile(join(SQL, `00000${number}.sql`), 'utf8'));
  await db.query(`
    insert into configuration (schema_version) values (4);
    insert into targets (abi, platform, py_version_tag, rank) values ('cp311', 'linux_x86_64', 'cp311', 3011);
    insert into packages (package, origin) values ('demo', 'feed'), ('failing', 'feed');
    insert into versions (package_id, version, sort_key, has_sdist, origin) values
      (1, '1.0', '1.0', true, 'feed'), (2, '1.0', '1.0', true, 'feed');
    insert into builds (version_id, target_id, lease, duration, status, output) values
      (1, 1, 1, '1 s', true, ''), (2, 1, 2, '1 s', false, '');
    insert into tags (py, abi, platform) values ('cp311', 'cp311', 'linux_x86_64');
    insert into files (filename, version_id, build_id, filesize, sha256, metadata_sha256, tag_id) values
      ('demo-1.0-cp311-cp311-linux_x86_64.whl', 1, 1, 7, '', '', 1);
    insert into downloads (filename, accessed_at) values
      ('demo-1.0-cp311-cp311-linux_x86_64.whl', '2026-10-31 23:30Z'), ('demo-1.0-cp311-cp311-linux_x86_64.whl', now())`);
  await migrate(dsn, { user: userOf(dsn) });
  t.same(await db.query('select kind, argument from pages_backlog order by kind, argument'), [
    { kind: 'LOG', argument: '1' },
    { kind: 'LOG', argument: '2' },
    { kind: 'PKG', argument: 'demo' },
    { kind: 'PROJECT', argument: 'failing' },
  ]);
  t.same(await db.query('select package from listed_packages'), [{ package: 'demo' }]);
  t.same(await db.query('select downloads from file_downloads'), [{ downloads: 2 }]);
  t.match(await readStatistics(db), {
    packages: 2,
    packages_built: 1,
    versions: 2,
    builds: 2,
    builds_failed: 1,
    files: 1,
    files_bytes: 7,
    downloads: 2,
  });
});

void t.test('the migration that renames tables and columns keeps their rows', async (t) => {
  const { db, dsn } = await emptyDatabase(t);
  for (let number = 1; number <= 15; number += 1)
    await db.query(await readFile(join(SQL, `${String(number).padStart(6, '0')}.sql`), 'utf8'));
  await db.query(`
    insert into configuration (schema_version) values (15);
    insert into targets (abi, platform, py_version_tag, rank) values ('cp311', 'linux_x86_64', 'cp311', 3011);
    insert into packages (package, origin, gone, missing, removed) values
      ('demo', 'feed', null, null, false), ('away', 'feed', '2026-01-01Z', '2026-01-01Z', true);
    insert into versions (package_id, version, sort_key, has_sdist, origin, gone) values
      (1, '1.0', '1.0', true, 'feed', null), (2, '1.0', '1.0', true, 'feed', '2026-01-01Z');
    insert into builds (version_id, target_id, duration, status, output, passing, put_back) values
      (1, 1, '1 s', false, '', true, null), (1, 1, '1 s', false, '', false, 'retry');
    insert into looks (package_id, urgent, tries) values (1, true, 3);
    insert into listed (package, serial) values ('demo', 7);
    insert into published (filename, sha256) values ('demo-1.0-py3-none-any.whl', 'abc');
    insert into pages_backlog (kind, argument) values ('LOG', '1'), ('PKG', 'demo');
    insert into page_hits (kind, what, accessed_at) values ('search', 'demo', now());
    update installation set beat = 5;
    select requeue('{1,2}')`);
  t.same(await migrate(dsn, { user: userOf(dsn) }), { from: 15, to: schemaVersion() });
  t.same(
    await db.query(`
      select package, removed_at is not null as removed, missing_since is not null as missing, removal_reported,
        attempts, l.serial
      from packages left join page_fetches using (package_id) left join listed_packages l using (package)
      order by package_id`),
    [
      { package: 'demo', removed: false, missing: false, removal_reported: false, attempts: 3, serial: 7 },
      { package: 'away', removed: true, missing: true, removal_reported: true, attempts: null, serial: null },
    ],
  );
  t.same(await db.query('select package_id, version_id, priority from queue'), [
    { package_id: 1, version_id: 1, priority: 0 },
  ]);
  t.same(await db.query('select transient, requeue_reason from builds order by build_id'), [
    { transient: true, requeue_reason: null },
    { transient: false, requeue_reason: 'retry' },
  ]);
  t.same(await db.query('select filename, sha256 from published_files'), [
    { filename: 'demo-1.0-py3-none-any.whl', sha256: 'abc' },
  ]);
  t.same(await db.query('select page_priority(kind) as priority from pages_backlog order by revision'), [
    { priority: 'rest' },
    { priority: 'front' },
  ]);
  t.same(await db.query('select resource, heartbeat from page_hits, installation'), [
    { resource: 'demo', heartbeat: 5 },
  ]);
});

void t.test(
  'after all migrations, no function names a table or column that has been renamed or dropped',
  async (t) => {
    const { db } = await testDatabase(t);
    // PostgreSQL checks the text of a function only when it runs.
    const oldNames =
      'looks|listed|published|standings|open_targets|gone|missing|looked|tries|of_package|passing|put_back|note';
    t.same(
      await db.query(
        `select proname from pg_proc where pronamespace = current_schema()::regnamespace and prosrc ~ '\\m(${oldNames})\\M'`,
      ),
      [],
    );
  },
);

void t.test('a database of piwheels is refused and left unchanged', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await db.query('drop table configuration');
  await db.query(`create table configuration (id integer primary key default 1, version text not null)`);
  await db.query('create table build_abis (abi_tag text primary key)');
  await t.rejects(migrate(dsn, { user: userOf(dsn) }), {
    code: 'PIW_DATABASE_FOREIGN',
    message: /belongs to piwheels/,
  });
});

void t.test('a missing role and a superuser are refused', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await t.rejects(migrate(dsn, { user: 'nobody-of-that-name' }), { code: 'PIW_NO_ROLE' });
  await t.rejects(refuseSuperuser(db), { code: 'PIW_SUPERUSER' });
});

void t.test('the error about an unreachable database does not contain the password', async (t) => {
  const url = new URL(adminDsn());
  url.port = '1';
  url.password = 'very-secret';
  const error: unknown = await Database.open(url.href, 'x').catch((reason: unknown) => reason);
  t.match(error, { code: 'PIW_DATABASE' });
  t.notMatch(String(error), /very-secret/);
});
