import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import t from 'tap';
import type { FileState } from '../../src/model/file-state.js';
import {
  matchingWheels,
  nextTaggedName,
  type PublishedHistory,
  type TagPolicy,
} from '../../src/wheels/build-tag.js';
import { WheelStore, type TransferVerdict } from '../../src/wheels/store.js';
import { MAX_WHEEL_NAME_LENGTH, parseWheelName } from '../../src/wheels/tags.js';
import { fileStateOf, makeWheel, sha256, type WheelParts } from '../helpers/wheel.js';

const PLAIN = 'demo-1.0-py3-none-any.whl';
const tagged = (build: string) => `demo-1.0-${build}-py3-none-any.whl`;

interface WheelFixture {
  readonly bytes: Buffer;
  readonly file: FileState;
}

/** Builds a wheel with unique contents. */
async function buildWheel(parts: WheelParts = {}): Promise<WheelFixture> {
  const folder = mkdtempSync(join(tmpdir(), 'piw-built-'));
  const path = await makeWheel(folder, { files: { 'data.bin': randomBytes(2000) }, ...parts });
  return { bytes: readFileSync(path), file: await fileStateOf(path) };
}

let transfers = 0;

async function publish(
  store: WheelStore,
  { bytes, file }: WheelFixture,
  rebuilt = true,
  past: PublishedHistory = [],
): Promise<TransferVerdict> {
  const transferId = `x-${(transfers += 1)}`;
  await store.staging.expect({ transferId, sender: 'pi', file });
  const incoming = store.staging.openIncoming(transferId, 'pi');
  await incoming?.write(0, bytes);
  await incoming?.close();
  return await store.verify(transferId, 'demo', incoming, rebuilt, past);
}

const ALWAYS: TagPolicy = { published: true, removed: true };

async function setUp(tagPolicy: TagPolicy = ALWAYS) {
  const output = join(mkdtempSync(join(tmpdir(), 'piw-tags-')), 'www');
  const folder = join(output, 'simple', 'demo');
  const open = async (instanceId: string) => {
    const store = new WheelStore(output, instanceId, tagPolicy);
    await store.setUp();
    return store;
  };
  return {
    folder,
    open,
    store: await open('me'),
    wheels: () =>
      readdirSync(folder)
        .filter((name) => name.endsWith('.whl'))
        .sort(),
    digest: (name: string) => sha256(readFileSync(join(folder, name))),
  };
}

void t.test('the next build tag is a number, one above the highest existing one', (t) => {
  const next = (name: string, ...others: readonly string[]) =>
    nextTaggedName(parseWheelName(name), [name, ...others].map(parseWheelName));
  t.equal(next(PLAIN), tagged('1'));
  t.equal(next(PLAIN, tagged('1'), tagged('10'), tagged('9')), tagged('11'), 'as numbers, not as text');
  t.equal(next(PLAIN, tagged('2_local.7')), tagged('3'));
  t.equal(next(tagged('4abc')), tagged('5'), 'it replaces the wheel’s own tag');
  t.equal(next(tagged('2'), tagged('7')), tagged('8'));
  t.equal(next(PLAIN, tagged('0')), tagged('1'));
  const day = '20261104123456789012345';
  t.equal(next(PLAIN, tagged(day)), tagged('20261104123456789012346'), 'it exceeds the range of a number');
  t.end();
});

void t.test('only wheels that installers consider the same count for the build tag', (t) => {
  const wheel = parseWheelName('Zope_Demo-1.0-py2.py3-none-any.whl');
  const same = [
    'Zope_Demo-1.0-py2.py3-none-any.whl',
    'zope.demo-1.0-1-py2.py3-none-any.whl',
    'zope_demo-1.0.0-2-py3.py2-none-any.whl',
  ];
  const others = [
    ...['index.html', '.tmp-zope_demo-1.0-9-py2.py3-none-any.whl', 'no.whl'],
    ...same.map((name) => `${name}.metadata`),
    ...['zope_demo-1.1-9-py2.py3-none-any.whl', 'zope_demo-1.0-9-py3-none-any.whl'],
    ...['zope_demo-1.0-9-cp311-cp311-linux_x86_64.whl', 'zopedemo-1.0-9-py2.py3-none-any.whl'],
  ];
  t.same(
    matchingWheels(wheel, [...others, ...same]).map(({ filename }) => filename),
    same,
  );
  t.end();
});

void t.test('other bytes under a published name get a build tag, and the published file stays', async (t) => {
  const { store, wheels, digest, folder } = await setUp();
  const [first, second, third] = [await buildWheel(), await buildWheel(), await buildWheel()];
  t.match(await publish(store, first), { verb: 'VERIFIED', filename: PLAIN });
  t.match(await publish(store, second), { verb: 'VERIFIED', filename: tagged('1') });
  t.match(await publish(store, third), { verb: 'VERIFIED', filename: tagged('2') });
  t.same(
    [PLAIN, tagged('1'), tagged('2')].map(digest),
    [first, second, third].map(({ file }) => file.filehash),
    'each has its own bytes, as they were built',
  );
  t.same(readdirSync(folder).length, 6, 'each has its metadata, and there is nothing else');
  // A retry finds what is there, whether it says `rebuilt` or not.
  for (const rebuilt of [true, false]) {
    t.match(await publish(store, first, rebuilt), { verb: 'VERIFIED', filename: PLAIN });
    t.match(await publish(store, second, rebuilt), { verb: 'VERIFIED', filename: tagged('1') });
  }
  t.equal(wheels().length, 3);
});

void t.test('a wheel with a build tag gets another one if its own is taken', async (t) => {
  const { store, wheels } = await setUp();
  for (const build of ['3', '11']) {
    t.match(await publish(store, await buildWheel({ build })), { verb: 'VERIFIED', filename: tagged(build) });
  }
  t.match(await publish(store, await buildWheel({ build: '3' })), {
    verb: 'VERIFIED',
    filename: tagged('12'),
  });
  t.match(await publish(store, await buildWheel({ build: '5x' })), {
    verb: 'VERIFIED',
    filename: tagged('5x'),
  });
  t.same(wheels(), ['11', '12', '3', '5x'].map(tagged));
});

void t.test('a wheel that was not rebuilt is answered TAKEN', async (t) => {
  const { store, wheels } = await setUp();
  const second = await buildWheel();
  await publish(store, await buildWheel());
  t.match(await publish(store, second, false), { verb: 'TAKEN', reason: /already published/ });
  t.same(wheels(), [PLAIN]);
  t.match(
    await publish(store, second),
    { verb: 'VERIFIED', filename: tagged('1') },
    'once it says that it was rebuilt',
  );
});

void t.test('without build tags, a rebuilt wheel is refused', async (t) => {
  const { store, wheels } = await setUp({ published: false, removed: false });
  await publish(store, await buildWheel());
  for (const rebuilt of [true, false])
    t.match(await publish(store, await buildWheel(), rebuilt), { verb: 'REFUSED', code: 'PIW_FILE_EXISTS' });
  t.same(wheels(), [PLAIN]);
});

void t.test(
  'a file published by a juggler that was then killed is found, and completed with its metadata',
  async (t) => {
    const { store, open, wheels, folder } = await setUp();
    const second = await buildWheel();
    await publish(store, await buildWheel());
    await publish(store, second);
    await publish(store, await buildWheel());
    // That juggler got no further than the link.
    rmSync(join(folder, `${tagged('1')}.metadata`));
    const next = await open('the next one');
    t.match(await publish(next, second), { verb: 'VERIFIED', filename: tagged('1') });
    t.match(readFileSync(join(folder, `${tagged('1')}.metadata`), 'utf8'), /^Metadata-Version/);
    t.equal(wheels().length, 3);
  },
);

void t.test(
  'concurrent publishers get a build tag for each set of bytes, and the same one for the same bytes',
  async (t) => {
    const { store, open, wheels, digest } = await setUp();
    await publish(store, await buildWheel());
    const wheelBatch = await Promise.all(Array.from({ length: 6 }, () => buildWheel()));
    const stores = [store, await open('other'), await open('third')];
    const verdicts = await Promise.all(
      wheelBatch.flatMap((wheel) =>
        stores.map(async (each) => ({ wheel, verdict: await publish(each, wheel) })),
      ),
    );
    t.same(wheels(), [...['1', '2', '3', '4', '5', '6'].map(tagged), PLAIN]);
    for (const { wheel, verdict } of verdicts) {
      t.equal(verdict.verb, 'VERIFIED');
      if (verdict.verb === 'VERIFIED') t.equal(digest(verdict.filename), wheel.file.filehash);
    }
  },
);

void t.test('a removal frees the name, and removes the metadata too', async (t) => {
  const { store, wheels, folder } = await setUp();
  for (let n = 0; n < 3; n += 1) await publish(store, await buildWheel());
  const remove = async (name: string) => {
    const { stamp = '' } = store.fileStamp('demo', name) ?? {};
    t.equal(await store.remove('demo', name, stamp), 'DONE');
  };
  await remove(tagged('1'));
  t.same(wheels(), [tagged('2'), PLAIN]);
  t.match(
    await publish(store, await buildWheel()),
    { filename: tagged('3') },
    'it is newer than the remaining ones',
  );
  for (const name of [PLAIN, tagged('2'), tagged('3')]) await remove(name);
  t.match(await publish(store, await buildWheel()), { verb: 'VERIFIED', filename: PLAIN });
  t.same(readdirSync(folder).sort(), [PLAIN, `${PLAIN}.metadata`]);
});

void t.test('a name that is too long for a build tag is refused as taken', async (t) => {
  const { folder, store } = await setUp();
  const local = 'a'.repeat(100);
  const platform = 'a'.repeat(MAX_WHEEL_NAME_LENGTH - `demo-1.0+${local}-py3-none-.whl`.length);
  const parts = { version: `1.0+${local}`, tag: `py3-none-${platform}` };
  t.match(await publish(store, await buildWheel(parts)), { verb: 'VERIFIED' });
  t.match(await publish(store, await buildWheel(parts)), {
    verb: 'REFUSED',
    code: 'PIW_FILE_EXISTS',
    reason: /too long for a build tag/,
  });
  t.equal(readdirSync(folder).length, 2);
});

void t.test('the same bytes under other tags do not count', async (t) => {
  const { folder, store } = await setUp();
  const second = await buildWheel();
  await publish(store, await buildWheel());
  // A file with other tags is another wheel.
  writeFileSync(join(folder, 'demo-1.0-cp311-none-any.whl'), second.bytes);
  t.match(await publish(store, second), { verb: 'VERIFIED', filename: tagged('1') });
});

void t.test(
  'a name that once stood for other bytes is never reused, even if its wheel is gone',
  async (t) => {
    const [first, second] = [await buildWheel(), await buildWheel()];
    const past: PublishedHistory = [[PLAIN, first.file.filehash]];
    const refusing = await setUp({ published: false, removed: false });
    t.match(await publish(refusing.store, second, true, past), { verb: 'REFUSED', code: 'PIW_NAME_SPENT' });
    t.match(await publish(refusing.store, first, true, past), { verb: 'VERIFIED', filename: PLAIN });

    const tagging = await setUp({ published: false, removed: true });
    t.match(await publish(tagging.store, second, true, past), { verb: 'VERIFIED', filename: tagged('1') });
    t.match(
      await publish(tagging.store, second, true, [...past, [tagged('1'), second.file.filehash]]),
      { verb: 'VERIFIED', filename: tagged('1') },
      'the same bytes keep the name that they got',
    );
  },
);

void t.test('the same bytes return under their former name', async (t) => {
  const [first, second] = [await buildWheel(), await buildWheel()];
  const past: PublishedHistory = [
    [PLAIN, first.file.filehash],
    [tagged('4'), second.file.filehash],
  ];
  const { store, wheels } = await setUp();
  t.match(await publish(store, second, true, past), { verb: 'VERIFIED', filename: tagged('4') });
  const third = await buildWheel();
  t.match(await publish(store, third, true, past), { verb: 'VERIFIED', filename: tagged('5') });
  t.same(wheels(), [tagged('4'), tagged('5')]);
});
