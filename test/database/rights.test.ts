/** The rights that piw initdb gives to the role of a master: the least that work. */
import { randomBytes } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { migrate } from '../../src/database/migrations.js';
import { Database } from '../../src/database/pool.js';
import { MASTER_RIGHTS } from '../../src/database/rights.js';
import { testDatabase } from '../helpers/database.js';

const SOURCES = fileURLToPath(new URL('../../../src/database/', import.meta.url));
/** What the owner of the tables runs: piw initdb and piw restore. */
const OF_THE_OWNER = ['migrations.ts', 'inspection.ts', 'load.ts', 'rights.ts'];

/** How SQL changes a table, by the right that this needs. */
const CHANGES: readonly (readonly [right: string, pattern: (table: string) => RegExp])[] = [
  ['insert', (table) => new RegExp(`\\b(?:insert\\s+into|copy)\\s+${table}\\b`, 'i')],
  ['update', (table) => new RegExp(`\\bupdate\\s+${table}\\b`, 'i')],
  [
    'update',
    (table) =>
      new RegExp(`\\binsert\\s+into\\s+${table}\\b[^;\`]*?\\bon\\s+conflict[^;\`]*?do\\s+update`, 'i'),
  ],
  ['delete', (table) => new RegExp(`\\bdelete\\s+from\\s+${table}\\b`, 'i')],
];

void t.test('each right is needed by the SQL of the program, and none is missing', async (t) => {
  const { db } = await testDatabase(t);
  const tables = await db.query<{ name: string }>(
    `select relname as name from pg_class
     where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p') and not relispartition`,
  );
  const functions = await db.query<{ source: string }>(
    `select prosrc as source from pg_proc where pronamespace = current_schema()::regnamespace and not prosecdef`,
  );
  const files = readdirSync(SOURCES).filter((name) => !OF_THE_OWNER.includes(name));
  const sql = [
    ...files.map((name) => readFileSync(join(SOURCES, name), 'utf8')),
    ...functions.map(({ source }) => source),
  ];
  const needed = tables.flatMap(({ name }) =>
    CHANGES.filter(([, pattern]) => sql.some((text) => pattern(name).test(text))).map(
      ([right]) => `${right} ${name}`,
    ),
  );
  t.same(MASTER_RIGHTS.map(([table, right]) => `${right} ${table}`).sort(), [...new Set(needed)].sort());
});

void t.test('the role of a master can do nothing else', async (t) => {
  const { db, dsn } = await testDatabase(t);
  const name = `r${randomBytes(6).toString('hex')}`;
  await db.query(`create role ${name} login password 'a'`);
  await db.query('revoke create on schema public from public');
  // The rights that an earlier version granted are taken away.
  await db.query(`grant all on all tables in schema public to ${name}`);
  await migrate(dsn, { user: name });
  const url = new URL(dsn);
  url.username = name;
  url.password = 'a';
  const master = await Database.open(url.href, 'test');
  t.teardown(async () => {
    await master.close();
    await db.query(`drop owned by ${name}`);
    await db.query(`drop role ${name}`);
  });
  for (const statement of [
    'update configuration set schema_version = 1',
    'delete from configuration',
    'delete from published_files',
    `update published_files set sha256 = ''`,
    'delete from installation',
    'delete from slaves',
    'truncate builds',
    'drop table queue',
    'alter table packages add column mine int',
    'create index on packages (package)',
    'create table mine (id int)',
    'create schema mine',
    `create function mine() returns int language sql as 'select 1'`,
    'drop function make_log_months',
    `create trigger mine after insert on packages execute function suppress_redundant_updates_trigger()`,
    `select setval('serials', 1)`,
    'select rolpassword from pg_authid',
    'create role mine',
    `alter role ${name} superuser`,
    'create database mine',
    `copy packages to program 'true'`,
    `copy packages from '/etc/passwd'`,
    `select pg_read_file('/etc/passwd')`,
    'create extension file_fdw',
    'checkpoint',
  ])
    await t.rejects(master.query(statement), statement);
  await t.resolves(master.query('select count(*) from packages'));
});
