import t from 'tap';
import { PiwError } from '../../src/errors.js';
import { uniquePrefix, testBus } from '../helpers/bus.js';

async function echo(
  bus: Awaited<ReturnType<typeof testBus>>,
  subject: string,
  bucketOf?: () => string,
): Promise<void> {
  const subscription = bus.subscribe(subject, bucketOf ? { bucketOf } : {});
  void (async () => {
    for await (const incoming of subscription) {
      try {
        await incoming.respond(['OK', await incoming.body()]);
      } catch (error) {
        await incoming.respond(['ERROR', error instanceof PiwError ? error.code : 'other']);
      }
    }
  })();
  await bus.rtt();
}

void t.test('a request is answered', async (t) => {
  const prefix = uniquePrefix();
  const bus = await testBus(t, prefix);
  await echo(bus, bus.subject('x'));
  t.same(await bus.request(bus.subject('x'), ['HELLO', 1, null]), ['OK', ['HELLO', 1, null]]);
});

void t.test('a request and an answer may be larger than max_payload', async (t) => {
  const prefix = uniquePrefix();
  const [requester, responder] = await Promise.all([testBus(t, prefix), testBus(t, prefix)]);
  await echo(responder, responder.subject('x'));
  const body = ['BUILT', 'é'.repeat(2_000_000)];
  t.same(await requester.request(requester.subject('x'), body, { timeoutMs: 20_000 }), ['OK', body]);
});

void t.test(
  'a last attempt that the deadline cuts short does not hide why the earlier ones failed',
  async (t) => {
    const bus = await testBus(t, uniquePrefix());
    const subject = bus.subject('x');
    const request = bus.request(subject, 1, { timeoutMs: 400, patienceMs: 600 });
    // From now on somebody listens, but never answers.
    const timer = setTimeout(() => bus.subscribe(subject), 450);
    t.teardown(() => {
      clearTimeout(timer);
    });
    await t.rejects(request, { code: 'PIW_NO_RESPONDERS' });
  },
);

void t.test('a large body in a bucket that the sender may not write to is refused', async (t) => {
  const prefix = uniquePrefix();
  const [requester, responder] = await Promise.all([testBus(t, prefix), testBus(t, prefix)]);
  await echo(responder, responder.subject('x'), () => `${prefix}-slave-a`);
  const answer = await requester.request(requester.subject('x'), 'x'.repeat(3_000_000), {
    timeoutMs: 20_000,
  });
  t.same(answer, ['ERROR', 'PIW_MESSAGE_INVALID']);
});

void t.test(
  'a request without a listener fails at once, or with patienceMs waits for a listener',
  async (t) => {
    const bus = await testBus(t, uniquePrefix());
    await t.rejects(bus.request(bus.subject('nobody'), 1, { timeoutMs: 50 }), { code: 'PIW_NO_RESPONDERS' });
    const waiting = bus.request(bus.subject('later'), 1, { timeoutMs: 500, patienceMs: 10_000 });
    await echo(bus, bus.subject('later'));
    t.same(await waiting, ['OK', 1]);
  },
);

void t.test('a request that is not answered times out', async (t) => {
  const bus = await testBus(t, uniquePrefix());
  const subscription = bus.subscribe(bus.subject('silent'));
  t.teardown(() => subscription.stop());
  await bus.rtt();
  await t.rejects(bus.request(bus.subject('silent'), 1, { timeoutMs: 100 }), { code: 'PIW_TIMEOUT' });
});

void t.test('each message reaches one member of a queue group', async (t) => {
  const prefix = uniquePrefix();
  const buses = await Promise.all([testBus(t, prefix), testBus(t, prefix), testBus(t, prefix)]);
  const counts = [0, 0, 0];
  buses.forEach((bus, i) => {
    const subscription = bus.subscribe(bus.subject('work'), { queue: 'q' });
    void (async () => {
      for await (const incoming of subscription) {
        counts[i] = (counts[i] ?? 0) + 1;
        await incoming.respond('done');
      }
    })();
  });
  await Promise.all(buses.map((bus) => bus.rtt()));
  const requester = await testBus(t, prefix);
  await Promise.all(Array.from({ length: 300 }, () => requester.request(requester.subject('work'), 0)));
  t.equal(
    counts.reduce((a, b) => a + b),
    300,
  );
  t.ok(
    counts.every((n) => n > 0),
    'each member gets some',
  );
});

void t.test('the error for refused credentials does not contain the password', async (t) => {
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
