import t from 'tap';
import { PiwError } from '../../src/errors.js';
import { ownPrefix, testBus } from '../helpers/bus.js';

async function echo(
  bus: Awaited<ReturnType<typeof testBus>>,
  subject: string,
  bucketOf?: () => string,
): Promise<void> {
  const line = bus.subscribe(subject, bucketOf ? { bucketOf } : {});
  void (async () => {
    for await (const incoming of line) {
      try {
        await incoming.answer(['OK', await incoming.body()]);
      } catch (error) {
        await incoming.answer(['ERROR', error instanceof PiwError ? error.code : 'other']);
      }
    }
  })();
  await bus.rtt();
}

void t.test('a question is answered', async (t) => {
  const prefix = ownPrefix();
  const bus = await testBus(t, prefix);
  await echo(bus, bus.subject('x'));
  t.same(await bus.ask(bus.subject('x'), ['HELLO', 1, null]), ['OK', ['HELLO', 1, null]]);
});

void t.test('a body over max_payload travels both ways as if it were small', async (t) => {
  const prefix = ownPrefix();
  const [asking, answering] = await Promise.all([testBus(t, prefix), testBus(t, prefix)]);
  await echo(answering, answering.subject('x'));
  const body = ['BUILT', 'é'.repeat(2_000_000)];
  t.same(await asking.ask(asking.subject('x'), body, { timeoutMs: 20_000 }), ['OK', body]);
});

void t.test('a large body in a bucket that the sender may not use is refused', async (t) => {
  const prefix = ownPrefix();
  const [asking, answering] = await Promise.all([testBus(t, prefix), testBus(t, prefix)]);
  await echo(answering, answering.subject('x'), () => `${prefix}-slave-a`);
  const answer = await asking.ask(asking.subject('x'), 'x'.repeat(3_000_000), { timeoutMs: 20_000 });
  t.same(answer, ['ERROR', 'PIW_MESSAGE_INVALID']);
});

void t.test('what nobody listens to fails at once, and with patience waits for somebody', async (t) => {
  const bus = await testBus(t, ownPrefix());
  await t.rejects(bus.ask(bus.subject('nobody'), 1, { timeoutMs: 50 }), { code: 'PIW_NO_RESPONDERS' });
  const waiting = bus.ask(bus.subject('later'), 1, { timeoutMs: 500, patienceMs: 10_000 });
  await echo(bus, bus.subject('later'));
  t.same(await waiting, ['OK', 1]);
});

void t.test('an answer that does not come is a time-out', async (t) => {
  const bus = await testBus(t, ownPrefix());
  const line = bus.subscribe(bus.subject('silent'));
  t.teardown(() => line.stop());
  await bus.rtt();
  await t.rejects(bus.ask(bus.subject('silent'), 1, { timeoutMs: 100 }), { code: 'PIW_TIMEOUT' });
});

void t.test('a queue group gives each message to one of its members', async (t) => {
  const prefix = ownPrefix();
  const buses = await Promise.all([testBus(t, prefix), testBus(t, prefix), testBus(t, prefix)]);
  const got = [0, 0, 0];
  buses.forEach((bus, i) => {
    const line = bus.subscribe(bus.subject('work'), { queue: 'q' });
    void (async () => {
      for await (const incoming of line) {
        got[i] = (got[i] ?? 0) + 1;
        await incoming.answer('done');
      }
    })();
  });
  await Promise.all(buses.map((bus) => bus.rtt()));
  const asking = await testBus(t, prefix);
  await Promise.all(Array.from({ length: 300 }, () => asking.ask(asking.subject('work'), 0)));
  t.equal(
    got.reduce((a, b) => a + b),
    300,
  );
  t.ok(
    got.every((n) => n > 0),
    'each has a share',
  );
});

void t.test('credentials that are refused are said so, without the password', async (t) => {
  const { Bus } = await import('../../src/bus/bus.js');
  const address = (process.env['PIW_TEST_NATS'] ?? '').replace(/\/\/.*@/, '//master:wrong-secret@');
  await t.rejects(Bus.connect({ address, name: 'x', patienceMs: 500 }), { code: 'PIW_UNREACHABLE' });
  await t.rejects(
    Bus.connect({ address, name: 'x', patienceMs: 500 }).catch((error: unknown) => {
      if (String(error).includes('wrong-secret')) return;
      throw error;
    }),
  );
});
