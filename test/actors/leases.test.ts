import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ProtocolClient } from '../../src/actor/client.js';
import type { Database } from '../../src/database/pool.js';
import { builds } from '../../src/protocols/builds.js';
import { orders } from '../../src/protocols/control.js';
import { until } from '../helpers/bus.js';
import { ABI, slaveHello, testMaster, testSlave, type BuildStub } from '../helpers/master.js';
import { PLATFORM, insertSlave, insertTarget } from '../helpers/rows.js';
import { fileStateOf, makeWheel } from '../helpers/wheel.js';
import { NO_DETAILS } from '../../src/model/build-details.js';

t.setTimeout(120_000);

/** Starts a master with demo 1.0 in the queue. */
async function stage(t: Test) {
  const master = await testMaster(t);
  const wheels = async () =>
    existsSync(master.folder) ? (await readdir(master.folder)).filter((name) => name.endsWith('.whl')) : [];
  return { ...master, wheels };
}

/** Runs a slave for one build; `onBuilt` is called when its wheel exists. */
async function buildOnce(
  t: Test,
  prefix: string,
  contents: string,
  onBuilt: () => Promise<void> = () => Promise.resolve(),
  hello = slaveHello(),
): Promise<string> {
  let path = '';
  const pip: BuildStub = async (_, workDir) => {
    path = await makeWheel(workDir, { files: { 'demo.py': Buffer.from(contents) } });
    await onBuilt();
    const files = [{ ...(await fileStateOf(path)), path }];
    return { status: true, failureClass: null, durationS: 1, output: contents, details: NO_DETAILS, files };
  };
  await (
    await testSlave(t, prefix, pip, { once: true, hello })
  ).ended;
  return path;
}

const listed = (db: Database) => db.query('select filename from files');
const due = (db: Database) => db.query('select abi from queue join targets using (target_id) order by rank');
const results = (db: Database) => db.query('select status, failure_class from builds order by build_id');

void t.test('leases are renewed and released while the Architect is paused', async (t) => {
  const { db, bus } = await stage(t);
  const slave = await insertSlave(db, ABI);
  const architect = new ProtocolClient(bus, builds, undefined, { timeoutMs: 5000, patienceMs: 20_000 });
  const wants: [number, string, string][] = [[slave, ABI, PLATFORM]];
  const { granted } = await architect.request('NEXT', { fence: 1, lease_s: 60, wants });
  const lease = granted[0]?.[0] ?? 0;
  await new ProtocolClient(bus, orders).publish('PAUSE', { task: 'the-architect' });
  const next = () =>
    architect.request('NEXT', { fence: 1, lease_s: 60, wants }, { timeoutMs: 300, patienceMs: 300 });
  await until(() =>
    next().then(
      () => false,
      () => true,
    ),
  );
  t.same((await architect.request('RENEW', { lease_s: 60, leases: [[lease, slave]] })).lost, []);
  await architect.request('RELEASE', { leases: [[lease, slave]], hold_s: 0 });
  t.same(await db.query('select lease from queue'), [{ lease: null }]);
});

void t.test('a build under a lost lease is not listed', async (t) => {
  const { db, folder, prefix, wheels } = await stage(t);
  await buildOnce(t, prefix, 'first', async () => {
    await db.query('update queue set lease = null, slave_id = null, leased_until = null');
  });
  t.same(await listed(db), []);
  t.same(await results(db), []);
  const path = await buildOnce(t, prefix, 'second');
  t.same(await wheels(), ['demo-1.0-py3-none-any.whl'], 'the leftover file does not block the next build');
  t.same(await readFile(join(folder, 'demo-1.0-py3-none-any.whl')), await readFile(path));
  t.match(await results(db), [{ status: true }]);
});

void t.test('an abandoned file that nothing lists is replaced', async (t) => {
  const { db, folder, prefix, wheels, logLines } = await stage(t);
  const leftover = join(folder, 'demo-1.0-py3-none-any.whl');
  await writeFile(leftover, 'left by an interrupted removal');
  // It counts as abandoned after some minutes.
  await utimes(leftover, Date.now() / 1000 - 600, Date.now() / 1000 - 600);
  const path = await buildOnce(t, prefix, 'new');
  t.match(await results(db), [{ status: true }]);
  t.same(await wheels(), ['demo-1.0-py3-none-any.whl']);
  t.same(await readFile(join(folder, 'demo-1.0-py3-none-any.whl')), await readFile(path));
  t.equal((await listed(db)).length, 1);
  t.ok(logLines.some((line) => line.includes('unlisted file is removed')));
});

void t.test('a listed file is kept, and serves a second build of it', async (t) => {
  const { db, folder, prefix } = await stage(t);
  const path = await buildOnce(t, prefix, 'old');
  // It is built once more, with a different result.
  await db.query('delete from builds');
  await db.query(
    `insert into queue (version_id, target_id, priority, released, package_id)
     select version_id, target_id, 2, released, package_id from versions, targets on conflict do nothing`,
  );
  await buildOnce(t, prefix, 'new');
  t.same(await readFile(join(folder, 'demo-1.0-py3-none-any.whl')), await readFile(path));
  t.match(await results(db), [{ status: true, failure_class: null }]);
  const [last] = await db.query<{ output: string }>('select output from builds');
  t.match(last?.output, /^piw: already published by another build: demo-1.0-py3-none-any.whl$/m);
  t.same(await db.query('select 1 from queue'), []);
});

void t.test(
  'a wheel published by PyPy is kept, and serves CPython once CPython has built it too',
  async (t) => {
    const { db, folder, prefix } = await stage(t);
    await db.query(`update targets set skip = 'later', filled_from = 9223372036854775807`);
    await insertTarget(db, 'pypy39_pp73');
    const pypy = { ...slaveHello(), abi_tag: 'pypy39_pp73', py_version_tag: 'pp39' };
    const path = await buildOnce(t, prefix, 'by PyPy', undefined, pypy);
    for (const abi of [ABI, 'cp312']) await insertTarget(db, abi);
    t.match(await due(db), [{ abi: ABI }], 'it serves no CPython yet');
    await buildOnce(t, prefix, 'by CPython');
    t.same(await readFile(join(folder, 'demo-1.0-py3-none-any.whl')), await readFile(path));
    t.match(await results(db), [{ status: true }, { status: true, failure_class: null }]);
    await insertTarget(db, 'cp313');
    t.same(await due(db), [], 'it is not built again');
  },
);

void t.test(
  'of two slaves that build the same wheel at once, the first one’s is kept, and serves both',
  async (t) => {
    const { db, prefix, wheels } = await stage(t);
    const other = 'linux_aarch64';
    await insertTarget(db, ABI, { platform: other });
    let startedCount = 0;
    // Each makes its own wheel once both have started.
    const pip: BuildStub = async (_, workDir) => {
      startedCount += 1;
      await until(() => startedCount === 2);
      const path = await makeWheel(workDir, { files: { 'demo.py': randomBytes(100_000) } });
      const files = [{ ...(await fileStateOf(path)), path }];
      return { status: true, failureClass: null, durationS: 1, output: 'log', details: NO_DETAILS, files };
    };
    const slaves = await Promise.all(
      [PLATFORM, other].map((platform_tag) =>
        testSlave(t, prefix, pip, { once: true, hello: { ...slaveHello(), platform_tag } }),
      ),
    );
    await Promise.all(slaves.map(({ ended }) => ended));
    // The other slave's lease may be gone by then: its build is no longer due.
    const logged = await results(db);
    t.same(
      logged,
      logged.map(() => ({ status: true, failure_class: null })),
    );
    t.ok(logged.length > 0);
    t.equal((await listed(db)).length, 1);
    t.same(await wheels(), ['demo-1.0-py3-none-any.whl']);
    t.same(await db.query('select 1 from queue'), []);
  },
);
