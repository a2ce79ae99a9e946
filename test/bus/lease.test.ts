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
