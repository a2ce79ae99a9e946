import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { deferred } from '../../src/concurrency/deferred.js';
import { systemClock } from '../../src/concurrency/clock.js';
import { Database } from '../../src/database/pool.js';
import { slaveDriver } from '../../src/protocols/slave-driver.js';
import type { FileState } from '../../src/model/file-state.js';
import { until } from '../helpers/bus.js';
import { runTask } from '../helpers/command.js';
import { MASTER_TASKS, testMaster, type MasterOptions } from '../helpers/master.js';
import { ScriptedSession } from '../helpers/session.js';
import { makeWheel } from '../helpers/wheel.js';

t.setTimeout(180_000);

/**
 * Sets up one of the failures that have stopped piwheels, lost its builds or filled its disk (its issues and
 * its code tell of each). None of them may do so here.
 */
async function stage(t: Test, options?: MasterOptions) {
  const master = await testMaster(t, options);
  const path = await makeWheel(await mkdtemp(join(tmpdir(), 'piw-wheel-')), {
    files: { 'demo.py': randomBytes(200_000) },
  });
  let sessions = 0;
  const session = (lies?: Partial<FileState>) =>
    new ScriptedSession(master.bus, `s${(sessions += 1)}`, path, lies);
  /** Runs a session up to the answer to BUILT. */
  const built = async (lies?: Partial<FileState>) => {
    const slave = session(lies);
    await slave.request('HELLO');
    t.equal(await slave.request('IDLE'), 'BUILD');
    return { slave, answer: await slave.request('BUILT') };
  };
  return {
    ...master,
    session,
    built,
    results: () => master.db.query('select status, failure_class from builds'),
    published: async () => (await readdir(master.folder)).filter((name) => name.endsWith('.whl')),
  };
}

void t.test('a malformed packet is answered with an error', async (t) => {
  const { bus, session } = await stage(t);
  const slave = session();
  t.equal(await slave.request('HELLO'), 'HELLO');
  const subject = bus.subject(slaveDriver.name, 'slave', 's1', 'HELLO');
  for (const bytes of [
    '',
    '\xc1',
    '\x93',
    '\x81\xa5HELLO',
    'HELLO',
    '\x92\xa5HELLO',
    '\xdd\xff\xff\xff\xff',
  ]) {
    const answer = await bus.connection.request(subject, Buffer.from(bytes, 'latin1'), { timeout: 10_000 });
    t.match(Buffer.from(answer.data).toString('latin1'), /ERROR.*PIW_MESSAGE_INVALID/s);
  }
  t.equal(await slave.request('IDLE'), 'BUILD', 'the Slave Driver goes on as before');
});

void t.test('a database error while a build is logged is reported, and the retry succeeds', async (t) => {
  const { db, settings, built, results, published } = await stage(t);
  const { slave } = await built();
  await slave.send();
  const other = await Database.open(String(settings.dsn), 'in-the-way');
  t.teardown(() => other.close());
  const [locked, unlocked] = [deferred(), deferred()];
  const locking = other.transaction(async (within) => {
    await within.query('lock table builds in access exclusive mode');
    locked.resolve();
    await unlocked.promise;
  });
  await locked.promise;
  const sent = slave.request('SENT');
  const waiting = `select pid from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock' and query like '%log_builds%'`;
  await until(async () => (await db.query(waiting)).length > 0);
  await db.query(`select pg_terminate_backend(pid) from (${waiting}) w`);
  t.equal(await sent, 'PIW_DATABASE', 'the slave gets the error');
  unlocked.resolve();
  await locking;
  t.equal(await slave.request('SENT'), 'DONE', 'and its retry succeeds');
  t.same(await results(), [{ status: true, failure_class: null }]);
  t.same(await published(), ['demo-1.0-py3-none-any.whl']);
});

void t.test('a zero-length file fails its build, and nothing is published', async (t) => {
  const { built, results, published, session } = await stage(t);
  const empty = { filesize: 0, filehash: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' };
  const { slave, answer } = await built(empty);
  if (answer === 'SEND') {
    t.match(await slave.transferHello(), { verb: 'DONE' });
    t.equal(await slave.request('SENT'), 'DONE');
  } else t.equal(answer, 'DONE');
  t.same(await results(), [{ status: false, failure_class: 'wrong-wheel' }]);
  t.same(await published(), []);
  t.equal(await session().request('HELLO'), 'HELLO');
});

void t.test('path traversal in a filename is refused', async (t) => {
  const { built, results, published, output } = await stage(t, {
    versions: ['1.0', '2.0', '3.0', '4.0', '5.0', '6.0'],
  });
  // Only this test writes to the parent of the output path.
  const listParent = async () => await readdir(join(output, '..'));
  const before = await listParent();
  for (const filename of [
    '../demo-1.0-py3-none-any.whl',
    '..\\demo-1.0-py3-none-any.whl',
    '/tmp/demo-1.0-py3-none-any.whl',
    'demo-1.0-py3-none-any.whl/../../x.whl',
    '..',
    'demo-1.0-py3-none-any.whl\0',
  ]) {
    const { answer } = await built({ filename });
    t.ok(['PIW_MESSAGE_INVALID', 'DONE'].includes(answer), `${JSON.stringify(filename)}: ${answer}`);
  }
  t.same(await published(), []);
  t.same(
    (await results()).filter(({ status }) => status),
    [],
  );
  t.same(await listParent(), before);
});

void t.test('a file that keeps arriving with a wrong hash requeues its build', async (t) => {
  const { built, db, results, published, logLines } = await stage(t);
  const { slave, answer } = await built({ filehash: '0'.repeat(64) });
  t.equal(answer, 'SEND');
  const answers: string[] = [];
  while (answers.at(-1) !== 'DONE' && answers.length < 20) {
    await slave.send();
    answers.push(await slave.request('SENT'));
  }
  t.same(answers, ['SEND', 'SEND', 'SEND', 'SEND', 'DONE'], 'it gives up after five times');
  t.same(await results(), [], 'damage in transit is not recorded against the package');
  t.match(
    await db.query('select slave_id from queue'),
    [{ slave_id: null }],
    'the build is back in the queue',
  );
  t.same(await published(), []);
  t.ok(logLines.some((line) => line.includes('differs from the announced one')));
});

void t.test('a slave that dies during a build loses its lease', async (t) => {
  const { db, session, settings } = await stage(t, {
    tasks: MASTER_TASKS.filter((task) => task !== 'the-architect'),
  });
  let clockAheadMs = 0;
  runTask(t, 'the-architect', settings, {
    clock: {
      ...systemClock,
      now: () => systemClock.now() + clockAheadMs,
      monotonicMs: () => systemClock.monotonicMs() + clockAheadMs,
    },
  });
  const [dead, other] = [session(), session()];
  await dead.request('HELLO');
  t.equal(await dead.request('IDLE'), 'BUILD');
  await other.request('HELLO');
  t.equal(await other.request('IDLE'), 'SLEEP');
  // Its lease has expired, and the Architect's grace period is over.
  await db.query(`update queue set leased_until = now() - interval '1 second'`);
  clockAheadMs = 3_600_000;
  await until(async () => (await other.request('IDLE')) === 'BUILD');
  t.equal(await dead.request('BUSY'), 'DONE', 'if it comes back, it no longer holds the lease');
});

void t.test('a master that is restarted during a transfer continues it', async (t) => {
  const { built, results, published, settings } = await stage(t, {
    tasks: MASTER_TASKS.filter((task) => !['file-juggler', 'slave-driver'].includes(task)),
  });
  const start = () => ['file-juggler', 'slave-driver'].map((task) => runTask(t, task, settings));
  const first = start();
  const { slave } = await built();
  await slave.send(0, 65_536);
  await Promise.all(first.map((task) => task.stop()));
  start();
  t.match(
    await slave.transferHello(),
    { verb: 'FETCH', offset: 65_536 },
    'only the missing part is requested',
  );
  await slave.send(65_536);
  t.equal(await slave.request('SENT'), 'PIW_UNKNOWN_SLAVE');
  t.equal(await slave.request('HELLO'), 'HELLO');
  t.equal(await slave.request('SENT'), 'PIW_UNKNOWN_TRANSFER');
  t.equal(await slave.request('BUILT'), 'SEND');
  t.equal(await slave.request('SENT'), 'DONE');
  t.same(await results(), [{ status: true, failure_class: null }]);
  t.same(await published(), ['demo-1.0-py3-none-any.whl']);
});
