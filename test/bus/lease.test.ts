import t from 'tap';
import { Lease } from '../../src/bus/lease.js';
import { ownPrefix, testBus } from '../helpers/bus.js';

const never = new AbortController().signal;

void t.test('one holds it, and when it is released the next one gets it, with a higher fence', async (t) => {
  const prefix = ownPrefix();
  const [a, b] = await Promise.all([testBus(t, prefix), testBus(t, prefix)]);
  const first = await Lease.acquire(a, 'task', 'a', never);
  t.ok(first?.held);
  let second: Lease | undefined;
  const waiting = Lease.acquire(b, 'task', 'b', never).then((lease) => (second = lease));
  await b.rtt();
  t.equal(second, undefined, 'not while the first holds it');
  await first?.release();
  t.equal(first?.held, false);
  await waiting;
  t.ok(second?.held);
  t.ok((second?.fence ?? 0) > (first?.fence ?? 0));
  await second?.release();
});

void t.test('when the holder dies, the next one takes over within five seconds', async (t) => {
  const prefix = ownPrefix();
  const [a, b] = await Promise.all([testBus(t, prefix), testBus(t, prefix)]);
  const first = await Lease.acquire(a, 'task', 'a', never);
  // Its connection ends without a word, as that of a process that was killed.
  await a.drain();
  const began = performance.now();
  const second = await Lease.acquire(b, 'task', 'b', never);
  const took = performance.now() - began;
  t.ok(took < 5000, `it took ${String(Math.round(took))} ms`);
  t.equal(first?.held, false, 'and the first knows that it may not act any more');
  t.throws(() => first?.check(), { code: 'PIW_NOT_LEADER' });
  await second?.release();
  await first?.release();
});

void t.test('who gets it after NATS has lost all that it stored has a higher fence too', async (t) => {
  const prefix = ownPrefix();
  const bus = await testBus(t, prefix);
  const before = await Lease.acquire(bus, 'task', 'a', never);
  await before?.release();
  for (let n = 0; n < 20; n += 1) await (await Lease.acquire(bus, 'other', 'a', never))?.release();
  const last = await Lease.acquire(bus, 'task', 'a', never);
  await last?.release();
  await (await bus.connection.jetstreamManager()).streams.delete(`KV_${prefix}-leases`);
  const after = await Lease.acquire(bus, 'task', 'b', never);
  t.ok((after?.fence ?? 0) > (last?.fence ?? 0), `${String(after?.fence)} after ${String(last?.fence)}`);
  await after?.release();
});

void t.test('of many who make the first lease of a farm at once, one gets it', async (t) => {
  const prefix = ownPrefix();
  const buses = await Promise.all(Array.from({ length: 8 }, () => testBus(t, prefix)));
  const over = new AbortController();
  const got = await Promise.all(
    buses.map((bus, n) =>
      Lease.acquire(bus, 'task', String(n), over.signal).then((lease) => {
        over.abort();
        return lease;
      }),
    ),
  );
  t.equal(got.filter((lease) => lease !== undefined).length, 1);
  for (const lease of got) await lease?.release();
});
