import t, { type Test } from 'tap';
import { addReleases } from '../../src/database/versions.js';
import { Database } from '../../src/database/pool.js';
import { ConditionBoard } from '../../src/actor/conditions.js';
import { systemClock } from '../../src/concurrency/clock.js';
import { conditionReports } from '../../src/protocols/conditions.js';
import type { Bus } from '../../src/bus/bus.js';
import { until } from '../helpers/bus.js';
import { adminDsn } from '../helpers/database.js';
import { MASTER_TASKS, succeedingBuild, testMaster, testSlave } from '../helpers/master.js';
import { someRelease } from '../helpers/rows.js';
import { runTask } from '../helpers/command.js';

t.setTimeout(180_000);

/** What an administrator, a failover or too many clients can do to a database. */
const OUTAGES: readonly (readonly [name: string, condition: string, begin: string, end: string])[] = [
  [
    'read-only',
    'database-read-only',
    'set default_transaction_read_only = on',
    'reset default_transaction_read_only',
  ],
  ['out of connections', 'database-busy', 'connection limit 0', 'connection limit -1'],
  ['closed', 'database-denied', 'allow_connections false', 'allow_connections true'],
];

/** Collects the conditions that any process reports. */
function collectConditions(t: Test, bus: Bus): ConditionBoard {
  const conditions = new ConditionBoard(systemClock);
  const subscription = bus.subscribe(bus.subject('conditions', 'REPORT'));
  void (async () => {
    for await (const incoming of subscription) {
      const report = conditionReports.unpack(await incoming.body());
      conditions.report(report.source, report.conditions);
    }
  })();
  t.teardown(() => subscription.stop());
  return conditions;
}

for (const [name, condition, begin, end] of OUTAGES) {
  void t.test(`a database that is ${name} only costs time`, async (t) => {
    const versions = Array.from({ length: 3 }, (_, i) => `1.${i}`);
    const role = `r${process.pid}${OUTAGES.findIndex(([outage]) => outage === name)}`;
    const { db, bus, settings, prefix, logLines } = await testMaster(t, { versions, tasks: [] });
    const admin = await Database.open(adminDsn(), 'outage');
    // Superusers may connect whatever the limit.
    const url = new URL(String(settings.dsn));
    const database = url.pathname.slice(1);
    await admin.query(`create role ${role} login password 'x'`);
    await db.query(`grant all on all tables in schema public to ${role}`);
    await db.query(`grant all on all sequences in schema public to ${role}`);
    t.teardown(async () => {
      await db.query(`drop owned by ${role}`).catch(() => undefined);
      await admin.query(`drop role ${role}`).catch(() => undefined);
      await admin.close();
    });
    [url.username, url.password] = [role, 'x'];
    const tasks = MASTER_TASKS.map((task) => runTask(t, task, { ...settings, dsn: url.href }, { logLines }));
    t.equal(tasks.length, MASTER_TASKS.length);
    const conditions = collectConditions(t, bus);
    const slave = await testSlave(t, prefix, succeedingBuild);
    const builds = async () => await db.query<{ status: boolean }>('select status from builds');
    await until(async () => (await builds()).length === 3);
    const terminateOthers = `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${database}' and usename = '${role}'`;
    await admin.query(`alter database ${database} ${begin}`);
    await admin.query(terminateOthers);
    await until(() => conditions.list().some(({ kind }) => kind === condition));
    // A task that is started during the outage waits, too.
    const lateOracle = runTask(t, 'the-oracle', { ...settings, dsn: url.href }, { logLines });
    // The test's existing connections are not affected.
    await addReleases(
      db,
      'demo',
      'feed',
      ['2.0', '2.1', '2.2'].map((version) => someRelease(version)),
    );
    await admin.query(`alter database ${database} ${end}`);
    await admin.query(terminateOthers);
    const reopenedAt = performance.now();
    await until(async () => (await builds()).length === 6, 30_000);
    t.ok(performance.now() - reopenedAt < 15_000, 'work resumes within 15 seconds');
    t.same(
      (await builds()).filter(({ status }) => !status),
      [],
      'no failure is recorded for a package',
    );
    await until(() => !conditions.list().some(({ kind }) => kind === condition));
    t.match(logLines.join('\n'), new RegExp(`condition began kind=${condition} `));
    await lateOracle.stop();
    slave.stop();
    await slave.ended;
  });
}

void t.test(
  'a result that the database refuses fails without its batch, and is recorded with the reason',
  async (t) => {
    const { db, prefix } = await testMaster(t, { versions: ['1.0'] });
    const slaves = await Promise.all(['a', 'b', 'c'].map(() => testSlave(t, prefix, succeedingBuild)));
    const builds = async () =>
      await db.query<{ version: string; status: boolean; reason: string | null }>(
        'select version, status, reason from builds join versions using (version_id) order by version',
      );
    await until(async () => (await builds()).length === 1);
    // A file of that name has been lost from the disk.
    await db.query(`update files set filename = 'demo-2.0-py3-none-any.whl'`);
    await addReleases(
      db,
      'demo',
      'feed',
      ['2.0', '2.1', '2.2', '2.3'].map((version) => someRelease(version)),
    );
    await until(async () => (await builds()).length === 5);
    t.match(await builds(), [
      { version: '1.0', status: true },
      {
        version: '2.0',
        status: false,
        reason: /demo-2\.0-py3-none-any\.whl already exists with different contents/,
      },
      ...['2.1', '2.2', '2.3'].map((version) => ({ version, status: true })),
    ]);
    for (const slave of slaves) slave.stop();
    await Promise.all(slaves.map(({ ended }) => ended));
  },
);
