import { createHash, randomBytes } from 'node:crypto';
import t from 'tap';
import { CHUNK_SIZE } from '../../src/bus/objects.js';
import { ownPrefix, testBus } from '../helpers/bus.js';

void t.test(
  'bytes that were written are read again, each where it belongs, while they are written',
  async (t) => {
    const prefix = ownPrefix();
    const [writer, reader] = await Promise.all([testBus(t, prefix), testBus(t, prefix)]);
    const bucket = `${prefix}-b`;
    await reader.objects.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes: 1e9 });
    const whole = randomBytes(20 * CHUNK_SIZE + 12_345);
    const got = Buffer.alloc(whole.length);
    const reading = (async () => {
      let size = 0;
      for await (const { offset, data } of reader.objects.chunks(bucket, 'file.*', { idleMs: 10_000 })) {
        got.set(data, offset);
        size += data.length;
        if (size >= whole.length) break;
      }
    })();
    // In two ranges, the later one first, as after a break.
    const middle = 7 * CHUNK_SIZE + 99;
    await writer.objects.write(bucket, 'file.a', [whole.subarray(middle)], { offset: middle });
    const first = await writer.objects.write(bucket, 'file.b', [whole.subarray(0, middle)]);
    await reading;
    t.ok(got.equals(whole));
    t.equal(first.sha256, createHash('sha256').update(whole.subarray(0, middle)).digest('hex'));
  },
);

void t.test('a chunk that is sent twice is stored once', async (t) => {
  const prefix = ownPrefix();
  const bus = await testBus(t, prefix);
  const bucket = `${prefix}-b`;
  await bus.objects.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes: 1e9 });
  const data = randomBytes(CHUNK_SIZE * 3);
  await bus.objects.write(bucket, 'file.a', [data]);
  await bus.objects.write(bucket, 'file.a', [data]);
  t.equal(await bus.objects.count(bucket, 'file.*'), 3);
  await bus.objects.remove(bucket, 'file.*');
  t.equal(await bus.objects.count(bucket, 'file.*'), 0);
});

void t.test('an object that is not what was announced is refused', async (t) => {
  const prefix = ownPrefix();
  const bus = await testBus(t, prefix);
  const bucket = `${prefix}-b`;
  await bus.objects.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes: 1e9 });
  await bus.objects.write(bucket, 'file', [Buffer.from('abc')]);
  await t.rejects(bus.objects.readAll(bucket, 'file', 3, 'f'.repeat(64)), { code: 'PIW_OBJECT_BROKEN' });
  await t.rejects(bus.objects.readAll(bucket, 'file', 2, 'f'.repeat(64)), { code: 'PIW_OBJECT_BROKEN' });
});

void t.test('a bucket is made larger for what is to come, and small again when it is empty', async (t) => {
  const prefix = ownPrefix();
  const bus = await testBus(t, prefix);
  const bucket = `${prefix}-b`;
  const spare = 2 * CHUNK_SIZE;
  await bus.objects.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes: spare });
  const data = randomBytes(4 * CHUNK_SIZE);
  let written = 0;
  const write = () =>
    bus.objects.write(bucket, `file.${String((written += 1))}`, [data], { patienceMs: 100 });
  await t.rejects(write(), { code: 'PIW_OBJECT_BROKEN' }, 'it is too small');
  await bus.objects.remove(bucket, 'file.*');
  await bus.objects.makeRoom(bucket, data.length, spare);
  await write();
  await bus.objects.makeRoom(bucket, 0, spare);
  t.equal(await bus.objects.count(bucket, 'file.*'), 4, 'what is in it stays');
  await bus.objects.remove(bucket, 'file.*');
  await bus.objects.makeRoom(bucket, 0, spare);
  await t.rejects(write(), { code: 'PIW_OBJECT_BROKEN' }, 'it is small again');
});
