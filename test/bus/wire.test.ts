import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { isPatched, releaseBuffer } from '../../src/bus/wire.js';
import { uniquePrefix, testBus, until } from '../helpers/bus.js';
import { TestNats } from '../helpers/own-nats.js';

t.setTimeout(60_000);

const KB = 1024;
const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

void t.test('messages of every size arrive complete, and do not change while others arrive', async (t) => {
  const prefix = uniquePrefix();
  const [sender, receiver] = await Promise.all([testBus(t, prefix), testBus(t, prefix)]);
  const subscription = receiver.connection.subscribe(`${prefix}.wire`);
  await receiver.connection.flush();
  // Sizes around those at which reading, copying and buffering change, and random ones in between.
  const edges = [0, 1, 16, 64, 256, 512].flatMap((kb) => [-1, 0, 1].map((delta) => kb * KB + delta));
  const sizes = [
    ...edges.filter((size) => size >= 0),
    ...Array.from({ length: 400 }, (_, n) => Math.floor(Math.random() * (n % 4 === 0 ? 600 * KB : 3 * KB))),
  ].sort(() => Math.random() - 0.5);
  const sent = sizes.map((size) => randomBytes(size));
  const received: Uint8Array[] = [];
  const reading = (async () => {
    for await (const { data } of subscription) if (received.push(data) === sent.length) break;
  })();
  for (const [n, bytes] of sent.entries()) {
    sender.connection.publish(`${prefix}.wire`, bytes);
    // Some messages are sent together, some alone.
    if (n % 5 === 0) await sender.connection.flush();
  }
  await reading;
  t.same(
    received.map(({ length }) => length),
    sizes,
  );
  t.same(received.map(digest), sent.map(digest), 'all have their original bytes');
});

void t.test('only the buffer of a released message is reused', async (t) => {
  const prefix = uniquePrefix();
  const [sender, receiver] = await Promise.all([testBus(t, prefix), testBus(t, prefix)]);
  const subscription = receiver.connection.subscribe(`${prefix}.wire`);
  await receiver.connection.flush();
  const messages = subscription[Symbol.asyncIterator]();
  const next = async (bytes: Uint8Array): Promise<Uint8Array> => {
    sender.connection.publish(`${prefix}.wire`, bytes);
    const { value } = (await messages.next()) as { value: { data: Uint8Array } };
    return value.data;
  };
  const large = randomBytes(512 * KB);
  const keptMessage = await next(large);
  const releasedMessage = await next(large);
  const buffer = releasedMessage.buffer;
  releaseBuffer(releasedMessage);
  const other = randomBytes(512 * KB);
  const reusedMessage = await next(other);
  t.equal(reusedMessage.buffer, buffer, 'the released buffer is reused');
  t.not(keptMessage.buffer, buffer);
  t.same([digest(keptMessage), digest(reusedMessage)], [digest(large), digest(other)]);
  // Buffers that do not come from the pool do not go into it.
  const small = await next(randomBytes(100));
  releaseBuffer(small);
  releaseBuffer(other);
  const last = await next(large);
  t.not(last.buffer, small.buffer);
  t.not(last.buffer, other.buffer);
});

void t.test('a server that hung has the same connections and subscriptions after it resumes', async (t) => {
  const nats = await TestNats.start(t);
  const statuses: string[] = [];
  const bus = await nats.connect(t, { onStatus: (text) => statuses.push(text) });
  const subscription = bus.subscribe(bus.subject('x'), { queue: 'q' });
  const reading = (async () => {
    for await (const message of subscription) await message.respond(await message.body());
  })();
  t.equal(await bus.request(bus.subject('x'), 1), 1);
  const before = await nats.counts();
  t.ok(before);
  nats.signal('SIGSTOP');
  let dials = 0;
  void (async () => {
    for await (const { type } of bus.connection.status()) {
      const event: string = type;
      if (event === 'reconnecting') dials += 1;
    }
  })();
  // The client would take half a minute to notice, so the test makes it reconnect. The kernel accepts the
  // connections, but no INFO arrives.
  await bus.connection.reconnect();
  await until(() => dials === 2);
  nats.signal('SIGCONT');
  t.equal(await bus.request(bus.subject('x'), 2, { patienceMs: 10_000 }), 2);
  // The old connection and each abandoned attempt are closed; the server closes those that do not authenticate within
  // two seconds.
  await until(async () => (await nats.closedConnections()) >= 2);
  t.equal(await bus.request(bus.subject('x'), 3, { patienceMs: 10_000 }), 3);
  t.same(await nats.counts(), before);
  t.equal(statuses.filter((text) => text.includes('again')).length, 1, 'it is reported as back once');
  await bus.drain();
  await reading;
});

void t.test('a connection can be ended within three seconds while the server hangs', async (t) => {
  const nats = await TestNats.start(t);
  const bus = await nats.connect(t);
  const subscription = bus.subscribe(bus.subject('x'));
  const pendingRequest = bus.request(bus.subject('nobody'), 1, { timeoutMs: 20_000 });
  nats.signal('SIGSTOP');
  const began = performance.now();
  const rejection = t.rejects(pendingRequest, { code: 'PIW_DISCONNECTED' });
  await bus.prepareShutdown();
  await rejection;
  await subscription.stop();
  await bus.drain();
  t.ok(performance.now() - began < 3000, `it took ${Math.round(performance.now() - began)} ms`);
});

void t.test('the installed version of the client library is the patched one', (t) => {
  t.ok(isPatched, 'after an update of nats, test src/bus/wire.ts with it, and change TESTED_VERSION');
  t.end();
});

void t.test('the bus does the same on the unpatched library', (t) => {
  const program = fileURLToPath(new URL('bus.test.js', import.meta.url));
  const env = { ...process.env, PIW_NATS_UNPATCHED: '1' };
  const { status, stdout } = spawnSync(process.execPath, [program], { env, encoding: 'utf8' });
  t.equal(status, 0, stdout);
  t.end();
});
