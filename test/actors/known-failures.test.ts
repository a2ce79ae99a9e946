import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
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
 * What has stopped piwheels, lost its builds or filled its disk (its issues and its code tell of each), and
 * has to do neither here.
 */
async function stage(t: Test, options?: MasterOptions) {
  const master = await testMaster(t, options);
  const path = await makeWheel(await mkdtemp(join(tmpdir(), 'piw-wheel-')), {
    files: { 'demo.py': randomBytes(200_000) },
  });
  let sessions = 0;
  const session = (lies?: Partial<FileState>) =>
    new ScriptedSession(master.bus, `s${String((sessions += 1))}`, path, lies);
  /** Up to where the master asks for the wheel. */
  const built = async (lies?: Partial<FileState>) => {
    const one = session(lies);
    await one.request('HELLO');
    t.equal(await one.request('IDLE'), 'BUILD');
    return { one, answer: await one.request('BUILT') };
  };
  return {
    ...{ ...master, session, built },
    results: () => master.db.query('select status, failure_class from builds'),
    published: async () => (await readdir(master.folder)).filter((name) => name.endsWith('.whl')),
  };
}

void t.test('a malformed packet', async (t) => {
  const { bus, session } = await stage(t);
  const one = session();
  t.equal(await one.request('HELLO'), 'HELLO');
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
  t.equal(await one.request('IDLE'), 'BUILD', 'it goes on as if nothing had been');
});

void t.test('a database error while a build is logged', async (t) => {
  const { db, settings, built, results, published } = await stage(t);
  const { one } = await built();
  await one.send();
  const other = await Database.open(String(settings.dsn), 'in-the-way');
  t.teardown(() => other.close());
  let unlock: () => void = () => undefined;
  let markLocked: () => void = () => undefined;
  const isLocked = new Promise<void>((resolve) => (markLocked = resolve));
  const locking = other.transaction(async (within) => {
    await within.query('lock table builds in access exclusive mode');
    markLocked();
    await new Promise<void>((resolve) => (unlock = resolve));
  });
  await isLocked;
  const sent = one.request('SENT');
  const waiting = `select pid from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock' and query like '%log_builds%'`;
  await until(async () => (await db.query(waiting)).length > 0);
  await db.query(`select pg_terminate_backend(pid) from (${waiting}) w`);
  t.equal(await sent, 'PIW_DATABASE', 'the slave is told');
  unlock();
  await locking;
  t.equal(await one.request('SENT'), 'DONE', 'and says it again');
  t.same(await results(), [{ status: true, failure_class: null }]);
  t.same(await published(), ['demo-1.0-py3-none-any.whl']);
});

void t.test('a zero-length file', async (t) => {
  const { built, results, published, session } = await stage(t);
  const empty = { filesize: 0, filehash: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' };
  const { one, answer } = await built(empty);
  if (answer === 'SEND') {
    t.match(await one.transferHello(), { verb: 'DONE' });
    t.equal(await one.request('SENT'), 'DONE');
  } else t.equal(answer, 'DONE');
  t.same(await results(), [{ status: false, failure_class: 'wrong-wheel' }]);
  t.same(await published(), []);
  t.equal(await session().request('HELLO'), 'HELLO');
});

void t.test('path traversal', async (t) => {
  const { built, results, published, output } = await stage(t, {
    versions: ['1.0', '2.0', '3.0', '4.0', '5.0', '6.0'],
  });
  // What is beside the output path is nobody's but this test's.
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

void t.test('a wrong hash, sent again and again', async (t) => {
  const { built, db, results, published, logLines } = await stage(t);
  const { one, answer } = await built({ filehash: '0'.repeat(64) });
  t.equal(answer, 'SEND');
  const answers: string[] = [];
  while (answers.at(-1) !== 'DONE' && answers.length < 20) {
    await one.send();
    answers.push(await one.request('SENT'));
  }
  t.same(answers, ['SEND', 'SEND', 'SEND', 'SEND', 'DONE'], 'five times is enough');
  t.same(await results(), [], 'what is damaged on its way says nothing of the package');
  t.match(await db.query('select slave_id from queue'), [{ slave_id: null }], 'it is in the queue again');
  t.same(await published(), []);
  t.ok(logLines.some((line) => line.includes('another SHA-256 than was announced')));
});

void t.test('a slave that dies in the middle of a build', async (t) => {
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
  // Its lease has run out, and the Architect has been there long enough to know.
  await db.query(`update queue set leased_until = now() - interval '1 second'`);
  clockAheadMs = 3_600_000;
  await until(async () => (await other.request('IDLE')) === 'BUILD');
  t.equal(await dead.request('BUSY'), 'DONE', 'should it come back, it has nothing to say about it');
});

void t.test('a master that is killed in the middle of a transfer', async (t) => {
  const { built, results, published, settings } = await stage(t, {
    tasks: MASTER_TASKS.filter((task) => !['file-juggler', 'slave-driver'].includes(task)),
  });
  const start = () => ['file-juggler', 'slave-driver'].map((task) => runTask(t, task, settings));
  const first = start();
  const { one } = await built();
  await one.send(0, 65_536);
  await Promise.all(first.map((task) => task.stop()));
  start();
  t.match(await one.transferHello(), { verb: 'FETCH', offset: 65_536 }, 'only what is missing is asked for');
  await one.send(65_536);
  t.equal(await one.request('SENT'), 'PIW_UNKNOWN_SLAVE');
  t.equal(await one.request('HELLO'), 'HELLO');
  t.equal(await one.request('SENT'), 'PIW_UNKNOWN_TRANSFER');
  t.equal(await one.request('BUILT'), 'SEND');
  t.equal(await one.request('SENT'), 'DONE');
  t.same(await results(), [{ status: true, failure_class: null }]);
  t.same(await published(), ['demo-1.0-py3-none-any.whl']);
});
