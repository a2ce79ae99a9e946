import t from 'tap';
import { checkVersion, migrate, schemaVersion } from '../../src/database/migrations.js';
import { Database, refuseSuperuser } from '../../src/database/pool.js';
import { adminDsn, testDatabase } from '../helpers/database.js';

const userOf = (dsn: string): string => decodeURIComponent(new URL(dsn).username);

void t.test('the tables are made once, and are of this version', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await checkVersion(db);
  t.same(await migrate(dsn, { user: userOf(dsn) }), { from: schemaVersion(), to: schemaVersion() });
});

void t.test('tables of a newer version are refused and left as they are', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await db.query('update configuration set schema_version = 999999');
  await t.rejects(migrate(dsn, { user: userOf(dsn) }), { code: 'PIW_DATABASE_VERSION' });
  await t.rejects(checkVersion(db), { code: 'PIW_DATABASE_VERSION' });
});

void t.test("a database of piwheels' own is recognised and left as it is", async (t) => {
  const { db, dsn } = await testDatabase(t);
  await db.query('drop table configuration');
  await db.query(`create table configuration (id integer primary key default 1, version text not null)`);
  await db.query('create table build_abis (abi_tag text primary key)');
  await t.rejects(migrate(dsn, { user: userOf(dsn) }), {
    code: 'PIW_DATABASE_FOREIGN',
    message: /piwheels' own/,
  });
});

void t.test('a role that is not there is named, and a superuser is refused', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await t.rejects(migrate(dsn, { user: 'nobody-of-that-name' }), { code: 'PIW_CONFIG' });
  await t.rejects(refuseSuperuser(db), { code: 'PIW_SUPERUSER' });
});

void t.test('a database that can not be reached is said so, without the password', async (t) => {
  const url = new URL(adminDsn());
  url.port = '1';
  url.password = 'very-secret';
  const error: unknown = await Database.open(url.href, 'x').catch((e: unknown) => e);
  t.match(error, { code: 'PIW_DATABASE' });
  t.notMatch(String(error), /very-secret/);
});
