import t from 'tap';
import { Database } from '../../src/database/pool.js';
import { classifyDatabaseError, classifySqlState } from '../../src/database/sql-states.js';
import { emptyDatabase } from '../helpers/database.js';

void t.test('a SQLSTATE is classified by its longest known prefix', (t) => {
  for (const [state, kind] of [
    ['25006', 'read-only'],
    ['25P02', 'fault'],
    ['53100', 'full'],
    ['53200', 'busy'],
    ['53300', 'busy'],
    ['57014', 'slow'],
    ['57P01', 'away'],
    ['57P03', 'away'],
    ['08006', 'away'],
    ['08P01', 'fault'],
    ['40001', 'retry'],
    ['40P01', 'retry'],
    ['40003', 'away'],
    ['55P03', 'retry'],
    ['28P01', 'denied'],
    ['42501', 'denied'],
    ['42P01', 'fault'],
    ['23505', 'fault'],
    ['22021', 'fault'],
    ['58030', 'away'],
    ['XX001', 'damaged'],
    ['ZZ999', 'fault'],
  ] as const)
    t.equal(classifySqlState(state), kind, state);
  t.end();
});

void t.test('a system error means that the server is away, and an error of our own means nothing', (t) => {
  const systemError = Object.assign(new Error('connect ECONNREFUSED'), {
    code: 'ECONNREFUSED',
    syscall: 'connect',
  });
  t.equal(classifyDatabaseError(systemError), 'away');
  t.equal(classifyDatabaseError(new Error('Connection terminated unexpectedly')), 'away');
  t.equal(classifyDatabaseError(new Error('a connection error of our own')), undefined);
  t.equal(classifyDatabaseError(new TypeError('x is not a function')), undefined);
  t.end();
});

void t.test(
  'a rejected query throws a coded error, and a server problem is a condition while it lasts',
  async (t) => {
    const { db: admin, dsn } = await emptyDatabase(t);
    const [row] = await admin.query<{ name: string }>('select current_database() as name');
    const name = row?.name ?? '';
    await admin.query('create table things (id int primary key)');
    await t.rejects(admin.query('insert into things values (1), (1)'), { code: 'PIW_DATABASE_FAULT' });
    await t.rejects(admin.query('select * from nothing'), { code: 'PIW_DATABASE_FAULT' });
    const reported: string[] = [];
    // The timer of the probe doesn't keep the process alive.
    const keepAlive = setInterval(() => undefined, 1000);
    t.teardown(() => {
      clearInterval(keepAlive);
    });
    const db = await Database.open(dsn, 'test');
    t.teardown(() => db.close());
    const cleared = new Promise<void>((resolve) => {
      db.reportTo({
        raise: (kind, subject) => reported.push(`+ ${kind} ${subject.replace(/^.*\//, '')}`),
        clear: (kind) => {
          reported.push(`- ${kind}`);
          resolve();
        },
      });
    });
    await admin.query(`alter database ${name} set default_transaction_read_only = on`);
    await admin.query(
      'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
    );
    await db.query('select 1').catch(() => undefined);
    await t.rejects(db.query('insert into things values (2)'), {
      code: 'PIW_DATABASE',
      message: /^the database is read-only: /,
    });
    t.same(reported.at(-1), `+ database-read-only ${name}`);
    await admin.query(`alter database ${name} reset default_transaction_read_only`);
    await admin.query(
      'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
    );
    await cleared;
    await db.query('insert into things values (2)');
  },
);

void t.test(
  'PostgreSQL ends the sessions of a host that is gone within 15 s, with their locks',
  async (t) => {
    const { db } = await emptyDatabase(t);
    const [row] = await db.query(
      `select current_setting('tcp_keepalives_idle')::int as idle_s,
       current_setting('tcp_keepalives_interval')::int as interval_s,
       current_setting('tcp_keepalives_count')::int as count, current_setting('tcp_user_timeout')::int as unanswered_ms`,
    );
    t.strictSame(row, { idle_s: 5, interval_s: 5, count: 2, unanswered_ms: 15_000 });
  },
);
