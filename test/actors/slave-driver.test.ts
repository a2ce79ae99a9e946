import t, { type Test } from 'tap';
import { Client } from '../../src/actor/client.js';
import { slaveDriver, type SlaveVerbs } from '../../src/protocols/slave-driver.js';
import { ABI, helloOf, testMaster } from '../helpers/master.js';
import { STATS, Session } from '../helpers/session.js';
import { makeWheel } from '../helpers/wheel.js';
import { NO_DETAILS } from '../../src/states/build-details.js';

t.setTimeout(180_000);

const SAID = ['HELLO', 'IDLE', 'REST', 'BUSY', 'BUILT', 'SENT', 'BYE'] as const;
type Answers = Record<(typeof SAID)[number], string>;

/** How a session comes into each state, and what each word is answered there. */
const STATES: Readonly<
  Record<string, { readonly by: readonly (keyof SlaveVerbs)[]; readonly answers: Answers }>
> = {
  unknown: {
    by: [],
    answers: {
      ...{ HELLO: 'HELLO', IDLE: 'PIW_UNKNOWN_SLAVE', REST: 'PIW_UNKNOWN_SLAVE', BUSY: 'PIW_UNKNOWN_SLAVE' },
      ...{ BUILT: 'PIW_UNKNOWN_SLAVE', SENT: 'PIW_UNKNOWN_SLAVE', BYE: 'BYE' },
    },
  },
  idle: {
    by: ['HELLO'],
    answers: {
      ...{ HELLO: 'HELLO', IDLE: 'BUILD', REST: 'SLEEP', BUSY: 'DONE' },
      ...{ BUILT: 'DONE', SENT: 'PIW_UNKNOWN_TRANSFER', BYE: 'BYE' },
    },
  },
  resting: {
    by: ['HELLO', 'REST'],
    answers: {
      ...{ HELLO: 'HELLO', IDLE: 'BUILD', REST: 'SLEEP', BUSY: 'DONE' },
      ...{ BUILT: 'DONE', SENT: 'PIW_UNKNOWN_TRANSFER', BYE: 'BYE' },
    },
  },
  building: {
    by: ['HELLO', 'IDLE'],
    answers: {
      ...{ HELLO: 'HELLO', IDLE: 'BUILD', REST: 'SLEEP', BUSY: 'CONT' },
      ...{ BUILT: 'SEND', SENT: 'PIW_UNKNOWN_TRANSFER', BYE: 'BYE' },
    },
  },
  'building, and it said so': {
    by: ['HELLO', 'IDLE', 'BUSY'],
    answers: {
      // It has forgotten what it was doing: that goes back to the queue, and is given out anew.
      ...{ HELLO: 'HELLO', IDLE: 'BUILD', REST: 'SLEEP', BUSY: 'CONT' },
      ...{ BUILT: 'SEND', SENT: 'PIW_UNKNOWN_TRANSFER', BYE: 'BYE' },
    },
  },
  sending: {
    by: ['HELLO', 'IDLE', 'BUILT'],
    answers: {
      // Nothing has come yet.
      ...{ HELLO: 'HELLO', IDLE: 'BUILD', REST: 'SLEEP', BUSY: 'CONT' },
      ...{ BUILT: 'SEND', SENT: 'SEND', BYE: 'BYE' },
    },
  },
  'after BYE': {
    by: ['HELLO', 'IDLE', 'BYE'],
    answers: {
      ...{ HELLO: 'HELLO', IDLE: 'PIW_UNKNOWN_SLAVE', REST: 'PIW_UNKNOWN_SLAVE', BUSY: 'PIW_UNKNOWN_SLAVE' },
      ...{ BUILT: 'PIW_UNKNOWN_SLAVE', SENT: 'PIW_UNKNOWN_SLAVE', BYE: 'BYE' },
    },
  },
};

async function stage(t: Test) {
  const master = await testMaster(t);
  const path = await makeWheel(master.output);
  let sessions = 0;
  const session = () => new Session(master.bus, `s${String((sessions += 1))}`, path);
  return { ...master, session, free: () => master.db.query('select 1 from queue where lease is null') };
}

void t.test('every word has its answer in every state', async (t) => {
  const { session, free } = await stage(t);
  for (const [state, { by, answers }] of Object.entries(STATES)) {
    for (const said of SAID) {
      const one = session();
      for (const verb of by) await one.say(verb);
      t.equal(await one.say(said), answers[said], `${state}: ${said}`);
      // Whatever was said, the slave can go on, and nothing stays with it when it leaves.
      await one.say('HELLO');
      await one.say('BYE');
      t.equal((await free()).length, 1, `${state}: ${said}, and the build is in the queue again`);
    }
  }
});

void t.test('a build from HELLO to DONE, each word said twice, is logged and published once', async (t) => {
  const { db, session } = await stage(t);
  const one = session();
  const twice = async (verb: keyof SlaveVerbs) => [await one.say(verb), await one.say(verb)];
  t.same(await twice('HELLO'), ['HELLO', 'HELLO']);
  t.same(await twice('IDLE'), ['BUILD', 'BUILD']);
  t.same(await twice('BUSY'), ['CONT', 'CONT']);
  t.same(await twice('BUILT'), ['SEND', 'SEND']);
  await one.send();
  // The second one finds nothing to be sent any more: the slave says BUILT again.
  t.same(await twice('SENT'), ['DONE', 'PIW_UNKNOWN_TRANSFER']);
  t.same(await twice('BUILT'), ['DONE', 'DONE']);
  t.same(await twice('IDLE'), ['SLEEP', 'SLEEP']);
  t.same(await twice('BYE'), ['BYE', 'BYE']);
  t.same(await db.query('select status, passing from builds'), [{ status: true, passing: false }]);
  t.same(await db.query('select filename from files'), [{ filename: 'demo-1.0-py3-none-any.whl' }]);
});

void t.test('a word about an old lease that comes late changes nothing of the new one', async (t) => {
  const { session } = await stage(t);
  const one = session();
  await one.say('HELLO');
  await one.say('IDLE');
  await one.say('BUSY');
  const old = one.lease;
  await one.say('IDLE');
  t.not(one.lease, old, 'it got another lease');
  const now = one.lease;
  one.lease = old;
  t.equal(await one.say('BUSY'), 'DONE');
  t.equal(await one.say('BUILT'), 'DONE');
  one.lease = now;
  t.equal(await one.say('BUSY'), 'CONT');
});

void t.test('two sessions under one name are two slaves', async (t) => {
  const { session, slaves } = await stage(t);
  const [one, other] = [session(), session()];
  await one.say('HELLO');
  await other.say('HELLO');
  t.equal(await one.say('IDLE'), 'BUILD');
  t.equal(await other.say('IDLE'), 'SLEEP');
  other.lease = one.lease;
  t.equal(await other.say('BUSY'), 'DONE', 'the one has nothing to say about what the other builds');
  t.equal(await other.say('BUILT'), 'DONE');
  t.equal(await one.say('BUSY'), 'CONT');
  t.equal(new Set((await slaves()).map(({ slave_id }) => slave_id)).size, 2);
});

void t.test('another version is told which one is needed', async (t) => {
  const { bus } = await stage(t);
  const client = new Client(bus, slaveDriver, [slaveDriver.name, 'slave', 'old'], { timeoutMs: 5000 });
  const hello = { ...helloOf(), clock: Date.now() };
  const answer = await client.ask('HELLO', { ...hello, version: '0.0.1/1' });
  t.match(answer, { verb: 'BYE', reason: /this master is piw \S+ with protocol \d+/ });
  const array = [...slaveDriver.pack('HELLO', hello), 'a field of another version'];
  const raw = (await bus.ask(bus.subject(slaveDriver.name, 'slave', 'old', 'HELLO'), array)) as unknown[];
  t.equal(raw[0], 'ERROR');
  t.equal(raw[1], 'PIW_MESSAGE_INVALID');
  t.match(raw[2], /this is piw \S+ with protocol \d+/);
});

void t.test(
  'three builds in a row that fail for reasons of the surroundings tell of the slave',
  async (t) => {
    const master = await testMaster(t, { versions: ['1.0', '2.0', '3.0', '4.0'] });
    const client = new Client(master.bus, slaveDriver, [slaveDriver.name, 'slave', 'one'], {
      ...{ timeoutMs: 5000, patienceMs: 20_000 },
    });
    await client.ask('HELLO', { ...helloOf(), clock: Date.now() });
    const idle = () => client.ask('IDLE', { stats: STATS });
    const fail = async (failure_class: string) => {
      const order = await idle();
      if (order.verb !== 'BUILD') return order.verb;
      const { lease, version } = order;
      const how = { status: false, duration_s: 1, output: 'piw: why\n', details: NO_DETAILS, files: [] };
      await client.ask('BUILT', { lease, failure_class, ...how });
      return version;
    };
    t.same([await fail('network'), await fail('disk'), await fail('index')], ['4.0', '3.0', '2.0']);
    t.same(await fail('network'), 'SLEEP', 'it gets no more, though one is left');
    const [row] = await master.slaves();
    t.match(row?.note, /^3 builds in a row failed for reasons of its surroundings/);
    t.same(
      await master.db.query('select failure_class, passing from builds order by build_id'),
      [
        { failure_class: 'network', passing: true },
        { failure_class: 'disk', passing: true },
      ],
      'of the third one nothing is said',
    );
    t.ok(master.said.some((line) => line.includes('is out of order, and rests for 1 min: piw: why')));
    t.equal((await master.db.query('select 1 from queue')).length, 4, 'nothing is lost');
    await master.control.ask('WAKE', { slave_id: row?.slave_id ?? 0 });
    t.equal(await fail('compiler'), '1.0', 'an administrator may send it back to work');
    t.match(await master.db.query('select passing from builds where failure_class = $1', ['compiler']), [
      { passing: false },
    ]);
  },
);

void t.test('what an administrator wishes of a slave is known to the next Slave Driver', async (t) => {
  const { session, control, slaves, db } = await stage(t);
  const one = session();
  await one.say('HELLO');
  const [row] = await slaves();
  await control.ask('SLEEP', { slave_id: row?.slave_id ?? 0 });
  t.equal(await one.say('IDLE'), 'SLEEP');
  t.match(await slaves(), [{ note: 'an administrator said so', state: 'waiting' }]);
  // One that begins anew knows of a session what the database does.
  await one.say('BYE');
  await one.say('HELLO');
  t.equal(await one.say('IDLE'), 'SLEEP');
  await control.ask('WAKE', { slave_id: null });
  t.equal(await one.say('IDLE'), 'BUILD');
  await control.ask('KILL', { slave_id: null, after_build: true });
  t.equal(await one.say('BUSY'), 'CONT', 'not before the build is done');
  await db.query('update queue set lease = null, slave_id = null');
  t.equal(await one.say('BUSY'), 'DONE');
  t.equal(await one.say('IDLE'), 'BYE');
  await t.rejects(control.ask('KILL', { slave_id: 12_345, after_build: true }), {
    code: 'PIW_UNKNOWN_SLAVE',
  });
});

void t.test(`a slave of ${ABI} whose clock is wrong is told of in the log`, async (t) => {
  const { bus, said } = await stage(t);
  const client = new Client(bus, slaveDriver, [slaveDriver.name, 'slave', 'late'], {
    ...{ timeoutMs: 5000, patienceMs: 20_000 },
  });
  await client.ask('HELLO', { ...helloOf('late'), clock: Date.now() - 3_600_000 });
  t.ok(said.some((line) => /the clock of slave \d+ \(late\)/.test(line)));
});
