import { mkdtempSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import t from 'tap';
import type { IncomingFile } from '../../src/transfer/incoming-file.js';
import { WheelStore } from '../../src/wheels/store.js';
import { MAX_WHEEL_NAME_LENGTH } from '../../src/wheels/tags.js';
import { fileStateOf, makeWheel, sha256, type WheelParts } from '../helpers/wheel.js';

async function setUp(parts: WheelParts = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'piw-store-'));
  const output = join(folder, 'www');
  const store = new WheelStore(output, 'me');
  await store.setUp();
  const path = await makeWheel(folder, { files: { 'data.bin': randomBytes(300_000) }, ...parts });
  return { store, output, bytes: readFileSync(path), file: await fileStateOf(path) };
}

/** Opens a transfer that this store owns. */
function openOwned(store: WheelStore, id: string, sender: string): IncomingFile {
  const incoming = store.staging.openIncoming(id, sender);
  if (!incoming) throw new Error('another process owns it');
  return incoming;
}

void t.test(
  'a file that arrives in parts, in any order, is published complete with its metadata',
  async (t) => {
    const { store, output, bytes, file } = await setUp();
    await store.staging.expect({ transferId: 'x-1', sender: 'pi', file });
    const incoming = openOwned(store, 'x-1', 'pi');
    t.same(incoming.state.firstMissingRange(), { start: 0, end: bytes.length });
    await incoming.write(20_000, bytes.subarray(20_000));
    t.same(incoming.state.firstMissingRange(), { start: 0, end: 20_000 });
    await incoming.write(0, bytes.subarray(0, 15_000));
    await incoming.close();
    t.match(
      await store.verify('x-1', 'demo'),
      { verb: 'AGAIN' },
      'it is not published while bytes are missing',
    );
    // Another process continues it.
    const reopened = openOwned(new WheelStore(output, 'me'), 'x-1', 'pi');
    t.same(reopened.state.firstMissingRange(), { start: 15_000, end: 20_000 });
    await reopened.write(15_000, bytes.subarray(15_000, 20_000));
    await reopened.close();
    t.match(await store.verify('x-1', 'demo'), { verb: 'VERIFIED', requires_python: '>=3.8' });
    const target = join(output, 'simple', 'demo', file.filename);
    t.equal(sha256(readFileSync(target)), file.filehash);
    t.match(readFileSync(`${target}.metadata`, 'utf8'), /^Metadata-Version/);
    t.same(readdirSync(join(output, '.transfers')), [], 'the transfer leaves nothing behind');
  },
);

void t.test('a file with another hash than announced is never visible, and is requested again', async (t) => {
  const { store, output, bytes, file } = await setUp();
  await store.staging.expect({ transferId: 'x', sender: 'pi', file });
  const incoming = openOwned(store, 'x', 'pi');
  const corrupted = Buffer.from(bytes);
  corrupted[100] = (corrupted[100] ?? 0) ^ 1;
  await incoming.write(0, corrupted);
  await incoming.close();
  t.match(await store.verify('x', 'demo'), { verb: 'AGAIN' });
  t.same(readdirSync(join(output, 'simple')), []);
  const reopened = openOwned(store, 'x', 'pi');
  t.same(reopened.state.firstMissingRange(), { start: 0, end: bytes.length }, 'all of it');
  await reopened.close();
});

void t.test('a published file never changes: the same bytes are accepted, others are refused', async (t) => {
  const first = await setUp();
  const publish = async (id: string, bytes: Buffer, file: typeof first.file) => {
    await first.store.staging.expect({ transferId: id, sender: 'pi', file });
    const incoming = openOwned(first.store, id, 'pi');
    await incoming.write(0, bytes);
    await incoming.close();
    return first.store.verify(id, 'demo');
  };
  t.match(await publish('a', first.bytes, first.file), { verb: 'VERIFIED' });
  t.match(await publish('b', first.bytes, first.file), { verb: 'VERIFIED' });
  const other = await setUp();
  t.match(await publish('c', other.bytes, other.file), { verb: 'REFUSED', code: 'PIW_FILE_EXISTS' });
  const target = join(first.output, 'simple', 'demo', first.file.filename);
  t.equal(sha256(readFileSync(target)), first.file.filehash);
});

void t.test('a wheel with the longest possible name is published with its metadata', async (t) => {
  const build = `1${'a'.repeat(MAX_WHEEL_NAME_LENGTH - 'demo-1.0-1-py3-none-any.whl'.length)}`;
  const { store, output, bytes, file } = await setUp({ build });
  await store.staging.expect({ transferId: 'x', sender: 'pi', file });
  const incoming = openOwned(store, 'x', 'pi');
  await incoming.write(0, bytes);
  await incoming.close();
  t.match(await store.verify('x', 'demo', incoming), { verb: 'VERIFIED' });
  t.same(readdirSync(join(output, 'simple', 'demo')).length, 2);
});

void t.test('a file that is not the announced wheel is refused, with the reason', async (t) => {
  const cases: [WheelParts, RegExp][] = [
    [{ metadata: 'Name: other\nVersion: 1.0\n' }, /METADATA names the project/],
    [{ metadata: 'Name: demo\nVersion: 2.0\n' }, /says version/],
    [{ wheel: 'Wheel-Version: 1.0\nTag: cp311-cp311-linux_x86_64\n' }, /tags in its WHEEL differ/],
    [{ files: { 'demo-2.0.dist-info/METADATA': Buffer.from('x') } }, /dist-info/],
  ];
  for (const [parts, reason] of cases) {
    const folder = mkdtempSync(join(tmpdir(), 'piw-store-'));
    const store = new WheelStore(join(folder, 'www'), 'me');
    await store.setUp();
    const path = await makeWheel(folder, parts);
    const bytes = readFileSync(path);
    const good = await makeWheel(mkdtempSync(join(tmpdir(), 'piw-good-')));
    const file = { ...(await fileStateOf(good)), filesize: bytes.length, filehash: sha256(bytes) };
    await store.staging.expect({ transferId: 'x', sender: 'pi', file });
    const incoming = openOwned(store, 'x', 'pi');
    await incoming.write(0, bytes);
    await incoming.close();
    const verdict = await store.verify('x', 'demo', incoming);
    t.equal(verdict.verb, 'REFUSED');
    t.match('reason' in verdict ? verdict.reason : '', reason);
  }
});

void t.test('bytes beyond the end, other senders, and names that are paths are refused', async (t) => {
  const { store, output, file, bytes } = await setUp();
  await store.staging.expect({ transferId: 'x', sender: 'pi', file });
  t.throws(() => store.staging.openIncoming('x', 'mallory'), { code: 'PIW_UNKNOWN_TRANSFER' });
  t.throws(() => store.staging.openIncoming('y', 'pi'), { code: 'PIW_UNKNOWN_TRANSFER' });
  t.throws(() => store.staging.openIncoming('../x', 'pi'), { code: 'PIW_UNKNOWN_TRANSFER' });
  const incoming = openOwned(store, 'x', 'pi');
  await incoming.write(bytes.length - 1, Buffer.from('too long'));
  await incoming.write(1e12, Buffer.from('far'));
  t.equal(incoming.state.received, 0);
  await incoming.close();
  t.equal(statSync(join(output, '.transfers', 'x.part')).size, 0);
  for (const name of ['../x.whl', '..', '.hidden', 'a/b.whl'])
    t.throws(() => store.pathOf('demo', name), { code: 'PIW_FILE_REFUSED' });
  t.throws(() => store.pathOf('../simple', 'x.whl'), { code: 'PIW_FILE_REFUSED' });
});

void t.test('a transfer whose sender never comes back is removed, a recent one is not', async (t) => {
  const { store, output, file } = await setUp();
  const now = Date.now();
  await store.staging.expect({ transferId: 'old', sender: 'pi', file });
  await store.staging.expect({ transferId: 'small', sender: 'pi', file: { ...file, filesize: 1000 } }, now);
  t.same(await store.staging.sweep(60_000, now), []);
  t.ok(store.staging.isExpected('small') && store.staging.isExpected('old'));
  const swept = await store.staging.sweep(60_000, now + 120_000);
  t.same(swept.map(({ transferId, sender }) => [transferId, sender]).sort(), [
    ['old', 'pi'],
    ['small', 'pi'],
  ]);
  t.notOk(store.staging.isExpected('small') || store.staging.isExpected('old'));
  t.same(readdirSync(join(output, '.transfers')), []);
});

void t.test('a transfer has one owner until that process is gone', async (t) => {
  const { store, output, bytes, file } = await setUp();
  await store.staging.expect({ transferId: 'x', sender: 'pi', file });
  const first = openOwned(store, 'x', 'pi');
  await first.write(0, bytes.subarray(0, 20_000));
  first.saveRanges();
  await first.write(20_000, bytes.subarray(20_000, 30_000));
  const other = new WheelStore(output, 'other');
  t.equal(other.staging.openIncoming('x', 'pi'), undefined);
  t.equal(other.staging.owner('x'), 'me');
  await other.staging.takeOver('x', 'somebody else');
  t.equal(other.staging.owner('x'), 'me', 'it is taken over only from the expected owner');
  // The owner was killed: the recorded ranges are there, the others are requested again.
  await other.staging.takeOver('x', 'me');
  const reopened = openOwned(other, 'x', 'pi');
  t.same(reopened.state.firstMissingRange(), { start: 20_000, end: bytes.length });
  await reopened.write(20_000, bytes.subarray(20_000));
  await reopened.close();
  t.equal(reopened.sha256, undefined, 'it has no digest, because it lacks the earlier bytes');
  t.match(await other.verify('x', 'demo', reopened), { verb: 'VERIFIED' });
  t.same(readdirSync(join(output, '.transfers')), []);
});

void t.test('a range is never overwritten, so the digest is that of the file on the disk', async (t) => {
  const { store, bytes, file } = await setUp();
  await store.staging.expect({ transferId: 'x', sender: 'pi', file });
  const incoming = openOwned(store, 'x', 'pi');
  await incoming.write(0, bytes.subarray(0, 30_000));
  await incoming.write(10_000, Buffer.alloc(30_000, 1));
  await incoming.write(0, bytes);
  await incoming.close();
  t.not(incoming.sha256, file.filehash, 'other bytes came first for 30,000 to 40,000');
  t.match(await store.verify('x', 'demo', incoming), { verb: 'AGAIN' });
  const reopened = openOwned(store, 'x', 'pi');
  await reopened.write(0, bytes.subarray(0, 30_000));
  await reopened.write(10_000, Buffer.concat([Buffer.alloc(20_000, 1), bytes.subarray(30_000)]));
  await reopened.close();
  t.equal(reopened.sha256, file.filehash);
  t.match(await store.verify('x', 'demo', reopened), { verb: 'VERIFIED' });
});

void t.test('files of zero bytes and of one byte are refused as wheels', async (t) => {
  for (const size of [0, 1]) {
    const { store, output, file } = await setUp();
    const bytes = Buffer.alloc(size, 'x');
    const small = { ...file, filesize: size, filehash: sha256(bytes) };
    await store.staging.expect({ transferId: 'x', sender: 'pi', file: small });
    const incoming = openOwned(store, 'x', 'pi');
    t.same(incoming.state.firstMissingRange(), size === 0 ? undefined : { start: 0, end: 1 });
    await incoming.write(0, bytes);
    await incoming.close();
    t.match(await store.verify('x', 'demo', incoming), { verb: 'REFUSED', code: 'PIW_BAD_WHEEL' });
    t.same(readdirSync(join(output, '.transfers')), []);
    t.same(readdirSync(join(output, 'simple')), []);
  }
});

void t.test(
  'of two senders with the same filename, one is published complete, and nothing is mixed',
  async (t) => {
    const { store, output, bytes, file } = await setUp();
    const other = await setUp();
    await store.staging.expect({ transferId: 'a', sender: 'pi', file });
    await store.staging.expect({ transferId: 'b', sender: 'pear', file: other.file });
    const [a, b] = [openOwned(store, 'a', 'pi'), openOwned(store, 'b', 'pear')];
    for (let at = 0; at < bytes.length; at += 7000) {
      await a.write(at, bytes.subarray(at, at + 7000));
      await b.write(at, other.bytes.subarray(at, at + 7000));
    }
    await Promise.all([a.close(), b.close()]);
    const verdicts = await Promise.all([store.verify('a', 'demo', a), store.verify('b', 'demo', b)]);
    t.same(verdicts.map(({ verb }) => verb).sort(), ['REFUSED', 'VERIFIED']);
    const winner = verdicts[0].verb === 'VERIFIED' ? bytes : other.bytes;
    const folder = join(output, 'simple', 'demo');
    t.ok(readFileSync(join(folder, file.filename)).equals(winner));
    t.same(readdirSync(folder).sort(), [file.filename, `${file.filename}.metadata`]);
  },
);
