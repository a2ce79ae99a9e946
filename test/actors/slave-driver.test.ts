import { readdir } from 'node:fs/promises';
import t, { type Test } from 'tap';
import { ProtocolClient } from '../../src/actor/client.js';
import { orders, status } from '../../src/protocols/control.js';
import { slaveDriver, type SlaveVerbs } from '../../src/protocols/slave-driver.js';
import { until } from '../helpers/bus.js';
import { ABI, slaveHello, testMaster, testSlave } from '../helpers/master.js';
import { STATS, ScriptedSession } from '../helpers/session.js';
import { fileStateOf, makeWheel } from '../helpers/wheel.js';
import { NO_DETAILS } from '../../src/model/build-details.js';

t.setTimeout(180_000);

const VERBS = ['HELLO', 'IDLE', 'REST', 'BUSY', 'BUILT', 'SENT', 'BYE'] as const;
type ExpectedAnswers = Record<(typeof VERBS)[number], string>;

const ANSWERS_WITHOUT_SESSION: ExpectedAnswers = {
  HELLO: 'HELLO',
  IDLE: 'PIW_UNKNOWN_SLAVE',
  REST: 'PIW_UNKNOWN_SLAVE',
  BUSY: 'PIW_UNKNOWN_SLAVE',
  BUILT: 'PIW_UNKNOWN_SLAVE',
  SENT: 'PIW_UNKNOWN_SLAVE',
  BYE: 'BYE',
};

/** The requests that bring a session into each state, and the answer to each verb in that state. */
const STATES: Readonly<
  Record<string, { readonly requests: readonly (keyof SlaveVerbs)[]; readonly answers: ExpectedAnswers }>
> = {
  unknown: {
    requests: [],
    answers: ANSWERS_WITHOUT_SESSION,
  },
  idle: {
    requests: ['HELLO'],
    answers: {
      HELLO: 'HELLO',
      IDLE: 'BUILD',
      REST: 'SLEEP',
      BUSY: 'DONE',
      BUILT: 'DONE',
      SENT: 'PIW_UNKNOWN_TRANSFER',
      BYE: 'BYE',
    },
  },
  resting: {
    requests: ['HELLO', 'REST'],
    answers: {
      HELLO: 'HELLO',
      IDLE: 'BUILD',
      REST: 'SLEEP',
      BUSY: 'DONE',
      BUILT: 'DONE',
      SENT: 'PIW_UNKNOWN_TRANSFER',
      BYE: 'BYE',
    },
  },
  building: {
    requests: ['HELLO', 'IDLE'],
    answers: {
      HELLO: 'HELLO',
      IDLE: 'BUILD',
      REST: 'SLEEP',
      BUSY: 'CONT',
      BUILT: 'SEND',
      SENT: 'PIW_UNKNOWN_TRANSFER',
      BYE: 'BYE',
    },
  },
  'building, after BUSY': {
    requests: ['HELLO', 'IDLE', 'BUSY'],
    answers: {
      // The slave has lost the build, which is requeued and granted again.
      HELLO: 'HELLO',
      IDLE: 'BUILD',
      REST: 'SLEEP',
      BUSY: 'CONT',
      BUILT: 'SEND',
      SENT: 'PIW_UNKNOWN_TRANSFER',
      BYE: 'BYE',
    },
  },
  sending: {
    requests: ['HELLO', 'IDLE', 'BUILT'],
    answers: {
      // Nothing has arrived yet.
      HELLO: 'HELLO',
      IDLE: 'BUILD',
      REST: 'SLEEP',
      BUSY: 'CONT',
      BUILT: 'SEND',
      SENT: 'SEND',
      BYE: 'BYE',
    },
  },
  'after BYE': {
    requests: ['HELLO', 'IDLE', 'BYE'],
    answers: ANSWERS_WITHOUT_SESSION,
  },
};

async function stage(t: Test) {
  const master = await testMaster(t);
  const path = await makeWheel(master.output);
  let sessions = 0;
  const session = () => new ScriptedSession(master.bus, `s${(sessions += 1)}`, path);
  return {
    ...master,
    session,
    unleasedRows: () => master.db.query('select 1 from queue where lease is null'),
  };
}

void t.test('every verb is answered in every state', async (t) => {
  const { session, unleasedRows } = await stage(t);
  for (const [state, { requests, answers }] of Object.entries(STATES)) {
    for (const messageVerb of VERBS) {
      const slaveSession = session();
      for (const verb of requests) await slaveSession.request(verb);
      t.equal(await slaveSession.request(messageVerb), answers[messageVerb], `${state}: ${messageVerb}`);
      // Whatever was said, the slave can go on, and keeps no lease when it leaves.
      await slaveSession.request('HELLO');
      await slaveSession.request('BYE');
      t.equal(
        (await unleasedRows()).length,
        1,
        `${state}: ${messageVerb}, and the build is back in the queue`,
      );
    }
  }
});

void t.test('a build with every request repeated is logged and published once', async (t) => {
  const { db, session } = await stage(t);
  const slaveSession = session();
  const twice = async (verb: keyof SlaveVerbs) => [
    await slaveSession.request(verb),
    await slaveSession.request(verb),
  ];
  t.same(await twice('HELLO'), ['HELLO', 'HELLO']);
  t.same(await twice('IDLE'), ['BUILD', 'BUILD']);
  t.same(await twice('BUSY'), ['CONT', 'CONT']);
  t.same(await twice('BUILT'), ['SEND', 'SEND']);
  await slaveSession.send();
  // The second SENT finds the transfer gone: the slave says BUILT again.
  t.same(await twice('SENT'), ['DONE', 'PIW_UNKNOWN_TRANSFER']);
  t.same(await twice('BUILT'), ['DONE', 'DONE']);
  t.same(await twice('IDLE'), ['SLEEP', 'SLEEP']);
  t.same(await twice('BYE'), ['BYE', 'BYE']);
  t.same(await db.query('select status, transient from builds'), [{ status: true, transient: false }]);
  t.same(await db.query('select filename from files'), [{ filename: 'demo-1.0-py3-none-any.whl' }]);
});

void t.test('a late request about an old lease does not affect the new one', async (t) => {
  const { session } = await stage(t);
  const slaveSession = session();
  await slaveSession.request('HELLO');
  await slaveSession.request('IDLE');
  await slaveSession.request('BUSY');
  const oldLease = slaveSession.lease;
  await slaveSession.request('IDLE');
  t.not(slaveSession.lease, oldLease, 'it got another lease');
  const newLease = slaveSession.lease;
  slaveSession.lease = oldLease;
  t.equal(await slaveSession.request('BUSY'), 'DONE');
  t.equal(await slaveSession.request('BUILT'), 'DONE');
  slaveSession.lease = newLease;
  t.equal(await slaveSession.request('BUSY'), 'CONT');
});

void t.test('a paused Slave Driver answers SLEEP to slaves without work, and takes results', async (t) => {
  const { bus, db, session, logLines } = await stage(t);
  const working = session();
  await working.request('HELLO');
  t.equal(await working.request('IDLE'), 'BUILD');
  const order = new ProtocolClient(bus, orders);
  await order.publish('PAUSE', { task: '*' });
  await until(() => logLines.some((line) => /slave-driver.* paused/.test(line)));
  const idle = new ProtocolClient(bus, slaveDriver, [slaveDriver.name, 'slave', 'idle'], { timeoutMs: 5000 });
  t.match(await idle.request('HELLO', { ...slaveHello(), clock: Date.now() }), { verb: 'HELLO' });
  t.match(await idle.request('IDLE', { stats: STATS }), { verb: 'SLEEP', paused: true });
  t.equal(await working.request('BUSY'), 'CONT');
  t.equal(await working.request('BUILT'), 'SEND');
  await working.send();
  t.equal(await working.request('SENT'), 'DONE');
  t.same(await db.query('select status from builds'), [{ status: true }]);
  await order.publish('RESUME', { task: '*' });
  await until(async () => {
    const answer = await idle.request('IDLE', { stats: STATS });
    return answer.verb === 'SLEEP' && !answer.paused;
  });
});

void t.test('a monitor is told each change of a slave', async (t) => {
  const { bus, session } = await stage(t);
  const states: string[] = [];
  const subscription = bus.subscribe(bus.subject(status.name, 'SLAVE'));
  const reading = (async () => {
    for await (const incoming of subscription) {
      const message = status.unpack(await incoming.body());
      if (message.verb === 'SLAVE') states.push(message.slave.state);
    }
  })();
  await bus.rtt();
  const slaveSession = session();
  // Changes that follow each other quickly are published as one.
  const requestAndSee = async (verb: keyof SlaveVerbs, state: string) => {
    await slaveSession.request(verb);
    await until(() => states.at(-1) === state);
  };
  await slaveSession.request('HELLO');
  await requestAndSee('IDLE', 'building');
  await requestAndSee('BUILT', 'sending');
  await slaveSession.send();
  await requestAndSee('SENT', 'idle');
  await requestAndSee('BYE', 'gone');
  await subscription.stop();
  await reading;
});

void t.test('a build of two wheels sends one after the other', async (t) => {
  const { db, prefix, folder } = await testMaster(t);
  const tags = ['cp311-cp311-linux_x86_64', 'py3-none-any'];
  const slave = await testSlave(t, prefix, async (request, workDir) => {
    const paths = await Promise.all(
      tags.map((tag) => makeWheel(workDir, { name: request.package, version: request.version, tag })),
    );
    const files = await Promise.all(paths.map(async (path) => ({ ...(await fileStateOf(path)), path })));
    return { status: true, failureClass: null, durationS: 1, output: 'log', details: NO_DETAILS, files };
  });
  await until(async () => (await db.query('select from builds')).length === 1);
  slave.stop();
  await slave.ended;
  const filenames = tags.map((tag) => `demo-1.0-${tag}.whl`);
  t.same(
    await db.query('select filename, build_id = min(build_id) over () as same from files order by filename'),
    filenames.map((filename) => ({ filename, same: true })),
  );
  t.same((await readdir(folder)).filter((name) => name.endsWith('.whl')).sort(), filenames);
});

void t.test('two sessions of one user are two slaves', async (t) => {
  const { session, slaves } = await stage(t);
  const [first, other] = [session(), session()];
  await first.request('HELLO');
  await other.request('HELLO');
  t.equal(await first.request('IDLE'), 'BUILD');
  t.equal(await other.request('IDLE'), 'SLEEP');
  other.lease = first.lease;
  t.equal(await other.request('BUSY'), 'DONE', 'a session can’t act on another’s lease');
  t.equal(await other.request('BUILT'), 'DONE');
  t.equal(await first.request('BUSY'), 'CONT');
  t.equal(new Set((await slaves()).map(({ slave_id }) => slave_id)).size, 2);
});

void t.test('a slave of another version is told which one is required', async (t) => {
  const { bus } = await stage(t);
  const client = new ProtocolClient(bus, slaveDriver, [slaveDriver.name, 'slave', 'old'], {
    timeoutMs: 5000,
  });
  const hello = { ...slaveHello(), clock: Date.now() };
  const answer = await client.request('HELLO', { ...hello, version: '0.0.1/1' });
  t.match(answer, { verb: 'BYE', reason: /this master is piw \S+ with slave protocol \d+/ });
  const array = [...slaveDriver.pack('HELLO', hello), 'a field of another version'];
  const raw = (await bus.request(bus.subject(slaveDriver.name, 'slave', 'old', 'HELLO'), array)) as unknown[];
  t.equal(raw[0], 'ERROR');
  t.equal(raw[1], 'PIW_MESSAGE_INVALID');
  t.match(raw[2], /this is piw \S+ with protocol \d+/);
});

void t.test('three environmental failures in a row count against the slave', async (t) => {
  const master = await testMaster(t, { versions: ['1.0', '2.0', '3.0', '4.0'] });
  const client = new ProtocolClient(master.bus, slaveDriver, [slaveDriver.name, 'slave', 'one'], {
    timeoutMs: 5000,
    patienceMs: 20_000,
  });
  await client.request('HELLO', { ...slaveHello(), clock: Date.now() });
  const idle = () => client.request('IDLE', { stats: STATS });
  const fail = async (failure_class: string) => {
    const order = await idle();
    if (order.verb !== 'BUILD') return order.verb;
    const { lease, version } = order;
    const failure = { status: false, duration_s: 1, output: 'piw: why\n', details: NO_DETAILS, files: [] };
    await client.request('BUILT', { lease, failure_class, ...failure });
    return version;
  };
  t.same([await fail('network'), await fail('disk'), await fail('index')], ['4.0', '3.0', '2.0']);
  t.same(await fail('network'), 'SLEEP', 'it gets no more work, although one build is left');
  const [row] = await master.slaves();
  t.match(row?.note, /^3 builds in a row failed because of this machine's environment/);
  t.same(
    await master.db.query('select failure_class, transient from builds order by build_id'),
    [
      { failure_class: 'network', transient: true },
      { failure_class: 'disk', transient: true },
    ],
    'the third one is not recorded',
  );
  t.ok(
    master.logLines.some((line) =>
      /faulty slave rests slave=\d+ .* rest_s=60 last_line="piw: why/.test(line),
    ),
  );
  t.equal((await master.db.query('select 1 from queue')).length, 4, 'nothing is lost');
  await master.control.request('WAKE', { slave_id: row?.slave_id ?? 0 });
  t.equal(await fail('compiler'), '1.0', 'an administrator can send it back to work');
  t.match(await master.db.query('select transient from builds where failure_class = $1', ['compiler']), [
    { transient: false },
  ]);
});

void t.test('the next Slave Driver knows an administrator’s requests for a slave', async (t) => {
  const { session, control, slaves, db } = await stage(t);
  const slaveSession = session();
  await slaveSession.request('HELLO');
  const [row] = await slaves();
  await control.request('SLEEP', { slave_id: row?.slave_id ?? 0 });
  t.equal(await slaveSession.request('IDLE'), 'SLEEP');
  t.match(await slaves(), [{ note: 'put to sleep by an administrator', state: 'waiting' }]);
  // A restarted Slave Driver knows about a session what the database does.
  await slaveSession.request('BYE');
  await slaveSession.request('HELLO');
  t.equal(await slaveSession.request('IDLE'), 'SLEEP');
  await control.request('WAKE', { slave_id: null });
  t.equal(await slaveSession.request('IDLE'), 'BUILD');
  await control.request('KILL', { slave_id: null, after_build: true });
  t.equal(await slaveSession.request('BUSY'), 'CONT', 'not before the build is done');
  await db.query('update queue set lease = null, slave_id = null');
  t.equal(await slaveSession.request('BUSY'), 'DONE');
  t.equal(await slaveSession.request('IDLE'), 'BYE');
  await t.rejects(control.request('KILL', { slave_id: 12_345, after_build: true }), {
    code: 'PIW_UNKNOWN_SLAVE',
  });
});

void t.test(`the log warns of a slave of ${ABI} whose clock is wrong`, async (t) => {
  const { bus, logLines } = await stage(t);
  const client = new ProtocolClient(bus, slaveDriver, [slaveDriver.name, 'slave', 'late'], {
    timeoutMs: 5000,
    patienceMs: 20_000,
  });
  await client.request('HELLO', { ...slaveHello('late'), clock: Date.now() - 3_600_000 });
  t.ok(logLines.some((line) => /the slave's clock is wrong slave=\d+ label=late off_s=-?\d+/.test(line)));
});
