import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { partOf } from '../../actors/cast.js';
import { Client } from '../../src/actor/client.js';
import { systemClock } from '../../src/actor/clock.js';
import { runActor } from '../../src/actor/run.js';
import { readerOf, sendFile, type Sending } from '../../src/actor/send-file.js';
import type { Bus } from '../../src/bus/bus.js';
import { loadSettings, type Given } from '../../src/config.js';
import { createLog } from '../../src/log.js';
import { PIECE, bucketOf, fileSystem, transfer } from '../../src/protocols/file-juggler.js';
import { fileToMessage, type FileState } from '../../src/states/file-state.js';
import { natsAddress, ownPrefix, testBus, until } from '../helpers/bus.js';
import { announce, makeWheel, sha256 } from '../helpers/wheel.js';

t.setTimeout(120_000);

const USER = 'pi';

/** File Jugglers of one output path; the first of those that are at work can be ended. */
async function stage(t: Test, jugglers = 1, given: Given = {}) {
  const prefix = ownPrefix();
  const output = join(mkdtempSync(join(tmpdir(), 'piw-juggler-')), 'www');
  const said: string[] = [];
  const own = { nats: natsAddress(), prefix, 'output-path': output };
  const settings = loadSettings({ ...own, ...given }, '/dev/null');
  const start = (): (() => Promise<void>) => {
    const controller = new AbortController();
    const running = runActor(partOf('file-juggler'), settings, {
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
  const files = new Client(bus, fileSystem, undefined, { timeoutMs: 10_000, patienceMs: 20_000 });
  await until(() => said.filter((line) => line.includes('at work')).length === jugglers);
  const folder = mkdtempSync(join(tmpdir(), 'piw-juggler-built-'));
  const wheel = async (bytes: number, name = 'demo') => {
    const path = await makeWheel(folder, { name, files: { 'data.bin': randomBytes(bytes) } });
    return { path, file: await announce(path) };
  };
  const expect = async (id: string, file: FileState): Promise<void> => {
    const its = { transfer_id: id, sender: USER, file_state: fileToMessage(file) };
    called.set(id, (await files.ask('EXPECT', its)).transfer_id);
  };
  const verify = (id: string, name = 'demo', rebuilt = false) =>
    files.ask('VERIFY', { transfer_id: called.get(id) ?? id, package: name, rebuilt, past: [] });
  const published = (file: FileState) => join(output, 'simple', file.package_tag, file.filename);
  return { prefix, output, said, start, stops, bus, files, wheel, expect, verify, published };
}

/** What transfers are to be called, since they are expected. */
const called = new Map<string, string>();

function sending(bus: Bus, id: string, file: FileState, path: string, more: Partial<Sending> = {}): Sending {
  const session = randomBytes(4).toString('hex');
  const transferId = called.get(id) ?? id;
  return { bus, clock: systemClock, user: USER, session, transferId, file, read: readerOf(path), ...more };
}

void t.test('a file is sent, verified and published, and nothing is left of it', async (t) => {
  const { output, bus, wheel, expect, verify, published, prefix } = await stage(t);
  for (const bytes of [10, 100_000, 3 * PIECE + 5]) {
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
  const bucket = bucketOf(prefix, USER);
  await until(async () => ((await bus.objects.list(bucket)).get(bucket) ?? []).length === 0);
});

void t.test('after a break of the sender only what is missing is sent', async (t) => {
  const { bus, wheel, expect, verify, prefix } = await stage(t);
  const { path, file } = await wheel(8 * PIECE);
  await expect('x', file);
  const broken = new AbortController();
  const first = await testBus(t, prefix);
  let sent = 0;
  const onSent = (bytes: number) => {
    sent += bytes;
    if (sent >= 4 * PIECE) broken.abort();
  };
  await t.rejects(sendFile(sending(first, 'x', file, path, { signal: broken.signal, onSent })));
  await first.drain();
  let again = 0;
  await sendFile(sending(bus, 'x', file, path, { onSent: (bytes) => (again += bytes) }));
  t.ok(again >= file.filesize - sent && again < file.filesize, `${String(sent)} and ${String(again)} bytes`);
  t.equal(sent + again, file.filesize, 'what was stored before the break is not sent again');
  t.match(await verify('x'), { verb: 'VERIFIED' });
});

void t.test('what was stored while no juggler listened is read from NATS', async (t) => {
  const { stops, start, said, bus, wheel, expect, verify, prefix } = await stage(t);
  const { path, file } = await wheel(2 * PIECE);
  await expect('x', file);
  const juggler = new Client(bus, transfer, ['slave', USER, 's', transfer.name], { timeoutMs: 10_000 });
  t.match(await juggler.ask('HELLO', { transfer_id: 'x' }), {
    verb: 'FETCH',
    offset: 0,
    length: file.filesize,
  });
  await stops[0]?.();
  const writer = bus.objects.writer(bucketOf(prefix, USER), 'x.a', 0);
  const bytes = readFileSync(path);
  for (let at = 0; at < PIECE; at += PIECE / 4) await writer.write(bytes.subarray(at, at + PIECE / 4));
  start();
  await until(() => said.filter((line) => line.includes('at work')).length === 2);
  // It could not have passed anybody by, and the new one can't know of anything but its notes and NATS.
  t.match(await juggler.ask('HELLO', { transfer_id: 'x' }), { verb: 'FETCH', offset: PIECE });
  await sendFile(sending(bus, 'x', file, path));
  t.match(await verify('x'), { verb: 'VERIFIED' });
});

void t.test('several jugglers share the work, and one whose turn it is not hands it on', async (t) => {
  const { stops, bus, wheel, expect, verify, published, said } = await stage(t, 3);
  const jobs = await Promise.all(
    Array.from({ length: 12 }, async (_, n) => ({
      id: `x-${String(n)}`,
      ...(await wheel(n % 2 === 0 ? 50_000 : 2 * PIECE, `demo${String(n)}`)),
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
  const { path, file } = await wheel(4 * PIECE, 'last');
  await expect('last', file);
  await sendFile(sending(bus, 'last', file, path));
  await Promise.all(stops.slice(0, 2).map((stop) => stop()));
  t.match(await verify('last', 'last'), { verb: 'VERIFIED' }, 'also when the one who had it has ended');
  t.equal(said.filter((line) => line.includes('published')).length, 13);
});

void t.test('two senders with one name at the same time do not mix', async (t) => {
  const { bus, wheel, expect, verify, published } = await stage(t, 2);
  const one = await wheel(4 * PIECE);
  const bytes = readFileSync(one.path);
  const two = await wheel(4 * PIECE);
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
  for (const bytes of [10, 2 * PIECE]) await deliver(`first-${String(bytes)}`, await wheel(bytes));
  t.match(await verify('first-10'), { verb: 'VERIFIED', filename: 'demo-1.0-py3-none-any.whl' });
  const taken = await verify(`first-${String(2 * PIECE)}`);
  t.match(taken, { verb: 'TAKEN', reason: /published already/ }, 'not unless it is said');
  t.same(names(), ['demo-1.0-py3-none-any.whl']);
  for (const [n, bytes] of [10, 2 * PIECE].entries()) {
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
  const last = await wheel(2 * PIECE);
  await deliver('last', last);
  await stops[0]?.();
  t.match(await verify('last', 'demo', true), { verb: 'VERIFIED', filename: 'demo-1.0-3-py3-none-any.whl' });
  t.equal(names().length, 4);
});

void t.test(
  'a file that changes while it is sent is noticed, and published when it is right again',
  async (t) => {
    const { bus, wheel, expect, verify } = await stage(t);
    const { path, file } = await wheel(4 * PIECE);
    const right = readFileSync(path);
    await expect('x', file);
    const wrong = Buffer.from(right);
    wrong[1000] = (wrong[1000] ?? 0) ^ 1;
    writeFileSync(path, wrong);
    await sendFile(sending(bus, 'x', file, path));
    t.match(await verify('x'), { verb: 'AGAIN' }, 'other bytes');
    const changed = { code: 'PIW_FILE_CHANGED' };
    await t.rejects(
      sendFile(sending(bus, 'x', file, path, { doubtful: true })),
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
  const { path, file } = await wheel(4 * PIECE);
  const changed = { code: 'PIW_FILE_CHANGED' };
  await expect('x', file);
  truncateSync(path, PIECE + 10);
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
  const prefix = ownPrefix();
  const bus = await testBus(t, prefix);
  const bucket = bucketOf(prefix, USER);
  await bus.objects.ensure({ name: bucket, maxAgeMs: 60_000, maxBytes: 1e9 });
  await bus.objects.write(bucket, 'gone.a', [randomBytes(100)]);
  await bus.objects.write(bucket, 'claim.b', [randomBytes(100)]);
  const output = join(mkdtempSync(join(tmpdir(), 'piw-juggler-')), 'www');
  const settings = loadSettings({ nats: natsAddress(), prefix, 'output-path': output }, '/dev/null');
  const controller = new AbortController();
  const running = runActor(partOf('file-juggler'), settings, {
    bus: { address: natsAddress(), name: 'file-juggler', prefix },
    log: createLog('file-juggler', 'error', () => undefined),
    signal: controller.signal,
  });
  t.teardown(() => {
    controller.abort();
    return running;
  });
  const left = async () => (await bus.objects.list(bucket)).get(bucket) ?? [];
  await until(async () => !(await left()).includes('gone.a'));
  t.same(await left(), ['claim.b'], 'but not what waits for a message');
});
