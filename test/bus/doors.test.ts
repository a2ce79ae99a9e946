import t, { type Test } from 'tap';
import type { Bus } from '../../src/bus/bus.js';
import { LeaderLease } from '../../src/bus/lease.js';
import { PiwError } from '../../src/errors.js';
import { until } from '../helpers/bus.js';
import { TestNats } from '../helpers/own-nats.js';

t.setTimeout(120_000);

/** Everything that the rest of piw calls on a bus, by name. */
const BUS_CALLS: Readonly<Record<string, (bus: Bus) => unknown>> = {
  request: (bus) => bus.request(bus.subject('x'), 1, { timeoutMs: 300 }),
  'request, with a large body': (bus) =>
    bus.request(bus.subject('x'), 'x'.repeat(3_000_000), { timeoutMs: 300 }),
  publish: (bus) => bus.publish(bus.subject('x'), 1),
  'publish, with a large body': (bus) => bus.publish(bus.subject('x'), 'x'.repeat(3_000_000)),
  rtt: (bus) => bus.rtt(500),
  subscribe: async (bus) => {
    const subscription = bus.subscribe(bus.subject('x'));
    setTimeout(() => void subscription.stop(), 100);
    for await (const message of subscription) message.body();
  },
  ensure: (bus) => bus.objects.buckets.ensure({ name: 'b', maxAgeMs: 60_000, maxBytes: 1e6 }),
  write: (bus) => bus.objects.write('b', 'object', Buffer.from('x')),
  'publisher.write': (bus) => {
    bus.objects.publisher('b', 'object', 0).write(Buffer.from('x'));
  },
  'publisher.end': (bus) => bus.objects.publisher('b', 'object', 0).end(),
  liveChunks: async (bus) => {
    const chunks = bus.objects.liveChunks('b', '*');
    setTimeout(() => {
      chunks.stop();
    }, 100);
    for await (const chunk of chunks) chunk.offset.toFixed();
  },
  readChunks: async (bus) => {
    for await (const chunk of bus.objects.readChunks('b', 'object', { idleMs: 300 })) chunk.offset.toFixed();
  },
  listChunks: (bus) => bus.objects.listChunks('b', '*'),
  countChunks: (bus) => bus.objects.countChunks('b', '*'),
  readChunk: (bus) => bus.objects.readChunk('b', { seq: 1, object: 'object', offset: 0, length: 1 }),
  readObject: (bus) => bus.objects.readObject('b', 'object', 1, ''),
  remove: (bus) => bus.objects.buckets.remove('b', '*'),
  'buckets.list': (bus) => bus.objects.buckets.list('b'),
  listObjects: (bus) => bus.objects.buckets.listObjects('b'),
  'LeaderLease.acquire': async (bus) => {
    const lease = await LeaderLease.acquire(bus, 'task', 'a', AbortSignal.timeout(300));
    lease?.check();
    await lease?.release();
  },
  prepareShutdown: (bus) => bus.prepareShutdown(),
  drain: (bus) => bus.drain(),
  closed: (bus) => bus.closed(),
};

/**
 * Makes every call on a connection of its own, all at the same time, after `prepare` and `disrupt`. Returns the
 * errors that are not PiwErrors.
 */
async function foreignErrors(
  t: Test,
  nats: TestNats,
  disrupt: () => unknown,
  prepare: (bus: Bus) => Promise<void>,
): Promise<readonly string[]> {
  const errors: string[] = [];
  const buses = await Promise.all(Object.keys(BUS_CALLS).map(() => nats.connect(t)));
  await Promise.all(buses.map(prepare));
  await disrupt();
  await Promise.all(
    Object.entries(BUS_CALLS).map(async ([name, call], n) => {
      const bus = buses[n];
      if (!bus) return;
      try {
        // closed() waits for the end of the connection.
        if (name === 'closed') setTimeout(() => void bus.drain(), 100);
        await call(bus);
      } catch (error) {
        if (!(error instanceof PiwError)) errors.push(`${name}: ${String(error)}`);
      }
    }),
  );
  await Promise.all(buses.map((bus) => bus.drain()));
  return errors;
}

const SERVER_STATES: Readonly<
  Record<string, readonly [prepare: (bus: Bus) => Promise<void>, disrupt: (nats: TestNats) => unknown]>
> = {
  'the server is up': [() => Promise.resolve(), () => undefined],
  'the connection has ended': [(bus) => bus.drain(), () => undefined],
  'the server hangs': [
    () => Promise.resolve(),
    (nats) => {
      nats.signal('SIGSTOP');
    },
  ],
  'there is no server': [() => Promise.resolve(), (nats) => nats.stop('SIGKILL')],
};

void t.test('src/bus throws no errors of the client library', async (t) => {
  await Promise.all(
    Object.entries(SERVER_STATES).map(async ([state, [prepare, disrupt]]) => {
      const nats = await TestNats.start(t);
      t.same(await foreignErrors(t, nats, () => disrupt(nats), prepare), [], `when ${state}`);
    }),
  );
});

void t.test('a ping fails without a server, and times out if the server hangs', async (t) => {
  const nats = await TestNats.start(t);
  const statuses: string[] = [];
  const bus = await nats.connect(t, { onStatus: (text) => statuses.push(text) });
  t.ok((await bus.rtt()) >= 0);
  nats.signal('SIGSTOP');
  await t.rejects(bus.rtt(200), { code: 'PIW_TIMEOUT' });
  nats.signal('SIGCONT');
  t.ok((await bus.rtt()) >= 0);
  await nats.stop('SIGKILL');
  await until(() => statuses.length > 0);
  await t.rejects(bus.rtt(), { code: 'PIW_DISCONNECTED' });
});

void t.test(
  'a server that hangs is reported within seconds, and pending requests are retried when it resumes',
  async (t) => {
    const nats = await TestNats.start(t);
    const statuses: string[] = [];
    const bus = await nats.connect(t, { onStatus: (text) => statuses.push(text) });
    // The first delivery is never answered, as if the process had ended in the meantime.
    let deliveries = 0;
    const subscription = bus.subscribe(bus.subject('x'));
    const reading = (async () => {
      for await (const message of subscription) {
        deliveries += 1;
        if (statuses.length === 2) await message.respond('late');
      }
    })();
    const answer = bus.request(bus.subject('x'), 1, { timeoutMs: 60_000 });
    await until(() => deliveries === 1);
    nats.signal('SIGSTOP');
    await until(() => statuses.length === 1);
    nats.signal('SIGCONT');
    t.equal(await answer, 'late');
    t.same(statuses, ['NATS does not answer', 'NATS answers again']);
    await subscription.stop();
    await reading;
  },
);
