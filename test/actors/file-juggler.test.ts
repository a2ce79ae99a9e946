import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { actorSpecOf } from '../../actors/cast.js';
import { ProtocolClient } from '../../src/actor/client.js';
import { systemClock } from '../../src/concurrency/clock.js';
import { runActor } from '../../src/actor/run.js';
import { fileReader, sendFile, type SendFileOptions } from '../../src/transfer/send-file.js';
import type { Bus } from '../../src/bus/bus.js';
import { loadSettings, type RawSettings } from '../../src/config.js';
import { createLog } from '../../src/log.js';
import { SEGMENT_BYTES, userBucketName, fileSystem, transfer } from '../../src/protocols/file-juggler.js';
import { fileToMessage, type FileState } from '../../src/model/file-state.js';
import { natsAddress, uniquePrefix, testBus, until } from '../helpers/bus.js';
import { fileStateOf, makeWheel, sha256 } from '../helpers/wheel.js';

t.setTimeout(120_000);

const USER = 'pi';

/** File Jugglers of one output path; the first of those that are at work can be ended. */
async function stage(t: Test, jugglers = 1, given: RawSettings = {}) {
  const prefix = uniquePrefix();
  const output = join(mkdtempSync(join(tmpdir(), 'piw-juggler-')), 'www');
  const said: string[] = [];
  const baseSettings = { nats: natsAddress(), prefix, 'output-path': output };
  const settings = loadSettings({ ...baseSettings, ...given }, '/dev/null');
  const start = (): (() => Promise<void>) => {
    const controller = new AbortController();
    const running = runActor(actorSpecOf('file-juggler'), settings, {
      bus: { address: natsAddress(), name: 'file-juggler', prefix },
      log: createLog('file-juggler', 'info', (line) => said.push(line)),
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
  const files = new ProtocolClient(bus, fileSystem, undefined, { timeoutMs: 10_000, patienceMs: 20_000 });
  await until(() => said.filter((line) => line.includes('at work')).length === jugglers);
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
  return { prefix, output, said, start, stops, bus, files, wheel, expect, verify, published };
}

/** What transfers are to be called, since they are expected. */
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

void t.test('a file is sent, verified and published, and nothing is left of it', async (t) => {
  const { output, bus, wheel, expect, verify, published, prefix } = await stage(t);
  for (const bytes of [10, 100_000, 3 * SEGMENT_BYTES + 5]) {
    const { path, file } = await wheel(bytes, `demo${String(bytes)}`);
    const id = `t-${String(bytes)}`;
    await expect(id, file);
    let sent = 0;
    await sendFile(sending(bus, id, file, path, { onSent: (n) => (sent += n) }));
    t.equal(sent, file.filesize, 'each byte once');
    t.match(await verify(id, file.package_tag), { verb: 'VERIFIED' });
    t.match(await verify(id, file.package_tag), { verb: 'VERIFIED' }, 'and again for who asks again');
    t.equal(sha256(readFileSync(published(file))), file.filehash);
  }
  t.same(readdirSync(join(output, '.transfers')), []);
  const bucket = userBucketName(prefix, USER);
  await until(async () => ((await bus.objects.listBuckets(bucket)).get(bucket) ?? []).length === 0);
});

void t.test('after a break of the sender only what is missing is sent', async (t) => {
  const { bus, wheel, expect, verify, prefix } = await stage(t);
  const { path, file } = await wheel(8 * SEGMENT_BYTES);
  await expect('x', file);
  const broken = new AbortController();
  const first = await testBus(t, prefix);
  let sent = 0;
  const onSent = (bytes: number) => {
    sent += bytes;
    if (sent >= 4 * SEGMENT_BYTES) broken.abort();
  };
  await t.rejects(sendFile(sending(first, 'x', file, path, { signal: broken.signal, onSent })));
  await first.drain();
  let resent = 0;
  await sendFile(sending(bus, 'x', file, path, { onSent: (bytes) => (resent += bytes) }));
  t.ok(
    resent >= file.filesize - sent && resent < file.filesize,
    `${String(sent)} and ${String(resent)} bytes`,
  );
  t.equal(sent + resent, file.filesize, 'what was stored before the break is not sent again');
  t.match(await verify('x'), { verb: 'VERIFIED' });
});

void t.test('what was stored while no juggler listened is read from NATS', async (t) => {
  const { stops, start, said, bus, wheel, expect, verify, prefix } = await stage(t);
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
  const writer = bus.objects.writer(userBucketName(prefix, USER), 'x.a', 0);
  const bytes = readFileSync(path);
  for (let at = 0; at < SEGMENT_BYTES; at += SEGMENT_BYTES / 4)
    await writer.write(bytes.subarray(at, at + SEGMENT_BYTES / 4));
  start();
  await until(() => said.filter((line) => line.includes('at work')).length === 2);
  // It could not have passed anybody by, and the new one can't know of anything but its notes and NATS.
  t.match(await juggler.request('HELLO', { transfer_id: 'x' }), { verb: 'FETCH', offset: SEGMENT_BYTES });
  await sendFile(sending(bus, 'x', file, path));
  t.match(await verify('x'), { verb: 'VERIFIED' });
});

void t.test('several jugglers share the work, and one whose turn it is not hands it on', async (t) => {
  const { stops, bus, wheel, expect, verify, published, said } = await stage(t, 3);
  const jobs = await Promise.all(
    Array.from({ length: 12 }, async (_, n) => ({
      id: `x-${String(n)}`,
      ...(await wheel(n % 2 === 0 ? 50_000 : 2 * SEGMENT_BYTES, `demo${String(n)}`)),
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
  t.match(await verify('last', 'last'), { verb: 'VERIFIED' }, 'also when the one who had it has ended');
  t.equal(said.filter((line) => line.includes('published')).length, 13);
});

void t.test('two senders with one name at the same time do not mix', async (t) => {
  const { bus, wheel, expect, verify, published } = await stage(t, 2);
  const one = await wheel(4 * SEGMENT_BYTES);
  const bytes = readFileSync(one.path);
  const two = await wheel(4 * SEGMENT_BYTES);
  const first = join(mkdtempSync(join(tmpdir(), 'piw-juggler-')), one.file.filename);
  writeFileSync(first, bytes);
  await Promise.all([expect('a', one.file), expect('b', two.file)]);
  await Promise.all([
    sendFile(sending(bus, 'a', one.file, first)),
    sendFile(sending(bus, 'b', two.file, two.path)),
  ]);
  const [a, b] = await Promise.all([verify('a'), verify('b')]);
  t.same([a.verb, b.verb].sort(), ['REFUSED', 'VERIFIED']);
  const won = a.verb === 'VERIFIED' ? one.file : two.file;
  t.equal(sha256(readFileSync(published(one.file))), won.filehash);
});

void t.test('a wheel that was built again gets a build tag, where the jugglers are told so', async (t) => {
  const { stops, bus, wheel, expect, verify, output, said } = await stage(t, 2, { rebuilt: 'tag' });
  const names = () => readdirSync(join(output, 'simple', 'demo')).filter((name) => name.endsWith('.whl'));
  const deliver = async (id: string, { path, file }: { path: string; file: FileState }) => {
    await expect(id, file);
    await sendFile(sending(bus, id, file, path));
  };
  for (const bytes of [10, 2 * SEGMENT_BYTES]) await deliver(`first-${String(bytes)}`, await wheel(bytes));
  t.match(await verify('first-10'), { verb: 'VERIFIED', filename: 'demo-1.0-py3-none-any.whl' });
  const taken = await verify(`first-${String(2 * SEGMENT_BYTES)}`);
  t.match(taken, { verb: 'TAKEN', reason: /published already/ }, 'not unless it is said');
  t.same(names(), ['demo-1.0-py3-none-any.whl']);
  for (const [n, bytes] of [10, 2 * SEGMENT_BYTES].entries()) {
    const again = { verb: 'VERIFIED', filename: `demo-1.0-${String(n + 1)}-py3-none-any.whl` };
    const one = await wheel(bytes);
    await deliver(`again-${String(n)}`, one);
    t.match(await verify(`again-${String(n)}`, 'demo', true), again);
    // Nobody remembers what became of that transfer: it is sent again.
    await deliver(`once-more-${String(n)}`, one);
    t.match(await verify(`once-more-${String(n)}`, 'demo', n === 0), again, 'and for who asks again');
    t.ok(said.some((line) => line.includes(`published demo/${again.filename}`)));
  }
  // The one who has a transfer is asked by the other; when that one is gone, it is taken over.
  const last = await wheel(2 * SEGMENT_BYTES);
  await deliver('last', last);
  await stops[0]?.();
  t.match(await verify('last', 'demo', true), { verb: 'VERIFIED', filename: 'demo-1.0-3-py3-none-any.whl' });
  t.equal(names().length, 4);
});

void t.test(
  'a file that changes while it is sent is noticed, and published when it is right again',
  async (t) => {
    const { bus, wheel, expect, verify } = await stage(t);
    const { path, file } = await wheel(4 * SEGMENT_BYTES);
    const right = readFileSync(path);
    await expect('x', file);
    const wrong = Buffer.from(right);
    wrong[1000] = (wrong[1000] ?? 0) ^ 1;
    writeFileSync(path, wrong);
    await sendFile(sending(bus, 'x', file, path));
    t.match(await verify('x'), { verb: 'AGAIN' }, 'other bytes');
    const changed = { code: 'PIW_FILE_CHANGED' };
    await t.rejects(
      sendFile(sending(bus, 'x', file, path, { verifyDigest: true })),
      changed,
      'and its sender sees why',
    );
    t.match(await verify('x'), { verb: 'AGAIN' });
    writeFileSync(path, right);
    await sendFile(sending(bus, 'x', file, path));
    t.match(await verify('x'), { verb: 'VERIFIED' });
  },
);

void t.test('a file that becomes shorter while it is sent, or goes, is noticed', async (t) => {
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

void t.test('files of no byte and of one have a defined end', async (t) => {
  const { bus, wheel, expect, verify } = await stage(t);
  const { file } = await wheel(10);
  for (const size of [0, 1]) {
    const path = join(mkdtempSync(join(tmpdir(), 'piw-juggler-')), file.filename);
    writeFileSync(path, Buffer.alloc(size, 'x'));
    const tiny = { ...file, filesize: size, filehash: sha256(readFileSync(path)) };
    await expect(`x-${String(size)}`, tiny);
    await sendFile(sending(bus, `x-${String(size)}`, tiny, path));
    t.match(await verify(`x-${String(size)}`), { verb: 'REFUSED', code: 'PIW_BAD_WHEEL' });
  }
});

void t.test('chunks that belong to no transfer are removed at the start', async (t) => {
  const prefix = uniquePrefix();
  const bus = await testBus(t, prefix);
  const bucket = userBucketName(prefix, USER);
  await bus.objects.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes: 1e9 });
  await bus.objects.write(bucket, 'gone.a', [randomBytes(100)]);
  await bus.objects.write(bucket, 'claim.b', [randomBytes(100)]);
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
  const remaining = async () => (await bus.objects.listBuckets(bucket)).get(bucket) ?? [];
  await until(async () => !(await remaining()).includes('gone.a'));
  t.same(await remaining(), ['claim.b'], 'but not what waits for a message');
});
