import { createHash, randomBytes } from 'node:crypto';
import t from 'tap';
import type { Bus } from '../../src/bus/bus.js';
import { CHUNK_SIZE } from '../../src/bus/objects.js';
import { uniquePrefix, testBus } from '../helpers/bus.js';

async function writeAt(
  bus: Bus,
  bucket: string,
  object: string,
  offset: number,
  bytes: Buffer,
): Promise<void> {
  const writer = bus.objects.writer(bucket, object, offset);
  for (let at = 0; at < bytes.length; at += CHUNK_SIZE)
    await writer.write(bytes.subarray(at, at + CHUNK_SIZE));
  await writer.end().stored;
}

void t.test('an object can be read while its ranges are written, in any order', async (t) => {
  const prefix = uniquePrefix();
  const [writer, reader] = await Promise.all([testBus(t, prefix), testBus(t, prefix)]);
  const bucket = `${prefix}-b`;
  await reader.objects.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes: 1e9 });
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
  await writeAt(writer, bucket, 'file.a', middle, whole.subarray(middle));
  const first = await writer.objects.write(bucket, 'file.b', [whole.subarray(0, middle)]);
  await reading;
  t.ok(received.equals(whole));
  t.equal(first.sha256, createHash('sha256').update(whole.subarray(0, middle)).digest('hex'));
});

void t.test('a chunk that is sent twice is stored once', async (t) => {
  const prefix = uniquePrefix();
  const bus = await testBus(t, prefix);
  const bucket = `${prefix}-b`;
  await bus.objects.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes: 1e9 });
  const data = randomBytes(CHUNK_SIZE * 3);
  await bus.objects.write(bucket, 'file.a', [data]);
  await bus.objects.write(bucket, 'file.a', [data]);
  t.equal((await bus.objects.listChunks(bucket, 'file.*')).length, 3);
  await bus.objects.remove(bucket, 'file.*');
  t.same(await bus.objects.listChunks(bucket, 'file.*'), []);
});

void t.test('an object without the announced size and SHA-256 is refused', async (t) => {
  const prefix = uniquePrefix();
  const bus = await testBus(t, prefix);
  const bucket = `${prefix}-b`;
  await bus.objects.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes: 1e9 });
  await bus.objects.write(bucket, 'file', [Buffer.from('abc')]);
  await t.rejects(bus.objects.readObject(bucket, 'file', 3, 'f'.repeat(64)), { code: 'PIW_OBJECT_BROKEN' });
  await t.rejects(bus.objects.readObject(bucket, 'file', 2, 'f'.repeat(64)), { code: 'PIW_OBJECT_BROKEN' });
});

void t.test(
  'a full bucket with lastChunks drops its oldest chunks, and any other refuses new ones',
  async (t) => {
    const prefix = uniquePrefix();
    const bus = await testBus(t, prefix);
    const bucket = `${prefix}-b`;
    const maxBytes = 5 * CHUNK_SIZE;
    const data = randomBytes(CHUNK_SIZE);
    /** Writes chunks, for at most half a second, because a writer retries while a bucket is full. */
    const write = async (object: string, chunks: number) => {
      const writer = bus.objects.writer(bucket, object, 0, { signal: AbortSignal.timeout(500) });
      for (let n = 0; n < chunks; n += 1) await writer.write(data);
    };
    await bus.objects.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes });
    await t.rejects(write('one.a', 6), { code: 'PIW_OBJECT_BROKEN' });
    // The configuration of an existing bucket may change.
    await bus.objects.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes, lastChunks: 3 });
    await write('two.a', 6);
    t.same(
      (await bus.objects.listChunks(bucket, 'two.*')).map(({ offset }) => offset / CHUNK_SIZE),
      [3, 4, 5],
      'the last chunks of one object',
    );
    await write('two.b', 3);
    t.ok((await bus.objects.countChunks(bucket, '*.*')) < 6, 'and in all, as many as there is space for');
    t.equal(await bus.objects.countChunks(bucket, 'two.b'), 3);
  },
);

void t.test('chunks can be read while they are sent, and later from the store', async (t) => {
  const prefix = uniquePrefix();
  const [writer, reader] = await Promise.all([testBus(t, prefix), testBus(t, prefix)]);
  const bucket = `${prefix}-b`;
  await reader.objects.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes: 1e9 });
  const bytes = randomBytes(CHUNK_SIZE * 2 + 10);
  await writer.objects.write(bucket, 'other.a', [randomBytes(10)]);
  await writeAt(writer, bucket, 'file.a', 1000, bytes);
  const live = reader.objects.liveChunks(bucket, 'file.*');
  const seen: string[] = [];
  const reading = (async () => {
    for await (const { object, offset, data } of live) {
      seen.push(
        `${object} ${String(offset)} ${String(Buffer.compare(data, bytes.subarray(offset, offset + data.length)) === 0)}`,
      );
    }
  })();
  await reader.rtt();
  await writeAt(writer, bucket, 'file.b', 0, bytes);
  await reader.rtt();
  t.equal(live.received, 3);
  live.stop();
  await reading;
  t.same(
    seen,
    [0, CHUNK_SIZE, 2 * CHUNK_SIZE].map((at) => `file.b ${String(at)} true`),
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
  const listed = await reader.objects.listBuckets(bucket);
  t.same([...(listed.get(bucket) ?? [])].sort(), ['file.a', 'file.b', 'other.a']);
  await reader.objects.remove(bucket, 'file.*', 'file.a', 'file.b');
  t.same((await reader.objects.listBuckets(bucket)).get(bucket), ['other.a']);
  t.equal(first && (await reader.objects.readChunk(bucket, first)), undefined);
});
