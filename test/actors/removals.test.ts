import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { ProtocolClient } from '../../src/actor/client.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { fileToMessage } from '../../src/model/file-state.js';
import { fileJuggler } from '../../src/protocols/file-juggler.js';
import { slaveDriver } from '../../src/protocols/slave-driver.js';
import { until } from '../helpers/bus.js';
import { ABI, MASTER_TASKS, slaveHello, testMaster } from '../helpers/master.js';
import { PLATFORM, insertTarget } from '../helpers/rows.js';
import { ScriptedSession } from '../helpers/session.js';
import { fileStateOf, makeWheel, sha256 } from '../helpers/wheel.js';

t.setTimeout(120_000);

const LISTED_FILES = 'select filename from files';

/** Starts a master with a real Slave Driver, and two slaves that have built the same wheel, byte for byte. */
async function stage(t: Test) {
  const master = await testMaster(t, { tasks: MASTER_TASKS });
  const path = await makeWheel(mkdtempSync(join(tmpdir(), 'piw-removals-')), {
    files: { 'data.bin': randomBytes(300) },
  });
  const [first, second] = [
    new ScriptedSession(master.bus, 'one', path),
    new ScriptedSession(master.bus, 'two', path),
  ];
  for (const session of [first, second]) await session.request('HELLO');
  const files = new ProtocolClient(master.bus, fileJuggler, undefined, {
    timeoutMs: 5000,
    patienceMs: 20_000,
  });
  const target = join(master.folder, basename(path));
  return {
    ...master,
    path,
    first,
    second,
    files,
    target,
    isOriginal: () => existsSync(target) && sha256(readFileSync(target)) === sha256(readFileSync(path)),
  };
}

void t.test('a file whose build was lost serves the next slave that builds the same file', async (t) => {
  const farm = await stage(t);
  const { db, first, second, files, path, isOriginal } = farm;
  t.equal(await first.request('IDLE'), 'BUILD');
  t.equal(await first.request('BUILT'), 'SEND');
  await first.send();
  const fileKey = { package: 'demo', filename: basename(path) };
  await files.request('VERIFY', {
    transfer_id: `${first.lease}-0`,
    package: 'demo',
    rebuilt: false,
    past: [],
  });
  const { file_stamp: fileStamp } = await files.request('GETSTAMP', fileKey);
  t.same(await db.query(LISTED_FILES), [], 'nothing lists it, so it may be removed');
  // The lease is lost; another slave gets the build, and delivers the same bytes.
  await db.query('update queue set lease = null, slave_id = null, leased_until = null');
  await until(async () => (await second.request('IDLE')) === 'BUILD');
  t.equal(await second.request('BUILT'), 'SEND');
  await second.send();
  t.equal(await second.request('SENT'), 'DONE');
  t.same(await db.query(LISTED_FILES), [{ filename: fileKey.filename }]);
  const { stamp = '' } = fileStamp ?? {};
  // Only now is the earlier decision carried out, and repeated as if its answer had been lost.
  for (let n = 0; n < 2; n += 1)
    t.match(await files.request('REMOVE', { ...fileKey, stamp }), { verb: 'KEPT' });
  t.ok(isOriginal(), 'the listed file exists');
});

void t.test('a file that another build has just published is waited for and not removed', async (t) => {
  const { db, bus, first, second, files, folder, isOriginal, path } = await stage(t);
  t.equal(await first.request('IDLE'), 'BUILD');
  t.equal(await first.request('BUILT'), 'SEND');
  await first.send();
  // The Slave Driver does not know about it: it belongs to an import or to another Slave Driver.
  await files.request('VERIFY', {
    transfer_id: `${first.lease}-0`,
    package: 'demo',
    rebuilt: false,
    past: [],
  });
  await first.request('BYE');
  const other = new ScriptedSession(
    bus,
    'three',
    await makeWheel(mkdtempSync(join(tmpdir(), 'piw-removals-')), {
      files: { 'data.bin': randomBytes(300) },
    }),
  );
  await other.request('HELLO');
  await until(async () => (await other.request('IDLE')) === 'BUILD');
  t.equal(await other.request('BUILT'), 'SEND');
  await other.send();
  t.equal(await other.request('SENT'), 'WAIT');
  t.equal(await other.request('SENT'), 'WAIT');
  t.ok(isOriginal(), 'it is kept');
  t.same(await db.query('select 1 from builds'), [], 'nothing is recorded');
  const { file_stamp: fileStamp } = await files.request('GETSTAMP', {
    package: 'demo',
    filename: basename(path),
  });
  await files.request('REMOVE', { package: 'demo', filename: basename(path), stamp: fileStamp?.stamp ?? '' });
  t.equal(
    await other.request('SENT'),
    'DONE',
    'once it is gone, the other file is published without being sent again',
  );
  t.ok(existsSync(join(folder, basename(path))));
  t.notOk(isOriginal());
  await second.request('BYE');
});

void t.test('while a name is about to be listed, the slave’s other requests are answered', async (t) => {
  const { db, bus, first, path } = await stage(t);
  // The first slave has published one of its two files, and sends the other: nothing is listed yet.
  t.equal(await first.request('IDLE'), 'BUILD');
  t.equal(await first.request('BUILT'), 'SEND');
  const file = await fileStateOf(path);
  const filename = `demo-1.0-${ABI}-${ABI}-${PLATFORM}.whl`;
  const tags = { filename, py_version_tag: ABI, abi_tag: ABI, platform_tag: PLATFORM };
  const client = (session: string) =>
    new ProtocolClient(bus, slaveDriver, [slaveDriver.name, 'slave', session], {
      timeoutMs: 20_000,
      patienceMs: 20_000,
    });
  await client('one').request('BUILT', {
    lease: first.lease,
    status: true,
    failure_class: null,
    duration_s: 1,
    output: 'log',
    details: NO_DETAILS,
    files: [fileToMessage(file), fileToMessage({ ...file, ...tags })],
  });
  await first.send();
  t.equal(await first.request('SENT'), 'SEND');
  // Another slave has built another wheel of the published name, for another target.
  const platform = 'linux_aarch64';
  await insertTarget(db, ABI, { platform });
  const folder = mkdtempSync(join(tmpdir(), 'piw-removals-'));
  const data = { 'data.bin': randomBytes(300) };
  const other = new ScriptedSession(bus, 'three', await makeWheel(folder, { files: data }));
  const hello = { ...slaveHello(), platform_tag: platform, clock: Date.now() };
  await client('three').request('HELLO', hello);
  await until(async () => (await other.request('IDLE')) === 'BUILD');
  t.equal(await other.request('BUILT'), 'SEND');
  await other.send();
  const answers: string[] = [];
  const sent = client('three')
    .request('SENT', { lease: other.lease, filename: basename(path) })
    .then(({ verb }) => answers.push(verb));
  await setTimeout(500);
  answers.push(await other.request('BUSY'));
  t.same(answers, ['CONT'], 'BUSY does not wait for the answer to SENT');
  await first.request('BYE');
  await sent;
  t.same(answers, ['CONT', 'WAIT'], 'nobody is about to list it any more');
  t.same(await db.query('select 1 from builds'), [], 'nothing is recorded');
});
