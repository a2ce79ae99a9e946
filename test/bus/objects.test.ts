import { createHash, randomBytes } from 'node:crypto';
import t from 'tap';
import type { Bus } from '../../src/bus/bus.js';
import { CHUNK_SIZE } from '../../src/bus/chunk.js';
import { uniquePrefix, testBus } from '../helpers/bus.js';

/** Publishes bytes as chunks of an object, and waits until the server has received them. */
async function publishAt(
  bus: Bus,
  bucket: string,
  object: string,
  offset: number,
  bytes: Buffer,
): Promise<string> {
  const publisher = bus.objects.publisher(bucket, object, offset);
  for (let at = 0; at < bytes.length; at += CHUNK_SIZE) publisher.write(bytes.subarray(at, at + CHUNK_SIZE));
  const { sha256 } = publisher.end();
  await bus.rtt();
  return sha256;
}

void t.test('an object can be read while its ranges are written, in any order', async (t) => {
  const prefix = uniquePrefix();
  const [writer, reader] = await Promise.all([testBus(t, prefix), testBus(t, prefix)]);
  const bucket = `${prefix}-b`;
  await reader.objects.buckets.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes: 1e9 });
  const whole = randomBytes(20 * CHUNK_SIZE + 12_345);
  const received = Buffer.alloc(whole.length);
  const reading = (async () => {
    let size = 0;
    for await (const { offset, data } of reader.objects.readChunks(bucket, 'file.*', { idleMs: 10_000 })) {
      received.set(data, offset);
      size += data.length;
      if (size >= whole.length) break;
    }
  })();
  // Two ranges, the later one first, as after a break.
  const middle = 7 * CHUNK_SIZE + 99;
  await publishAt(writer, bucket, 'file.a', middle, whole.subarray(middle));
  const first = await publishAt(writer, bucket, 'file.b', 0, whole.subarray(0, middle));
  await reading;
  t.ok(received.equals(whole));
  t.equal(first, createHash('sha256').update(whole.subarray(0, middle)).digest('hex'));
});

void t.test('a chunk that is written twice is stored once', async (t) => {
  const prefix = uniquePrefix();
  const bus = await testBus(t, prefix);
  const bucket = `${prefix}-b`;
  await bus.objects.buckets.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes: 1e9 });
  const data = randomBytes(CHUNK_SIZE * 3);
  await bus.objects.write(bucket, 'file.a', data);
  const sha256 = await bus.objects.write(bucket, 'file.a', data);
  t.equal((await bus.objects.listChunks(bucket, 'file.*')).length, 3);
  t.ok(data.equals(await bus.objects.readObject(bucket, 'file.a', data.length, sha256)));
  await bus.objects.buckets.remove(bucket, 'file.*');
  t.same(await bus.objects.listChunks(bucket, 'file.*'), []);
});

void t.test('an object without the announced size and SHA-256 is refused', async (t) => {
  const prefix = uniquePrefix();
  const bus = await testBus(t, prefix);
  const bucket = `${prefix}-b`;
  await bus.objects.buckets.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes: 1e9 });
  await bus.objects.write(bucket, 'file', Buffer.from('abc'));
  await t.rejects(bus.objects.readObject(bucket, 'file', 3, 'f'.repeat(64)), { code: 'PIW_OBJECT_BROKEN' });
  await t.rejects(bus.objects.readObject(bucket, 'file', 2, 'f'.repeat(64)), { code: 'PIW_OBJECT_BROKEN' });
});

void t.test('a full bucket refuses new chunks, or drops its oldest', async (t) => {
  const prefix = uniquePrefix();
  const bus = await testBus(t, prefix);
  const bucket = { name: `${prefix}-b`, maxAgeMs: 60_000, maxBytes: 5 * CHUNK_SIZE };
  const offsets = async (object: string) =>
    (await bus.objects.listChunks(bucket.name, object)).map(({ offset }) => offset / CHUNK_SIZE);
  await bus.objects.buckets.ensure(bucket);
  await publishAt(bus, bucket.name, 'one', 0, randomBytes(6 * CHUNK_SIZE));
  t.same(await offsets('one'), [0, 1, 2, 3]);
  // The configuration of an existing bucket may change, without a loss.
  await bus.objects.buckets.ensure({ ...bucket, dropsOldest: true });
  t.same(await offsets('one'), [0, 1, 2, 3]);
  await bus.objects.write(bucket.name, 'two', randomBytes(4 * CHUNK_SIZE));
  t.same(await offsets('one'), []);
  t.same(await offsets('two'), [0, 1, 2, 3]);
});

void t.test('a bucket in memory keeps the last chunks, and acknowledges nothing', async (t) => {
  const prefix = uniquePrefix();
  const bus = await testBus(t, prefix);
  const bucket = `${prefix}-b`;
  await bus.objects.buckets.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes: 1e7 });
  const config = { name: bucket, maxAgeMs: 60_000, objects: 'file.>', maxChunks: 3 };
  await bus.objects.buckets.ensure(config);
  await publishAt(bus, bucket, 'file.a', 0, randomBytes(2 * CHUNK_SIZE));
  await publishAt(bus, bucket, 'file.b', 0, randomBytes(2 * CHUNK_SIZE));
  bus.objects.publisher(bucket, 'another.a', 0).write(randomBytes(10));
  const stored = await bus.objects.listChunks(bucket, '>');
  // The metadata of each object takes a place, too.
  t.same(
    stored.map(({ object, offset }) => [object, offset / CHUNK_SIZE]),
    [0, 1].map((n) => ['file.b', n]),
  );
  const js = bus.connection.jetstream();
  await t.rejects(js.publish(`$O.${bucket}.C.file.a`, Buffer.from('x'), { timeout: 500 }), {
    code: 'TIMEOUT',
  });
  await bus.objects.buckets.ensure(config);
  t.equal(await bus.objects.countChunks(bucket, 'file.*'), 2, 'it is replaced only if its storage differs');
});

void t.test('chunks can be read while they are sent, and later from the store', async (t) => {
  const prefix = uniquePrefix();
  const [writer, reader] = await Promise.all([testBus(t, prefix), testBus(t, prefix)]);
  const bucket = `${prefix}-b`;
  await reader.objects.buckets.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes: 1e9 });
  const bytes = randomBytes(CHUNK_SIZE * 2 + 10);
  await writer.objects.write(bucket, 'other.a', randomBytes(10));
  await publishAt(writer, bucket, 'file.a', 1000, bytes);
  const live = reader.objects.liveChunks(bucket, 'file.*');
  const seen: string[] = [];
  const reading = (async () => {
    for await (const { object, offset, data } of live) {
      seen.push(
        `${object} ${offset} ${String(Buffer.compare(data, bytes.subarray(offset, offset + data.length)) === 0)}`,
      );
    }
  })();
  await reader.rtt();
  await publishAt(writer, bucket, 'file.b', 0, bytes);
  await reader.rtt();
  t.equal(live.received, 3);
  live.stop();
  await reading;
  t.same(
    seen,
    [0, CHUNK_SIZE, 2 * CHUNK_SIZE].map((at) => `file.b ${at} true`),
  );
  const stored = await reader.objects.listChunks(bucket, 'file.*');
  t.same(
    stored.map(({ object, offset, length }) => [object, offset, length]),
    ['a', 'b'].flatMap((name) =>
      [0, 1, 2].map((n) => [
        `file.${name}`,
        (name === 'a' ? 1000 : 0) + n * CHUNK_SIZE,
        n < 2 ? CHUNK_SIZE : 10,
      ]),
    ),
  );
  const [first] = stored;
  t.ok(first && (await reader.objects.readChunk(bucket, first))?.every((byte, i) => byte === bytes[i]));
  t.same([...(await reader.objects.buckets.listObjects(bucket))].sort(), ['file.a', 'file.b', 'other.a']);
  await reader.objects.buckets.remove(bucket, 'file.*');
  t.same(await reader.objects.buckets.listObjects(bucket), ['other.a']);
  t.equal(first && (await reader.objects.readChunk(bucket, first)), undefined);
});
