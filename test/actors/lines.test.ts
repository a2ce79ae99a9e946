import { randomBytes } from 'node:crypto';
import t from 'tap';
import { ChunkSubscriptionPool } from '../../actors/file-juggler/chunk-subscriptions.js';
import { bucketConfig } from '../../src/protocols/file-juggler.js';
import { uniquePrefix, testBus } from '../helpers/bus.js';

void t.test('the line of small files is there for as long as one of them is on its way', async (t) => {
  const bus = await testBus(t, uniquePrefix());
  const bucket = `${bus.prefix}-b`;
  await bus.objects.ensure(bucketConfig(bucket));
  const received: string[] = [];
  const pool = new ChunkSubscriptionPool(bus.objects, (_, { object }) => received.push(object));
  const open = (id: string) => pool.subscribe(bucket, id, 100, () => t.fail('it is no large file'));
  const send = (id: string) => bus.objects.writer(bucket, id, 0).write(randomBytes(100));
  const one = open('one');
  const two = open('two');
  await one.stop();
  for (let n = 0; n < 3; n += 1) await pool.suspendIdle();
  await send('two');
  await two.whenWritten();
  t.same(received, ['two'], 'however long it takes');
  await two.stop();
  await pool.suspendIdle();
  await send('late');
  await two.whenWritten();
  t.same(received, ['two', 'late'], 'and for a while after the last, which may not be the last');
  await pool.suspendIdle();
  await send('unheard');
  const three = open('three');
  await send('three');
  await three.whenWritten();
  t.same(received, ['two', 'late', 'three'], 'then there is a new one for whoever comes');
  await three.stop();
});

void t.test('a large file has a line of its own', async (t) => {
  const bus = await testBus(t, uniquePrefix());
  const bucket = `${bus.prefix}-b`;
  await bus.objects.ensure(bucketConfig(bucket));
  const received: string[] = [];
  const pool = new ChunkSubscriptionPool(bus.objects, () => t.fail('it is no small file'));
  const subscription = pool.subscribe(bucket, 'one', 1e6, ({ object }) => received.push(object));
  for (const object of ['one.a', 'two.a', 'one', 'one.b'])
    await bus.objects.writer(bucket, object, 0).write(randomBytes(100));
  await subscription.stop();
  t.same(received, ['one.a', 'one.b']);
});
