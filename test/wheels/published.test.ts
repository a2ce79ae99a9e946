import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { FileState } from '../../src/model/file-state.js';
import { openPublished, reserveOpened } from '../../src/wheels/published.js';
import { WheelStore, type TransferVerdict } from '../../src/wheels/store.js';
import { fileStateOf, makeWheel, sha256 } from '../helpers/wheel.js';

t.setTimeout(120_000);

const NAME = 'demo-1.0-py3-none-any.whl';
const ROUNDS = 150;

interface PublishableWheel {
  readonly bytes: Buffer;
  readonly file: FileState;
}

async function buildWheel(): Promise<PublishableWheel> {
  const folder = mkdtempSync(join(tmpdir(), 'piw-built-'));
  const path = await makeWheel(folder, { files: { 'data.bin': randomBytes(500) } });
  return { bytes: readFileSync(path), file: await fileStateOf(path) };
}

let transfers = 0;

async function publish(store: WheelStore, { bytes, file }: PublishableWheel): Promise<TransferVerdict> {
  const transferId = `x-${(transfers += 1)}`;
  await store.staging.expect({ transferId, sender: 'pi', file });
  const incoming = store.staging.openIncoming(transferId, 'pi');
  await incoming?.write(0, bytes);
  const verdict = await store.verify(transferId, 'demo', incoming);
  await store.staging.forget(transferId);
  return verdict;
}

async function stage() {
  const output = join(mkdtempSync(join(tmpdir(), 'piw-published-')), 'www');
  const folder = join(output, 'simple', 'demo');
  const open = async (instanceId: string) => {
    const store = new WheelStore(output, instanceId);
    await store.setUp();
    return store;
  };
  return { folder, store: await open('one'), other: await open('other') };
}

function stampOf(store: WheelStore): string {
  return store.fileStamp('demo', NAME)?.stamp ?? 'none';
}

void t.test('a file that was published again after the decision to remove it is kept', async (t) => {
  const { folder, store, other } = await stage();
  const wheel = await buildWheel();
  t.match(await publish(store, wheel), { verb: 'VERIFIED' });
  // The first build is lost, so nothing lists its file and it may be removed: that is the decision.
  const stamp = stampOf(store);
  // Before it is carried out, another slave delivers the same bytes, and its build is logged.
  t.match(await publish(other, wheel), { verb: 'VERIFIED', filename: NAME });
  t.equal(await store.remove('demo', NAME, stamp), 'KEPT');
  t.equal(await store.remove('demo', NAME, stamp), 'KEPT', 'a retry gets the same answer');
  t.equal(sha256(readFileSync(join(folder, NAME))), wheel.file.filehash);
  t.ok(existsSync(join(folder, `${NAME}.metadata`)));
});

void t.test('repeating a removal does not remove what was published after it', async (t) => {
  const { folder, store, other } = await stage();
  await publish(store, await buildWheel());
  const stamp = stampOf(store);
  t.equal(await store.remove('demo', NAME, stamp), 'DONE');
  t.notOk(existsSync(folder), 'its folder is removed, too');
  const next = await buildWheel();
  t.match(await publish(other, next), { verb: 'VERIFIED', filename: NAME });
  t.equal(await store.remove('demo', NAME, stamp), 'KEPT');
  t.equal(sha256(readFileSync(join(folder, NAME))), next.file.filehash);
});

void t.test('a claimed file is kept, and a file that is gone cannot be claimed', async (t) => {
  const { store } = await stage();
  await publish(store, await buildWheel());
  const stamp = stampOf(store);
  const claimed = await store.reserve('demo', NAME);
  t.not(claimed?.stamp, stamp);
  t.equal(await store.remove('demo', NAME, stamp), 'KEPT');
  t.equal(await store.remove('demo', NAME, claimed?.stamp ?? ''), 'DONE');
  t.equal(await store.reserve('demo', NAME), undefined);
});

void t.test('a file that was opened, removed and replaced cannot be reserved', async (t) => {
  const { folder, store, other } = await stage();
  const path = join(folder, NAME);
  await publish(store, await buildWheel());
  const opened = await openPublished(path);
  if (!opened) throw new Error('the file is published');
  t.teardown(() => opened.close());
  t.equal(await store.remove('demo', NAME, stampOf(store)), 'DONE');
  t.equal(await reserveOpened(opened, path), undefined, 'its name is free');
  await publish(other, await buildWheel());
  const stamp = stampOf(store);
  t.equal(await reserveOpened(opened, path), undefined, 'its name belongs to another file');
  t.equal(stampOf(store), stamp, 'which is as it was');
});

void t.test('a file published during a removal exists afterwards, whichever came first', async (t) => {
  const { folder, store, other } = await stage();
  const [wheel, different] = [await buildWheel(), await buildWheel()];
  let kept = 0;
  for (let n = 0; n < ROUNDS; n += 1) {
    await publish(store, wheel);
    const stamp = stampOf(store);
    const [removal, republished, rival] = await Promise.all([
      store.remove('demo', NAME, stamp),
      publish(other, wheel),
      n % 3 === 0 ? publish(store, different) : undefined,
    ]);
    if (removal === 'KEPT') kept += 1;
    const hash = existsSync(join(folder, NAME)) ? sha256(readFileSync(join(folder, NAME))) : 'none';
    const owner =
      republished.verb === 'VERIFIED' ? wheel : rival?.verb === 'VERIFIED' ? different : undefined;
    if (republished.verb === 'VERIFIED' && rival?.verb === 'VERIFIED') t.fail('two files have the same name');
    if (owner && hash !== owner.file.filehash) t.fail(`${republished.verb}, ${removal}: the file is ${hash}`);
    if (owner && !existsSync(join(folder, `${NAME}.metadata`))) t.fail(`${removal}: its metadata is gone`);
    await store.remove('demo', NAME, stampOf(store));
  }
  t.comment(`${kept} of ${ROUNDS} removals were too late`);
  t.same(existsSync(folder) ? readdirSync(folder) : [], [], 'nothing is left over');
});

void t.test(
  'a reader of a file that is being removed gets all of it, or finds that it does not exist',
  async (t) => {
    const { folder, store } = await stage();
    const wheel = await buildWheel();
    const read = `
    const { readFileSync } = require('node:fs');
    const sizes = new Set();
    process.on('message', () => { process.send([...sizes]); process.disconnect(); });
    const go = () => {
      for (let n = 0; n < 200; n += 1) try { sizes.add(readFileSync(process.argv[1]).length); } catch { sizes.add(-1); }
      if (process.connected) setImmediate(go);
    };
    process.send('reading');
    go();`;
    const reader = spawn(process.execPath, ['-e', read, join(folder, NAME)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    await once(reader, 'message');
    for (let n = 0; n < ROUNDS; n += 1) {
      await publish(store, wheel);
      t.equal(await store.remove('demo', NAME, stampOf(store)), 'DONE');
    }
    reader.send('stop');
    const [sizes] = (await once(reader, 'message')) as [number[]];
    t.same(sizes.toSorted(), [-1, wheel.file.filesize]);
  },
);

void t.test('a name that a killed removal left taken is freed', async (t) => {
  const { folder, store } = await stage();
  const wheel = await buildWheel();
  const path = join(folder, NAME);
  mkdirSync(folder, { recursive: true });
  symlinkSync('nothing', path);
  lutimesSync(path, 1, 1);
  t.match(await publish(store, wheel), { verb: 'VERIFIED', filename: NAME });
  t.equal(sha256(readFileSync(path)), wheel.file.filehash);
  t.equal(await store.remove('demo', NAME, stampOf(store)), 'DONE');
  mkdirSync(folder, { recursive: true });
  symlinkSync('nothing', path);
  lutimesSync(path, 1, 1);
  t.equal(await store.remove('demo', NAME, 'any'), 'DONE');
  t.notOk(existsSync(folder));
});

void t.test('two concurrent removals of the same file both succeed, and free its name', async (t) => {
  const { folder, store, other } = await stage();
  const wheel = await buildWheel();
  for (let n = 0; n < ROUNDS; n += 1) {
    await publish(store, wheel);
    const stamp = stampOf(store);
    const removals = [store, other].map((each) => each.remove('demo', NAME, stamp));
    t.strictSame(await Promise.all(removals), ['DONE', 'DONE']);
    if (existsSync(folder)) t.fail(readdirSync(folder).join(' '));
  }
});
