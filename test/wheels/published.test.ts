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
import { WheelStore, type TransferVerdict } from '../../src/wheels/store.js';
import { fileStateOf, makeWheel, sha256 } from '../helpers/wheel.js';

t.setTimeout(120_000);

const NAME = 'demo-1.0-py3-none-any.whl';
const ROUNDS = 300;

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
  const transferId = `x-${String((transfers += 1))}`;
  await store.expect({ transferId, sender: 'pi', file });
  const arriving = await store.openIncoming(transferId, 'pi');
  arriving?.write(0, bytes);
  const verdict = await store.verify(transferId, 'demo', arriving);
  await store.forget(transferId);
  return verdict;
}

async function stage() {
  const output = join(mkdtempSync(join(tmpdir(), 'piw-published-')), 'www');
  const folder = join(output, 'simple', 'demo');
  const open = async (me: string) => {
    const store = new WheelStore(output, me);
    await store.setUp();
    return store;
  };
  return { folder, store: await open('one'), other: await open('other') };
}

async function stampOf(store: WheelStore): Promise<string> {
  return (await store.standing('demo', NAME))?.stamp ?? 'none';
}

void t.test('a file that was published again since it was decided to remove it stays', async (t) => {
  const { folder, store, other } = await stage();
  const wheel = await buildWheel();
  t.match(await publish(store, wheel), { verb: 'VERIFIED' });
  // The first one's build is lost, nothing lists its file, and so it may go: that is the decision.
  const stamp = await stampOf(store);
  // Before it is carried out, another slave hands in the same bytes, and its build is logged.
  t.match(await publish(other, wheel), { verb: 'VERIFIED', filename: NAME });
  t.equal(await store.remove('demo', NAME, stamp), 'KEPT');
  t.equal(await store.remove('demo', NAME, stamp), 'KEPT', 'also when it is said twice');
  t.equal(sha256(readFileSync(join(folder, NAME))), wheel.file.filehash);
  t.ok(existsSync(join(folder, `${NAME}.metadata`)));
});

void t.test('a removal whose answer was lost does not remove what was published after it', async (t) => {
  const { folder, store, other } = await stage();
  await publish(store, await buildWheel());
  const stamp = await stampOf(store);
  t.equal(await store.remove('demo', NAME, stamp), 'DONE');
  t.notOk(existsSync(folder), 'its folder goes with it');
  const next = await buildWheel();
  t.match(await publish(other, next), { verb: 'VERIFIED', filename: NAME });
  t.equal(await store.remove('demo', NAME, stamp), 'KEPT');
  t.equal(sha256(readFileSync(join(folder, NAME))), next.file.filehash);
});

void t.test('a claimed file stays, and a file that is gone can not be claimed', async (t) => {
  const { store } = await stage();
  await publish(store, await buildWheel());
  const stamp = await stampOf(store);
  const claimed = await store.claim('demo', NAME);
  t.not(claimed?.stamp, stamp);
  t.equal(await store.remove('demo', NAME, stamp), 'KEPT');
  t.equal(await store.remove('demo', NAME, claimed?.stamp ?? ''), 'DONE');
  t.equal(await store.claim('demo', NAME), undefined);
});

void t.test('whoever publishes while the same file is removed has it, whatever comes first', async (t) => {
  const { folder, store, other } = await stage();
  const [wheel, different] = [await buildWheel(), await buildWheel()];
  let kept = 0;
  for (let n = 0; n < ROUNDS; n += 1) {
    await publish(store, wheel);
    const stamp = await stampOf(store);
    const [removal, again, rival] = await Promise.all([
      store.remove('demo', NAME, stamp),
      publish(other, wheel),
      n % 3 === 0 ? publish(store, different) : undefined,
    ]);
    if (removal === 'KEPT') kept += 1;
    const hash = existsSync(join(folder, NAME)) ? sha256(readFileSync(join(folder, NAME))) : 'none';
    const owner = again.verb === 'VERIFIED' ? wheel : rival?.verb === 'VERIFIED' ? different : undefined;
    if (again.verb === 'VERIFIED' && rival?.verb === 'VERIFIED') t.fail('two have the same name');
    if (owner && hash !== owner.file.filehash) t.fail(`${again.verb}, ${removal}: the file is ${hash}`);
    if (owner && !existsSync(join(folder, `${NAME}.metadata`))) t.fail(`${removal}: its metadata is gone`);
    await store.remove('demo', NAME, await stampOf(store));
  }
  t.comment(`${String(kept)} of ${String(ROUNDS)} removals came too late`);
  t.same(existsSync(folder) ? readdirSync(folder) : [], [], 'nothing is left');
});

void t.test(
  'who reads a file while it is removed has all of it, or finds that it is not there',
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
      t.equal(await store.remove('demo', NAME, await stampOf(store)), 'DONE');
    }
    reader.send('enough');
    const [sizes] = (await once(reader, 'message')) as [number[]];
    t.same(sizes.toSorted(), [-1, wheel.file.filesize]);
  },
);

void t.test('a name that a removal left taken when it was killed is free again', async (t) => {
  const { folder, store } = await stage();
  const wheel = await buildWheel();
  const path = join(folder, NAME);
  mkdirSync(folder, { recursive: true });
  symlinkSync('nothing', path);
  lutimesSync(path, 1, 1);
  t.match(await publish(store, wheel), { verb: 'VERIFIED', filename: NAME });
  t.equal(sha256(readFileSync(path)), wheel.file.filehash);
  t.equal(await store.remove('demo', NAME, await stampOf(store)), 'DONE');
  mkdirSync(folder, { recursive: true });
  symlinkSync('nothing', path);
  lutimesSync(path, 1, 1);
  t.equal(await store.remove('demo', NAME, 'any'), 'DONE');
  t.notOk(existsSync(folder));
});

void t.test('two who remove the same file at once both find it removed, and its name free', async (t) => {
  const { folder, store, other } = await stage();
  const wheel = await buildWheel();
  for (let n = 0; n < ROUNDS; n += 1) {
    await publish(store, wheel);
    const stamp = await stampOf(store);
    const removals = [store, other].map((one) => one.remove('demo', NAME, stamp));
    t.strictSame(await Promise.all(removals), ['DONE', 'DONE']);
    if (existsSync(folder)) t.fail(readdirSync(folder).join(' '));
  }
});
