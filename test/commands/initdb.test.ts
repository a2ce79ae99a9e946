import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { inspectDatabase } from '../../src/database/inspection.js';
import { schemaVersion } from '../../src/database/migrations.js';
import type { Database } from '../../src/database/pool.js';
import { piwRunner } from '../helpers/command.js';
import { emptyDatabase } from '../helpers/database.js';
import { skipUnlessInstalled } from '../helpers/missing.js';
import { piwOnTerminal } from '../helpers/terminal.js';

t.setTimeout(300_000);

const piw = piwRunner({});

/** Creates an ordinary role for this test. Returns its name, and the DSN as which it connects. */
async function ordinaryRole(t: Test, db: Database, dsn: string): Promise<{ name: string; dsn: string }> {
  const name = `r${randomBytes(6).toString('hex')}`;
  await db.query(`create role ${name} login password 'a'`);
  t.teardown(async () => {
    await db.query(`drop owned by ${name}`);
    await db.query(`drop role ${name}`);
  });
  const url = new URL(dsn);
  url.username = name;
  url.password = 'a';
  return { name, dsn: url.href };
}

/** Runs piw initdb; returns its exit code, and all that it prints, without advice. */
async function initdb(...args: readonly string[]): Promise<readonly [number, string]> {
  const { code, out, err } = await piw('initdb', ...args);
  return [code, `${out}${err}`];
}

void t.test('piw initdb says what it found and will do, and does it once', async (t) => {
  const { db, dsn } = await emptyDatabase(t);
  const [row] = await db.query<{ name: string; me: string }>(
    'select current_database() as name, current_user as me',
  );
  const { name: database, me } = row ?? { name: '', me: '' };
  const master = await ordinaryRole(t, db, dsn);
  const version = schemaVersion();
  const place = `The database ${database}, seen as ${me},`;
  const plan = `${place} has no tables: version ${version} will be created, and role ${master.name} gets the rights of a master.\n`;

  const [unconfirmed, unsaid] = await initdb('-d', dsn, '-u', master.name);
  t.equal(unconfirmed, 1);
  t.ok(unsaid.startsWith(`${plan}piw: nothing was changed.`), unsaid);
  t.same(await initdb('-d', dsn, '-u', master.name, '-y'), [
    0,
    `${plan}The database is now at version ${version}.\n`,
  ]);
  t.same(await initdb('-d', dsn, '-u', master.name), [
    0,
    `${place} is already at version ${version}, and role ${master.name} has the rights of a master.\n`,
  ]);
  // The master's own role may use the tables, and not change them.
  await t.rejects(inspectDatabase(master.dsn, master.name), { code: 'PIW_DATABASE_RIGHTS' });
  await db.query('update configuration set schema_version = 1');
  t.match(await inspectDatabase(dsn, master.name), { installed: 1, required: version });
});

void t.test('a mistake is said at once, with what to do', async (t) => {
  const { db, dsn } = await emptyDatabase(t);
  await db.query('revoke create on schema public from public');
  const [row] = await db.query<{ me: string }>('select current_user as me');
  const me = row?.me ?? '';
  const master = await ordinaryRole(t, db, dsn);
  const changed = (change: (url: URL) => void): string => {
    const url = new URL(dsn);
    change(url);
    return url.href;
  };
  const mistakes: readonly (readonly [readonly string[], number, RegExp])[] = [
    [['-d', master.dsn, '-u', master.name], 2, /may not create tables .* sudo -u postgres piw initdb/],
    [['-d', dsn, '-u', 'nobody-of-that-name'], 3, /has no role "nobody-of-that-name"\. .*createuser/],
    [['-d', dsn, '-u', me], 2, new RegExp(`the role ${me} for the master is a PostgreSQL superuser`)],
    [['-d', changed((url) => (url.pathname = '/nowhere'))], 3, /no database "nowhere"\. .*createdb/],
    [['-d', 'host=localhost dbname=piwheels'], 2, /the DSN is not of the form postgres:/],
    [['-d', changed((url) => (url.port = '1'))], 5, /the database is unreachable/],
  ];
  const results = await Promise.all(mistakes.map(([args]) => initdb(...args, '-y')));
  for (const [i, [, code, pattern]] of mistakes.entries()) {
    const [exitCode, text = ''] = results[i] ?? [];
    t.equal(exitCode, code, text);
    t.match(text, pattern);
  }

  await db.query('create table configuration (id integer primary key default 1, schema_version integer)');
  await db.query('insert into configuration values (1, $1)', [schemaVersion() + 1]);
  await t.rejects(inspectDatabase(dsn, master.name), { code: 'PIW_DATABASE_NEWER' });
  await db.query('alter table configuration drop column schema_version');
  await db.query('create table build_abis (abi_tag text primary key)');
  await t.rejects(inspectDatabase(dsn, master.name), {
    code: 'PIW_DATABASE_FOREIGN',
    message: /belongs to piwheels/,
  });
  await db.query(`do $$ begin
    execute format('alter database %I set default_transaction_read_only = on', current_database());
  end $$`);
  const readOnly = [
    5,
    /piw: the database \S+ takes no changes: default_transaction_read_only is on\. Name the primary server /,
  ];
  t.match(await initdb('-d', dsn, '-u', master.name, '-y'), readOnly);
  const folder = mkdtempSync(join(tmpdir(), 'piw-www-'));
  const start = ['master', '--allow-root', '-d', dsn, '-o', folder, '--nats', 'localhost:1'];
  const { code, err } = await piw(...start);
  t.match([code, err], readOnly, 'a master does not start there');
});

void t.test(
  'a database with any table of another program is refused; extensions have tables, too',
  async (t) => {
    const { db, dsn } = await emptyDatabase(t);
    const master = await ordinaryRole(t, db, dsn);
    await db.query('create table builds (mine int)');
    const { code, err } = await piw('initdb', '-d', dsn, '-u', master.name, '-y');
    t.equal(code, 6);
    t.match(
      err,
      /contains tables of another program, for example builds, and was not changed\. .* of its own\.\n$/,
    );
    t.same(
      await db.query('select relname from pg_class where relnamespace = current_schema()::regnamespace'),
      [{ relname: 'builds' }],
    );
    await db.query('drop table builds');
    const [extension] = await db.query<{ name: string }>(
      `select name from pg_available_extensions where name = 'pg_stat_statements'`,
    );
    if (extension === undefined) return;
    await db.query('create extension pg_stat_statements');
    t.match(await inspectDatabase(dsn, master.name), { installed: 0 });
  },
);

void t.test(
  'Ctrl+C or Ctrl+D at the question ends the command, and nothing is changed',
  { skip: skipUnlessInstalled('python3') },
  async (t) => {
    const { db, dsn } = await emptyDatabase(t);
    const master = await ordinaryRole(t, db, dsn);
    const [interrupted, ended, declined] = await Promise.all(
      ['\x03', '\x04', 'n\r'].map((keys) => piwOnTerminal(keys, 'initdb', '-d', dsn, '-u', master.name)),
    );
    t.match(interrupted, { code: 130, out: /\npiw: interrupted before anything was changed\./ });
    t.match(ended, { code: 1, out: /piw: nothing was changed\./ });
    t.match(declined, { code: 1, out: /piw: nothing was changed\./ });
    t.match(await inspectDatabase(dsn, master.name), { installed: 0 });
  },
);
