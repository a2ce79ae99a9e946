import { mkdtempSync, readFileSync, readdirSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import t, { type Test } from 'tap';
import { ProtocolClient } from '../../src/actor/client.js';
import { logBuilds } from '../../src/database/builds.js';
import { fileJuggler } from '../../src/protocols/file-juggler.js';
import { fileToMessage } from '../../src/model/file-state.js';
import { until } from '../helpers/bus.js';
import { runTask } from '../helpers/command.js';
import { ABI, MASTER_TASKS, testMaster } from '../helpers/master.js';
import { PLATFORM, insertTarget } from '../helpers/rows.js';
import { ScriptedSession } from '../helpers/session.js';
import { fileStateOf, makeWheel, sha256 } from '../helpers/wheel.js';
import { NO_DETAILS } from '../../src/model/build-details.js';

t.setTimeout(120_000);

const OTHER_ABI = 'cp312';
const PLAIN = 'demo-1.0-py3-none-any.whl';
const TAGGED = 'demo-1.0-1-py3-none-any.whl';

const someWheel = (): Promise<string> =>
  makeWheel(mkdtempSync(join(tmpdir(), 'piw-rebuilt-')), { files: { 'data.bin': randomBytes(100) } });

interface EarlierBuild {
  /** The ABI that it was built for, and the version that it is listed under. */
  readonly abi?: string;
  readonly version?: string;
  readonly onDuplicate?: 'refuse' | 'tag';
}

/** Publishes a pure wheel of demo 1.0, and grants demo 1.0 again, to a slave that makes a different wheel. */
async function stage(t: Test, { abi = ABI, version = '1.0', onDuplicate = 'tag' }: EarlierBuild) {
  const tasks = MASTER_TASKS.filter((task) => task !== 'slave-driver');
  const master = await testMaster(t, {
    versions: ['1.0', '2.0'],
    overrides: { 'on-duplicate-filename': onDuplicate },
    tasks,
  });
  const { db, folder, settings } = master;
  const driver = runTask(t, 'slave-driver', settings, { logLines: master.logLines });
  await insertTarget(db, OTHER_ABI);
  const first = await someWheel();
  await copyFile(first, join(folder, PLAIN));
  const file = fileToMessage({ ...(await fileStateOf(first)), transferred: true });
  await logBuilds(db, [
    {
      lease: null,
      slave_id: null,
      package: 'demo',
      version,
      abi,
      platform: PLATFORM,
      status: true,
      failure_class: null,
      duration_s: 1,
      output: '',
      details: NO_DETAILS,
      files: [[file, '0'.repeat(64), null]],
      served: [],
    },
  ]);
  // Somebody requests this version again.
  await db.query('delete from queue');
  await db.query(
    `insert into queue (version_id, target_id, priority, package_id)
     select version_id, target_id, 2, package_id from versions, targets where version = '1.0' and abi = $1`,
    [ABI],
  );
  await db.query('notify piw_queue');
  const path = await someWheel();
  const slave = new ScriptedSession(master.bus, 'one', path);
  await slave.request('HELLO');
  await until(async () => (await slave.request('IDLE')) === 'BUILD');
  const hashOf = (path: string) => sha256(readFileSync(path));
  return {
    ...master,
    slave,
    driver,
    /** Says BUILT, and sends the file that is requested. */
    send: async () => {
      t.equal(await slave.request('BUILT'), 'SEND');
      await slave.send();
      return await slave.request('SENT');
    },
    /** Which of the two wheels each published name holds. */
    holds: () => {
      const names = readdirSync(folder).filter((name) => name.endsWith('.whl'));
      const sourceOf = (name: string) =>
        ({ [hashOf(first)]: 'the first', [hashOf(path)]: 'the second' })[hashOf(join(folder, name))];
      return Object.fromEntries(names.sort().map((name) => [basename(name), sourceOf(name)]));
    },
    log: async () => {
      const rows = await db.query<{ output: string }>('select output from builds order by build_id');
      return rows.map(({ output }) => output);
    },
  };
}

void t.test('a wheel that is rebuilt for its target gets a build tag, and is listed under it', async (t) => {
  const { send, holds, db, slave, logLines } = await stage(t, {});
  t.equal(await send(), 'PIW_UNKNOWN_TRANSFER', 'the file is requested again');
  t.same(holds(), { [PLAIN]: 'the first' });
  t.equal(await send(), 'DONE');
  t.same(holds(), { [PLAIN]: 'the first', [TAGGED]: 'the second' });
  t.same(await db.query('select filename, abi, build_id from files join tags using (tag_id) order by 1'), [
    { filename: TAGGED, abi: 'none', build_id: '2' },
    { filename: PLAIN, abi: 'none', build_id: '1' },
  ]);
  t.ok(logLines.some((line) => line.includes(`wheel published package=demo file=${TAGGED}`)));
  t.equal(await slave.request('BUILT'), 'DONE', 'a repeated BUILT has nothing to send');
});

void t.test('a restarted Slave Driver finds the outcome of a transfer that it does not know', async (t) => {
  const { send, holds, slave, bus, driver, settings, db } = await stage(t, {});
  await send();
  t.equal(await slave.request('BUILT'), 'SEND');
  await slave.send();
  // It has the file published, and is killed before it hears the outcome.
  const files = new ProtocolClient(bus, fileJuggler, undefined, { timeoutMs: 5000 });
  const id = `${slave.lease}-0`;
  await files.request('VERIFY', { transfer_id: id, package: 'demo', rebuilt: true, past: [] });
  await driver.stop();
  runTask(t, 'slave-driver', settings);
  t.equal(await slave.request('SENT'), 'PIW_UNKNOWN_SLAVE');
  t.equal(await slave.request('HELLO'), 'HELLO');
  t.equal(await send(), 'DONE');
  t.same(holds(), { [PLAIN]: 'the first', [TAGGED]: 'the second' }, 'there is no third name');
  t.same(await db.query('select filename from files order by 1'), [
    { filename: TAGGED },
    { filename: PLAIN },
  ]);
});

for (const [title, earlier] of [
  ['a pure wheel that was built for another target also serves this one', { abi: OTHER_ABI }],
  ['a file that is listed under another version is neither removed nor rebuilt', { version: '2.0' }],
  ['without build tags, the existing file serves the build', { onDuplicate: 'refuse' }],
] as const) {
  void t.test(title, async (t) => {
    const { send, holds, log, db } = await stage(t, earlier);
    t.equal(await send(), 'DONE');
    t.same(holds(), { [PLAIN]: 'the first' });
    t.match(await log(), ['', `already published by another build: ${PLAIN}`]);
    t.same(await db.query('select filename from files'), [{ filename: PLAIN }]);
  });
}
