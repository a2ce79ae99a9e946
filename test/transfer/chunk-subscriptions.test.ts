import { randomBytes } from 'node:crypto';
import t from 'tap';
import { ChunkSubscriptionPool } from '../../src/transfer/chunk-subscriptions.js';
import { chunkBucket } from '../../src/transfer/chunk-bucket.js';
import { transferIdOf } from '../../src/protocols/file-juggler.js';
import { uniquePrefix, testBus } from '../helpers/bus.js';

void t.test(
  'the shared subscription of small files lives as long as one of them is in transit',
  async (t) => {
    const bus = await testBus(t, uniquePrefix());
    const bucket = `${bus.prefix}-b`;
    await bus.objects.buckets.ensure(chunkBucket(bucket));
    const received: string[] = [];
    const pool = new ChunkSubscriptionPool(bus.objects, (_, { object }) => {
      received.push(transferIdOf(object));
      return Promise.resolve();
    });
    const open = (id: string) =>
      pool.subscribe(bucket, id, 100, () => Promise.reject(new Error('it is not a large file')));
    const send = async (id: string) => {
      bus.objects.publisher(bucket, `file.${id}`, 0).write(randomBytes(100));
      await bus.rtt();
    };
    const first = open('one');
    const second = open('two');
    await first.stop();
    for (let n = 0; n < 3; n += 1) await pool.suspendIdle();
    await send('two');
    await second.whenWritten();
    t.same(received, ['two'], 'it stays while a file is in transit, however long that takes');
    await second.stop();
    await pool.suspendIdle();
    await send('late');
    await second.whenWritten();
    t.same(received, ['two', 'late'], 'it stays for a while after the last file');
    await pool.suspendIdle();
    await send('unheard');
    const third = open('three');
    await send('three');
    await third.whenWritten();
    t.same(received, ['two', 'late', 'three'], 'the next file gets a new subscription');
    await third.stop();
  },
);

void t.test('a large file has a subscription of its own', async (t) => {
  const bus = await testBus(t, uniquePrefix());
  const bucket = `${bus.prefix}-b`;
  await bus.objects.buckets.ensure(chunkBucket(bucket));
  const received: string[] = [];
  const pool = new ChunkSubscriptionPool(bus.objects, () =>
    Promise.reject(new Error('it is not a small file')),
  );
  const subscription = pool.subscribe(bucket, 'one', 1e6, ({ object }) => {
    received.push(object);
    return Promise.resolve();
  });
  for (const object of ['file.one.a', 'file.two.a', 'file.one', 'file.one.b'])
    bus.objects.publisher(bucket, object, 0).write(randomBytes(100));
  await bus.rtt();
  await subscription.stop();
  t.same(received, ['file.one.a', 'file.one.b']);
});
