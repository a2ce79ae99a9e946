import t, { type Test } from 'tap';
import { SlaveLeases } from '../../actors/slave-driver/leases.js';
import { systemClock } from '../../src/concurrency/clock.js';
import { builds } from '../../src/protocols/builds.js';
import { SlaveState } from '../../actors/slave-driver/slave-state.js';
import { uniquePrefix, testBus, until } from '../helpers/bus.js';
import { ABI, slaveHello } from '../helpers/master.js';
import { PLATFORM } from '../helpers/rows.js';

t.setTimeout(60_000);

const LEASE = 7;

/** Returns a slave with a lease, and an Architect whose answers to RENEW the test gives. */
async function stage(t: Test) {
  const bus = await testBus(t, uniquePrefix());
  const leases = new SlaveLeases(bus, systemClock, () => 1);
  const slave = new SlaveState(1, 'slave', 'one', { ...slaveHello(), clock: 0 }, true, 0);
  slave.hold({ lease: LEASE, package: 'demo', version: '1.0', abi: ABI, platform: PLATFORM }, 0);
  let answers: ((lost: readonly number[]) => Promise<void>)[] = [];
  const requests = bus.subscribe(bus.subject(builds.name, 'RENEW'));
  const reading = (async () => {
    for await (const incoming of requests) {
      builds.unpack(await incoming.body());
      answers.push((lost) =>
        incoming.respond(builds.packAnswer('RENEW', { verb: 'RENEWED', lost: [...lost] })),
      );
    }
  })();
  t.teardown(async () => {
    await requests.stop();
    await reading;
  });
  return {
    leases,
    slave,
    whenRequested: () => until(() => answers.length > 0),
    answer: async (lost: readonly number[]) => {
      await until(() => answers.length > 0);
      const pendingAnswers = answers;
      answers = [];
      for (const respond of pendingAnswers) await respond(lost);
    },
  };
}

void t.test('a lease does not count as renewed before the answer has arrived', async (t) => {
  const { leases, slave, whenRequested, answer } = await stage(t);
  const busy = leases.renew(slave);
  await whenRequested();
  // The slave says BUSY and SENT at the same time; the Architect will say that the lease is lost.
  let isHeld: boolean | undefined;
  const sent = leases.ensureHeld(slave).then((held) => (isHeld = held));
  await leases.holds(slave, LEASE);
  t.equal(isHeld, undefined, 'nothing may be published yet');
  await answer([LEASE]);
  t.equal(await busy, false);
  if (isHeld === undefined) await answer([LEASE]);
  t.equal(await sent, false);
});

void t.test('a recently renewed lease is not renewed again', async (t) => {
  const { leases, slave, answer } = await stage(t);
  const busy = leases.renew(slave);
  await answer([]);
  t.equal(await busy, true);
  t.equal(await leases.ensureHeld(slave), true, 'without another request');
});

void t.test('nothing is published under a lease that may have expired while nobody answers', async (t) => {
  const { leases, slave } = await stage(t);
  t.equal(await leases.renew(slave), true, 'the build goes on');
  await t.rejects(leases.ensureHeld(slave), { code: 'PIW_TIMEOUT' });
});
