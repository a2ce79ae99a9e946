import { createHash, randomBytes } from 'node:crypto';
import t from 'tap';
import type { Bus } from '../../src/bus/bus.js';
import { CHUNK_SIZE } from '../../src/bus/objects.js';
import { ownPrefix, testBus } from '../helpers/bus.js';

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
    await writeAt(writer, bucket, 'file.a', middle, whole.subarray(middle));
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
  t.equal((await bus.objects.stored(bucket, 'file.*')).length, 3);
  await bus.objects.remove(bucket, 'file.*');
  t.same(await bus.objects.stored(bucket, 'file.*'), []);
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
  /** For a moment: whoever finds a bucket full tries again for a while. */
  const write = async () => {
    const signal = AbortSignal.timeout(500);
    const writer = bus.objects.writer(bucket, `file.${String((written += 1))}`, 0, { signal });
    const chunks = [0, 1, 2, 3].map((n) => data.subarray(n * CHUNK_SIZE, (n + 1) * CHUNK_SIZE));
    const stored = await Promise.allSettled(chunks.map((chunk) => writer.write(chunk)));
    if (stored.some(({ status }) => status === 'rejected')) throw new Error('it is full');
  };
  await t.rejects(write(), 'it is too small');
  await bus.objects.remove(bucket, 'file.*');
  await bus.objects.makeRoom(bucket, data.length, spare);
  await write();
  await bus.objects.makeRoom(bucket, 0, spare);
  t.equal(await bus.objects.count(bucket, 'file.*'), 4, 'what is in it stays');
  await bus.objects.remove(bucket, 'file.*');
  await bus.objects.makeRoom(bucket, 0, spare);
  await t.rejects(write(), 'it is small again');
});

void t.test('chunks are seen as they pass, and what passed is found among what is stored', async (t) => {
  const prefix = ownPrefix();
  const [writer, reader] = await Promise.all([testBus(t, prefix), testBus(t, prefix)]);
  const bucket = `${prefix}-b`;
  await reader.objects.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes: 1e9 });
  const bytes = randomBytes(CHUNK_SIZE * 2 + 10);
  await writer.objects.write(bucket, 'other.a', [randomBytes(10)]);
  await writeAt(writer, bucket, 'file.a', 1000, bytes);
  const live = reader.objects.live(bucket, 'file.*');
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
  const stored = await reader.objects.stored(bucket, 'file.*');
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
  t.ok(first && (await reader.objects.read(bucket, first))?.every((byte, i) => byte === bytes[i]));
  const listed = await reader.objects.list(bucket);
  t.same([...(listed.get(bucket) ?? [])].sort(), ['file.a', 'file.b', 'other.a']);
  await reader.objects.remove(bucket, 'file.*', 'file.a', 'file.b');
  t.same((await reader.objects.list(bucket)).get(bucket), ['other.a']);
  t.equal(first && (await reader.objects.read(bucket, first)), undefined);
});
