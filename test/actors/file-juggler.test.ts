import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { actorSpecOf } from '../../actors/cast.js';
import { ProtocolClient } from '../../src/actor/client.js';
import { systemClock } from '../../src/concurrency/clock.js';
import { runActor } from '../../src/actor/run.js';
import { chunkBucket } from '../../src/transfer/chunk-bucket.js';
import { fileReader } from '../../src/transfer/file-reader.js';
import type { SendFileOptions } from '../../src/transfer/range-sender.js';
import { sendFile } from '../../src/transfer/send-file.js';
import type { Bus } from '../../src/bus/bus.js';
import { CHUNK_SIZE } from '../../src/bus/chunk.js';
import { messageBucket } from '../../src/bus/claims.js';
import type { RawSettings } from '../../src/config.js';
import { loadSettings } from '../../src/settings/load.js';
import { createLog } from '../../src/log.js';
import {
  SEGMENT_BYTES,
  fileJuggler,
  transfer,
  transferObjectName,
  userBucketName,
} from '../../src/protocols/file-juggler.js';
import { fileToMessage, type FileState } from '../../src/model/file-state.js';
import { natsAddress, uniquePrefix, testBus, until } from '../helpers/bus.js';
import { fileStateOf, makeWheel, sha256 } from '../helpers/wheel.js';

t.setTimeout(120_000);

const USER = 'pi';

/** Starts File Jugglers for one output path; each can be stopped. */
async function stage(t: Test, jugglers = 1, overrides: RawSettings = {}) {
  const prefix = uniquePrefix();
  const output = join(mkdtempSync(join(tmpdir(), 'piw-juggler-')), 'www');
  const logLines: string[] = [];
  const baseSettings = { nats: natsAddress(), prefix, 'output-path': output };
  const settings = loadSettings({ ...baseSettings, ...overrides }, '/dev/null');
  const start = (): (() => Promise<void>) => {
    const controller = new AbortController();
    const running = runActor(actorSpecOf('file-juggler'), settings, {
      bus: { address: natsAddress(), name: 'file-juggler', prefix },
      log: createLog('file-juggler', 'info', (line) => logLines.push(line)),
      signal: controller.signal,
    });
    const stop = () => {
      controller.abort();
      return running;
    };
    t.teardown(stop);
    return stop;
  };
  const stops = Array.from({ length: jugglers }, start);
  const bus = await testBus(t, prefix);
  const files = new ProtocolClient(bus, fileJuggler, undefined, { timeoutMs: 10_000, patienceMs: 20_000 });
  await until(() => logLines.filter((line) => line.includes('at work')).length === jugglers);
  const folder = mkdtempSync(join(tmpdir(), 'piw-juggler-built-'));
  const wheel = async (bytes: number, name = 'demo') => {
    const path = await makeWheel(folder, { name, files: { 'data.bin': randomBytes(bytes) } });
    return { path, file: await fileStateOf(path) };
  };
  const expect = async (id: string, file: FileState): Promise<void> => {
    const message = { transfer_id: id, sender: USER, file_state: fileToMessage(file) };
    transferIds.set(id, (await files.request('EXPECT', message)).transfer_id);
  };
  const verify = (id: string, name = 'demo', rebuilt = false) =>
    files.request('VERIFY', { transfer_id: transferIds.get(id) ?? id, package: name, rebuilt, past: [] });
  const published = (file: FileState) => join(output, 'simple', file.package_tag, file.filename);
  return { prefix, output, logLines, start, stops, bus, files, wheel, expect, verify, published };
}

/** The ids of expected transfers, as EXPECT returned them. */
const transferIds = new Map<string, string>();

function sending(
  bus: Bus,
  id: string,
  file: FileState,
  path: string,
  overrides: Partial<SendFileOptions> = {},
): SendFileOptions {
  const session = randomBytes(4).toString('hex');
  const transferId = transferIds.get(id) ?? id;
  return {
    bus,
    clock: systemClock,
    user: USER,
    session,
    transferId,
    file,
    read: fileReader(path),
    ...overrides,
  };
}

void t.test('a file is sent, verified and published, and its transfer leaves nothing behind', async (t) => {
  const { output, bus, wheel, expect, verify, published, prefix } = await stage(t);
  for (const bytes of [10, 100_000, 3 * SEGMENT_BYTES + 5]) {
    const { path, file } = await wheel(bytes, `demo${bytes}`);
    const id = `t-${bytes}`;
    await expect(id, file);
    let sent = 0;
    await sendFile(sending(bus, id, file, path, { onSent: (n) => (sent += n) }));
    t.equal(sent, file.filesize, 'each byte once');
    t.match(await verify(id, file.package_tag), { verb: 'VERIFIED' });
    t.match(await verify(id, file.package_tag), { verb: 'VERIFIED' }, 'a retry gets the same verdict');
    t.equal(sha256(readFileSync(published(file))), file.filehash);
  }
  t.same(readdirSync(join(output, '.transfers')), []);
  const bucket = userBucketName(prefix, USER);
  await until(async () => (await bus.objects.countChunks(bucket, 'file.*.*')) === 0);
});

void t.test('after the sender was interrupted, only the missing part is sent', async (t) => {
  const { bus, wheel, expect, verify, prefix } = await stage(t);
  const { path, file } = await wheel(8 * SEGMENT_BYTES);
  await expect('x', file);
  const interruption = new AbortController();
  const first = await testBus(t, prefix);
  let sent = 0;
  const onSent = (bytes: number) => {
    sent += bytes;
    if (sent >= 4 * SEGMENT_BYTES) interruption.abort();
  };
  await t.rejects(sendFile(sending(first, 'x', file, path, { signal: interruption.signal, onSent })));
  await first.drain();
  let resent = 0;
  await sendFile(sending(bus, 'x', file, path, { onSent: (bytes) => (resent += bytes) }));
  t.ok(resent >= file.filesize - sent && resent < file.filesize, `${sent} and ${resent} bytes`);
  t.equal(sent + resent, file.filesize, 'what was stored before the interruption is not sent again');
  t.match(await verify('x'), { verb: 'VERIFIED' });
});

void t.test('bytes that arrive after the CHUNK that announces them are not sent again', async (t) => {
  const { bus, wheel, expect, prefix } = await stage(t);
  for (const [id, size] of [
    ['small', 10],
    ['large', SEGMENT_BYTES],
  ] as const) {
    const { path, file } = await wheel(size);
    await expect(id, file);
    const juggler = new ProtocolClient(bus, transfer, ['slave', USER, id, transfer.name]);
    const transferId = transferIds.get(id) ?? '';
    await juggler.request('HELLO', { transfer_id: transferId });
    const answer = juggler.request('CHUNK', { offset: 0, length: file.filesize });
    await bus.rtt();
    const object = transferObjectName(transferId, file.filesize, () => 'p');
    const publisher = bus.objects.publisher(userBucketName(prefix, USER), object, 0);
    const bytes = readFileSync(path);
    for (let at = 0; at < bytes.length; at += CHUNK_SIZE)
      publisher.write(bytes.subarray(at, at + CHUNK_SIZE));
    t.match(await answer, { verb: 'DONE' }, id);
  }
});

void t.test('chunks that passed while no juggler listened are read from NATS', async (t) => {
  const { stops, start, logLines, bus, wheel, expect, verify, prefix } = await stage(t);
  const { path, file } = await wheel(2 * SEGMENT_BYTES);
  await expect('x', file);
  const juggler = new ProtocolClient(bus, transfer, ['slave', USER, 's', transfer.name], {
    timeoutMs: 10_000,
  });
  t.match(await juggler.request('HELLO', { transfer_id: 'x' }), {
    verb: 'FETCH',
    offset: 0,
    length: file.filesize,
  });
  await stops[0]?.();
  const publisher = bus.objects.publisher(userBucketName(prefix, USER), 'file.x.a', 0);
  const bytes = readFileSync(path);
  for (let at = 0; at < SEGMENT_BYTES; at += SEGMENT_BYTES / 4)
    publisher.write(bytes.subarray(at, at + SEGMENT_BYTES / 4));
  await bus.rtt();
  start();
  await until(() => logLines.filter((line) => line.includes('at work')).length === 2);
  // Nobody received it live: the new juggler can only know it from the recorded ranges and from NATS.
  t.match(await juggler.request('HELLO', { transfer_id: 'x' }), { verb: 'FETCH', offset: SEGMENT_BYTES });
  await sendFile(sending(bus, 'x', file, path));
  t.match(await verify('x'), { verb: 'VERIFIED' });
});

void t.test('several jugglers share the work, and forward requests to the owner of a transfer', async (t) => {
  const { stops, bus, wheel, expect, verify, published, logLines } = await stage(t, 3);
  const jobs = await Promise.all(
    Array.from({ length: 12 }, async (_, n) => ({
      id: `x-${n}`,
      ...(await wheel(n % 2 === 0 ? 50_000 : 2 * SEGMENT_BYTES, `demo${n}`)),
    })),
  );
  await Promise.all(
    jobs.map(async ({ id, path, file }) => {
      await expect(id, file);
      await sendFile(sending(bus, id, file, path));
      t.match(await verify(id, file.package_tag), { verb: 'VERIFIED' });
      t.equal(sha256(readFileSync(published(file))), file.filehash);
    }),
  );
  const { path, file } = await wheel(4 * SEGMENT_BYTES, 'last');
  await expect('last', file);
  await sendFile(sending(bus, 'last', file, path));
  await Promise.all(stops.slice(0, 2).map((stop) => stop()));
  t.match(await verify('last', 'last'), { verb: 'VERIFIED' }, 'even after its owner has stopped');
  t.equal(logLines.filter((line) => line.includes('wheel published')).length, 13);
});

void t.test('two senders with one name at the same time do not mix', async (t) => {
  const { bus, wheel, expect, verify, published } = await stage(t, 2);
  const first = await wheel(4 * SEGMENT_BYTES);
  const bytes = readFileSync(first.path);
  const second = await wheel(4 * SEGMENT_BYTES);
  const firstCopy = join(mkdtempSync(join(tmpdir(), 'piw-juggler-')), first.file.filename);
  writeFileSync(firstCopy, bytes);
  await Promise.all([expect('a', first.file), expect('b', second.file)]);
  await Promise.all([
    sendFile(sending(bus, 'a', first.file, firstCopy)),
    sendFile(sending(bus, 'b', second.file, second.path)),
  ]);
  const [a, b] = await Promise.all([verify('a'), verify('b')]);
  t.same([a.verb, b.verb].sort(), ['REFUSED', 'VERIFIED']);
  const winner = a.verb === 'VERIFIED' ? first.file : second.file;
  t.equal(sha256(readFileSync(published(first.file))), winner.filehash);
});

void t.test('a rebuilt wheel gets a build tag if the jugglers are configured to give one', async (t) => {
  const { stops, bus, wheel, expect, verify, output, logLines } = await stage(t, 2, {
    'on-duplicate-filename': 'tag',
  });
  const names = () => readdirSync(join(output, 'simple', 'demo')).filter((name) => name.endsWith('.whl'));
  const deliver = async (id: string, { path, file }: { path: string; file: FileState }) => {
    await expect(id, file);
    await sendFile(sending(bus, id, file, path));
  };
  for (const bytes of [10, 2 * SEGMENT_BYTES]) await deliver(`first-${bytes}`, await wheel(bytes));
  t.match(await verify('first-10'), { verb: 'VERIFIED', filename: 'demo-1.0-py3-none-any.whl' });
  const taken = await verify(`first-${2 * SEGMENT_BYTES}`);
  t.match(
    taken,
    { verb: 'TAKEN', reason: /already published/ },
    'but only if the request says that it was rebuilt',
  );
  t.same(names(), ['demo-1.0-py3-none-any.whl']);
  for (const [n, bytes] of [10, 2 * SEGMENT_BYTES].entries()) {
    const expectedVerdict = { verb: 'VERIFIED', filename: `demo-1.0-${n + 1}-py3-none-any.whl` };
    const rebuilt = await wheel(bytes);
    await deliver(`again-${n}`, rebuilt);
    t.match(await verify(`again-${n}`, 'demo', true), expectedVerdict);
    // The outcome of that transfer is forgotten: the file is sent again.
    await deliver(`once-more-${n}`, rebuilt);
    t.match(await verify(`once-more-${n}`, 'demo', n === 0), expectedVerdict, 'a retry gets the same name');
    t.ok(
      logLines.some((line) => line.includes(`wheel published package=demo file=${expectedVerdict.filename}`)),
    );
  }
  // Requests are forwarded to the owner of a transfer; when it is gone, the transfer is taken over.
  const last = await wheel(2 * SEGMENT_BYTES);
  await deliver('last', last);
  await stops[0]?.();
  t.match(await verify('last', 'demo', true), { verb: 'VERIFIED', filename: 'demo-1.0-3-py3-none-any.whl' });
  t.equal(names().length, 4);
});

void t.test(
  'a file that changes while it is sent is detected, and published once it is correct again',
  async (t) => {
    const { bus, wheel, expect, verify } = await stage(t);
    const { path, file } = await wheel(4 * SEGMENT_BYTES);
    const original = readFileSync(path);
    await expect('x', file);
    const corrupted = Buffer.from(original);
    corrupted[1000] = (corrupted[1000] ?? 0) ^ 1;
    writeFileSync(path, corrupted);
    await sendFile(sending(bus, 'x', file, path));
    t.match(await verify('x'), { verb: 'AGAIN' }, 'the bytes are wrong');
    const changed = { code: 'PIW_FILE_CHANGED' };
    await t.rejects(
      sendFile(sending(bus, 'x', file, path, { verifyDigest: true })),
      changed,
      'the sender sees why',
    );
    t.match(await verify('x'), { verb: 'AGAIN' });
    writeFileSync(path, original);
    await sendFile(sending(bus, 'x', file, path));
    t.match(await verify('x'), { verb: 'VERIFIED' });
  },
);

void t.test('a file that is truncated or deleted while it is sent is detected', async (t) => {
  const { bus, wheel, expect, verify } = await stage(t);
  const { path, file } = await wheel(4 * SEGMENT_BYTES);
  const changed = { code: 'PIW_FILE_CHANGED' };
  await expect('x', file);
  truncateSync(path, SEGMENT_BYTES + 10);
  await t.rejects(sendFile(sending(bus, 'x', file, path)), changed);
  rmSync(path);
  await t.rejects(sendFile(sending(bus, 'x', file, path)), changed);
  t.match(await verify('x'), { verb: 'AGAIN' });
});

void t.test('files of zero bytes and one byte are refused as bad wheels', async (t) => {
  const { bus, wheel, expect, verify } = await stage(t);
  const { file } = await wheel(10);
  for (const size of [0, 1]) {
    const path = join(mkdtempSync(join(tmpdir(), 'piw-juggler-')), file.filename);
    writeFileSync(path, Buffer.alloc(size, 'x'));
    const tiny = { ...file, filesize: size, filehash: sha256(readFileSync(path)) };
    await expect(`x-${size}`, tiny);
    await sendFile(sending(bus, `x-${size}`, tiny, path));
    t.match(await verify(`x-${size}`), { verb: 'REFUSED', code: 'PIW_BAD_WHEEL' });
  }
});

void t.test('buckets of an earlier version, which acknowledge, are replaced on start', async (t) => {
  const prefix = uniquePrefix();
  const bus = await testBus(t, prefix);
  const bucket = userBucketName(prefix, USER);
  await bus.objects.buckets.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes: 1e7 });
  await bus.objects.write(bucket, 'gone.a', randomBytes(100));
  const output = join(mkdtempSync(join(tmpdir(), 'piw-juggler-')), 'www');
  const settings = loadSettings({ nats: natsAddress(), prefix, 'output-path': output }, '/dev/null');
  const controller = new AbortController();
  const running = runActor(actorSpecOf('file-juggler'), settings, {
    bus: { address: natsAddress(), name: 'file-juggler', prefix },
    log: createLog('file-juggler', 'error', () => undefined),
    signal: controller.signal,
  });
  t.teardown(() => {
    controller.abort();
    return running;
  });
  const { streams } = await bus.connection.jetstreamManager();
  await until(async () => {
    const info = await streams.info(`OBJ_${bucket}`).catch(() => undefined);
    return info?.config.no_ack === true;
  });
  t.same(await bus.objects.buckets.listObjects(bucket), []);
  const another = `${prefix}-slave-another`;
  await bus.objects.buckets.ensure(chunkBucket(another));
  await bus.objects.buckets.ensure(messageBucket(another));
  t.pass('there is space beside it for large messages');
});
