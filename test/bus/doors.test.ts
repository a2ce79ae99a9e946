import t, { type Test } from 'tap';
import type { Bus } from '../../src/bus/bus.js';
import { Lease } from '../../src/bus/lease.js';
import { PiwError } from '../../src/errors.js';
import { until } from '../helpers/bus.js';
import { OwnNats } from '../helpers/own-nats.js';

t.setTimeout(120_000);

/** Everything that the rest of piw calls on a bus, as it is called. */
const DOORS: Readonly<Record<string, (bus: Bus) => unknown>> = {
  ask: (bus) => bus.ask(bus.subject('x'), 1, { timeoutMs: 300 }),
  'ask, with a large body': (bus) => bus.ask(bus.subject('x'), 'x'.repeat(3_000_000), { timeoutMs: 300 }),
  publish: (bus) => bus.publish(bus.subject('x'), 1),
  'publish, with a large body': (bus) => bus.publish(bus.subject('x'), 'x'.repeat(3_000_000)),
  rtt: (bus) => bus.rtt(500),
  subscribe: async (bus) => {
    const subscription = bus.subscribe(bus.subject('x'));
    setTimeout(() => void subscription.stop(), 100);
    for await (const message of subscription) message.body();
  },
  ensure: (bus) => bus.objects.ensure({ name: 'b', maxAgeMs: 60_000, maxBytes: 1e6 }),
  write: (bus) => bus.objects.write('b', 'object', [Buffer.from('x')]),
  'writer.end': (bus) =>
    bus.objects.writer('b', 'object', 0, { signal: AbortSignal.timeout(300) }).end().stored,
  live: async (bus) => {
    const chunks = bus.objects.live('b', '*');
    setTimeout(() => {
      chunks.stop();
    }, 100);
    for await (const chunk of chunks) chunk.offset.toFixed();
  },
  chunks: async (bus) => {
    for await (const chunk of bus.objects.chunks('b', 'object', { idleMs: 300 })) chunk.offset.toFixed();
  },
  stored: (bus) => bus.objects.stored('b', '*'),
  count: (bus) => bus.objects.count('b', '*'),
  read: (bus) => bus.objects.read('b', { seq: 1, object: 'object', offset: 0, length: 1 }),
  readAll: (bus) => bus.objects.readAll('b', 'object', 1, ''),
  remove: (bus) => bus.objects.remove('b', '*'),
  list: (bus) => bus.objects.list('b'),
  'Lease.acquire': async (bus) => {
    const lease = await Lease.acquire(bus, 'task', 'a', AbortSignal.timeout(300));
    lease?.check();
    await lease?.release();
  },
  leave: (bus) => bus.leave(),
  drain: (bus) => bus.drain(),
  closed: (bus) => bus.closed(),
};

/** Opens each door with a connection of its own, all at once; what each threw that was no PiwError. */
async function strangers(
  t: Test,
  nats: OwnNats,
  meanwhile: () => unknown,
  prepare: (bus: Bus) => Promise<void>,
): Promise<readonly string[]> {
  const found: string[] = [];
  const buses = await Promise.all(Object.keys(DOORS).map(() => nats.connect(t)));
  await Promise.all(buses.map(prepare));
  await meanwhile();
  await Promise.all(
    Object.entries(DOORS).map(async ([name, open], n) => {
      const bus = buses[n];
      if (!bus) return;
      try {
        // Who waits for the end of the connection waits for that.
        if (name === 'closed') setTimeout(() => void bus.drain(), 100);
        await open(bus);
      } catch (error) {
        if (!(error instanceof PiwError)) found.push(`${name}: ${String(error)}`);
      }
    }),
  );
  await Promise.all(buses.map((bus) => bus.drain()));
  return found;
}

const STATES: Readonly<
  Record<string, readonly [before: (bus: Bus) => Promise<void>, then: (nats: OwnNats) => unknown]>
> = {
  'the server is at work': [() => Promise.resolve(), () => undefined],
  'the connection has ended': [(bus) => bus.drain(), () => undefined],
  'the server hangs': [
    () => Promise.resolve(),
    (nats) => {
      nats.signal('SIGSTOP');
    },
  ],
  'there is no server': [() => Promise.resolve(), (nats) => nats.end('SIGKILL')],
};

void t.test('no error of the client library leaves src/bus', async (t) => {
  await Promise.all(
    Object.entries(STATES).map(async ([state, [before, then]]) => {
      const nats = await OwnNats.start(t);
      t.same(await strangers(t, nats, () => then(nats), before), [], `when ${state}`);
    }),
  );
});

void t.test('a ping that finds no server says so, and so does one that is not answered', async (t) => {
  const nats = await OwnNats.start(t);
  const said: string[] = [];
  const bus = await nats.connect(t, { onStatus: (text) => said.push(text) });
  t.ok((await bus.rtt()) >= 0);
  nats.signal('SIGSTOP');
  await t.rejects(bus.rtt(200), { code: 'PIW_TIMEOUT' });
  nats.signal('SIGCONT');
  t.ok((await bus.rtt()) >= 0);
  await nats.end('SIGKILL');
  await until(() => said.length > 0);
  await t.rejects(bus.rtt(), { code: 'PIW_DISCONNECTED' });
});

void t.test(
  'a server that hangs is told within seconds, and what was asked before is asked again',
  async (t) => {
    const nats = await OwnNats.start(t);
    const said: string[] = [];
    const bus = await nats.connect(t, { onStatus: (text) => said.push(text) });
    // Whoever hears it the first time never answers, as a process that ended meanwhile.
    let heard = 0;
    const subscription = bus.subscribe(bus.subject('x'));
    const reading = (async () => {
      for await (const message of subscription) {
        heard += 1;
        if (said.length === 2) await message.answer('late');
      }
    })();
    const asking = bus.ask(bus.subject('x'), 1, { timeoutMs: 60_000 });
    await until(() => heard === 1);
    nats.signal('SIGSTOP');
    await until(() => said.length === 1);
    nats.signal('SIGCONT');
    t.equal(await asking, 'late');
    t.same(said, ['NATS does not answer', 'NATS answers again']);
    await subscription.stop();
    await reading;
  },
);
