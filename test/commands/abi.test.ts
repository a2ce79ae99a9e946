import { machine } from 'node:os';
import t from 'tap';
import { ProtocolClient } from '../../src/actor/client.js';
import { logBuilds } from '../../src/database/builds.js';
import type { Database } from '../../src/database/pool.js';
import { fillSlice } from '../../src/database/targets.js';
import { addReleases } from '../../src/database/versions.js';
import { slaveDriver } from '../../src/protocols/slave-driver.js';
import { SLAVE_PROTOCOL_VERSION, VERSION } from '../../src/version.js';
import { natsAddress, uniquePrefix, testBus, until } from '../helpers/bus.js';
import { piwRunner, piwRunnerWithTasks, type PiwRunner } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { NO_DETAILS } from '../../src/model/build-details.js';

t.setTimeout(200_000);

const ARM = 'linux_aarch64';

/** Adds a package with the versions 1 to `count`. */
async function addVersions(db: Database, name: string, count: number): Promise<void> {
  const releases = Array.from({ length: count }, (_, n) => ({
    version: String(n + 1),
    released: 1.6e12 + n,
    yanked: null,
    has_sdist: true,
    sdist_url: null,
    sdist_sha256: null,
    requires_python: null,
    priority: 0,
  }));
  await addReleases(db, name, 'feed', releases);
}

/** Returns the lines of `piw abi list`, with single spaces between columns. */
async function listedTargets(piw: PiwRunner): Promise<readonly string[]> {
  const { out } = await piw('abi', 'list');
  return out
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/ {2,}/g, ' '));
}

void t.test('an ABI can be added, skipped, unskipped and removed', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await addVersions(db, 'demo', 20);
  const { piw } = piwRunnerWithTasks(t, ['the-oracle'], { dsn });
  t.same(await listedTargets(piw), [
    'No ABI is registered yet, so nothing is built. Add one with piw abi add.',
  ]);

  const added = await piw('abi', 'add', 'cp311', '--platform', ARM);
  t.match(added, {
    code: 0,
    err: '',
    out: `cp311 on ${ARM} is registered. Its queue is being filled`,
  });
  t.match(await piw('abi', 'add', 'cp311'), { code: 0, out: `cp311 on ${ARM} is already registered.` });
  // The default is the only registered platform.
  const second = await piw('abi', 'add', 'cp313t', '--json');
  t.same(JSON.parse(second.out), { abi: 'cp313t', platform: ARM, registered: true });
  t.same(await db.query('select abi, py_version_tag from targets order by rank'), [
    { abi: 'cp311', py_version_tag: 'cp311' },
    { abi: 'cp313t', py_version_tag: 'cp313' },
  ]);
  t.match(await db.query('select count(*) from queue'), [{ count: 20 }]);
  t.same(await listedTargets(piw), ['ABI platform state', `cp311 ${ARM} active`, `cp313t ${ARM} active`]);

  t.match(await piw('abi', 'skip', 'cp311'), {
    code: 2,
    err: /--reason is missing: --reason TEXT\. See piw abi skip --help/,
  });
  t.match(await piw('abi', 'skip', 'cp311', '--reason', 'no slave has it'), {
    code: 0,
    out: /until .*piw abi unskip/,
  });
  t.match(JSON.parse((await piw('abi', 'list', '--json')).out), {
    targets: [{ abi: 'cp311', skip: 'no slave has it', phase: 'skipped', done: 1 }, { phase: 'active' }],
  });
  t.match(await piw('abi', 'add', 'cp311'), {
    code: 1,
    err: /skipped: no slave has it; use piw abi unskip/,
  });
  t.match(await piw('abi', 'unskip', 'cp311'), { code: 0, out: `cp311 on ${ARM} is no longer skipped` });
  t.equal((await listedTargets(piw))[1], `cp311 ${ARM} active`);

  await logBuilds(db, [
    {
      lease: null,
      slave_id: null,
      package: 'demo',
      version: '1',
      abi: 'cp313t',
      platform: ARM,
      status: false,
      failure_class: 'compiler',
      duration_s: 1,
      output: '',
      details: NO_DETAILS,
      files: [],
      served: [],
    },
  ]);
  // Without a terminal, no confirmation is possible.
  t.match(await piw('abi', 'remove', 'cp313t'), { code: 1, err: /nothing was removed/ });
  t.equal((await listedTargets(piw)).length, 3);
  t.match(await piw('abi', 'remove', 'cp313t', '--yes'), { code: 0, out: /its files stay/ });
  while (await fillSlice(db));
  t.same(await listedTargets(piw), ['ABI platform state', `cp311 ${ARM} active`]);
  t.match(await db.query('select count(*) from builds'), [{ count: 0 }]);

  for (const command of [['skip', '--reason', 'x'], ['unskip'], ['remove', '--yes']]) {
    const [verb = '', ...flags] = command;
    t.match(await piw('abi', verb, 'cp39', ...flags), {
      code: 1,
      err: 'piw: cp39 is not registered. Register it with piw abi add.',
    });
  }
});

void t.test('piw abi list shows the progress of the queue', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await addVersions(db, 'demo', 10_000);
  const { piw } = piwRunnerWithTasks(t, ['the-oracle'], { dsn });
  await piw('abi', 'add', 'cp311', '--platform', ARM);
  // Registering queues the first 3000 versions. The Architect, which would queue the others, is not running.
  t.equal((await listedTargets(piw))[1], `cp311 ${ARM} filling, 30 %`);
  while (await fillSlice(db));
  t.equal((await listedTargets(piw))[1], `cp311 ${ARM} active`);
  await piw('abi', 'skip', 'cp311', '--reason', 'full');
  t.equal((await listedTargets(piw))[1], `cp311 ${ARM} skipped: full; emptying the queue, 30 %`);
  await piw('abi', 'remove', 'cp311', '--yes');
  t.equal((await listedTargets(piw))[1], `cp311 ${ARM} being removed`);
  t.match(await piw('abi', 'unskip', 'cp311'), { code: 1, err: /is being removed; piw abi add keeps it/ });
  t.match(await piw('abi', 'add', 'cp311'), { code: 0 });
  t.match((await listedTargets(piw))[1], /filling, \d+ %$/);
});

void t.test(
  'invalid ABIs and platforms are rejected with examples, and so is an ambiguous platform',
  async (t) => {
    const { dsn } = await testDatabase(t);
    const { piw } = piwRunnerWithTasks(t, ['the-oracle'], { dsn });
    const typos = ['3.11', 'cp3111', 'cp31', 'cp311x', 'cp311t', 'py3', 'abi3', 'pypy39'];
    for (const typo of typos) {
      t.match(await piw('abi', 'add', typo), {
        code: 2,
        out: '',
        err: `piw: "${typo}" is not a valid ABI; write it as cp311, cp313t (free-threaded) or pypy310_pp73.`,
      });
    }
    t.match(await piw('abi', 'add', 'cp311', '--platform', 'manylinux_2_28_x86_64'), {
      code: 2,
      err: /write it as linux_x86_64 or linux_aarch64/,
    });
    // Without a registered platform, the default is this machine's.
    t.match(await piw('abi', 'add', 'cp311'), { code: 0, out: `cp311 on linux_${machine()} is registered` });
    await piw('abi', 'add', 'cp311', '--platform', 'linux_riscv64');
    const ambiguousPlatform = new RegExp(`choose a platform with --platform: linux_\\w+, linux_\\w+\\.`);
    t.match(await piw('abi', 'add', 'cp312'), { code: 2, err: ambiguousPlatform });
    t.match(await piw('abi', 'remove', 'cp311', '--yes'), { code: 2, err: ambiguousPlatform });
    t.match(await piw('abi', 'remove', 'cp311', '-p', 'linux_riscv64', '--yes'), { code: 0 });
    t.match(await piwRunner({ nats: natsAddress(), prefix: uniquePrefix() })('abi', 'list'), {
      code: 5,
      err: /is the farm running\?/,
    });
  },
);

void t.test('a slave with an unregistered target gets no work until the logged command is run', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await addVersions(db, 'demo', 1);
  const logLines: string[] = [];
  const { piw, prefix } = piwRunnerWithTasks(
    t,
    ['the-oracle', 'the-architect', 'slave-driver'],
    { dsn },
    logLines,
  );
  const bus = await testBus(t, prefix);
  const slave = new ProtocolClient(bus, slaveDriver, ['slave', 'anvil', 'first'], {
    timeoutMs: 2000,
    patienceMs: 30_000,
  });
  await slave.request('HELLO', {
    version: `${VERSION}/${SLAVE_PROTOCOL_VERSION}`,
    build_timeout_s: 3600,
    busy_interval_s: 30,
    py_version_tag: 'cp311',
    abi_tag: 'cp311',
    platform_tag: ARM,
    label: 'anvil',
    os_name: '',
    os_version: '',
    board: null,
    lacks: [],
    clock: Date.now(),
  });
  const idle = async () => (await slave.request('IDLE', { stats: [1e9, 1e9, 1e9, 1e9, 1, null] })).verb;
  t.equal(await idle(), 'SLEEP');
  const line = logLines.find((text) => text.includes('piw abi add')) ?? '';
  t.match(line, `nothing is built for cp311 on ${ARM}; to register it: piw abi add cp311 --platform ${ARM}`);
  // Run the command that the log line suggests.
  const command = /piw (abi add \S+ --platform \S+)/.exec(line)?.[1]?.split(' ') ?? [];
  t.equal((await piw(...command)).code, 0);
  await until(async () => (await idle()) === 'BUILD', 30_000);
});
