import { randomBytes } from 'node:crypto';
import t from 'tap';
import { Lines } from '../../actors/file-juggler/lines.js';
import { bucketFor } from '../../src/protocols/file-juggler.js';
import { ownPrefix, testBus } from '../helpers/bus.js';

void t.test('the line of small files is there for as long as one of them is on its way', async (t) => {
  const bus = await testBus(t, ownPrefix());
  const bucket = `${bus.prefix}-b`;
  await bus.objects.ensure(bucketFor(bucket));
  const heard: string[] = [];
  const lines = new Lines(bus.objects, (_, { object }) => heard.push(object));
  const open = (id: string) => lines.open(bucket, id, 100, () => t.fail('it is no large file'));
  const send = (id: string) => bus.objects.writer(bucket, id, 0).write(randomBytes(100));
  const one = open('one');
  const two = open('two');
  await one.stop();
  for (let n = 0; n < 3; n += 1) await lines.layDown();
  await send('two');
  await two.written();
  t.same(heard, ['two'], 'however long it takes');
  await two.stop();
  await lines.layDown();
  await send('late');
  await two.written();
  t.same(heard, ['two', 'late'], 'and for a while after the last, which may not be the last');
  await lines.layDown();
  await send('unheard');
  const three = open('three');
  await send('three');
  await three.written();
  t.same(heard, ['two', 'late', 'three'], 'then there is a new one for whoever comes');
  await three.stop();
});

void t.test('a large file has a line of its own', async (t) => {
  const bus = await testBus(t, ownPrefix());
  const bucket = `${bus.prefix}-b`;
  await bus.objects.ensure(bucketFor(bucket));
  const heard: string[] = [];
  const lines = new Lines(bus.objects, () => t.fail('it is no small file'));
  const line = lines.open(bucket, 'one', 1e6, ({ object }) => heard.push(object));
  for (const object of ['one.a', 'two.a', 'one', 'one.b'])
    await bus.objects.writer(bucket, object, 0).write(randomBytes(100));
  await line.stop();
  t.same(heard, ['one.a', 'one.b']);
});
