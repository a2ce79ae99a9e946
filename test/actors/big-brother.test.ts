import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Actor } from '../../src/actor/actor.js';
import { systemClock } from '../../src/concurrency/clock.js';
import { ProtocolClient } from '../../src/actor/client.js';
import type { Bus } from '../../src/bus/bus.js';
import { addReleases } from '../../src/database/versions.js';
import { bigBrother } from '../../src/protocols/big-brother.js';
import { status } from '../../src/protocols/control.js';
import { oracle } from '../../src/protocols/oracle.js';
import type { Statistics } from '../../src/protocols/statistics.js';
import { secretary } from '../../src/protocols/web.js';
import { actorContext } from '../helpers/actor-context.js';
import { testBus, until } from '../helpers/bus.js';
import { piwRunner, runTask, runTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { succeedingBuild, testMaster, testSlave } from '../helpers/master.js';
import { someRelease, insertTarget } from '../helpers/rows.js';

t.setTimeout(120_000);

/** Receives what Big Brother sends, in place of the Secretary and the monitors. */
class Audience extends Actor {
  readonly homes: Statistics[] = [];
  readonly published: Statistics[] = [];

  override start(): void {
    this.serve(secretary, {
      HOME: ({ statistics }) => {
        this.homes.push(statistics);
        return { verb: 'DONE' };
      },
    });
    this.serve(status, { STATISTICS: ({ statistics }) => this.published.push(statistics) }, { queue: null });
  }
}

function audience(t: Test, bus: Bus): Audience {
  const recorder = new Audience(actorContext(t, bus, 'the-secretary'));
  recorder.start();
  t.teardown(() => recorder.stop());
  return recorder;
}

void t.test('the same figures go to the home page, to monitors and to requests', async (t) => {
  const { db, bus, settings, prefix } = await testMaster(t, {
    versions: ['1.0', '2.0'],
    tasks: ['the-oracle', 'file-juggler', 'the-architect', 'slave-driver', 'mr-chase'],
  });
  const received = audience(t, bus);
  const slave = await testSlave(t, prefix, succeedingBuild);
  await until(async () => (await db.query('select from builds')).length === 2);
  // Big Brother was not running: nothing is lost by that.
  t.same(await db.query('select 1 from history'), []);
  runTask(t, 'big-brother', { ...settings, 'dev-mode': true });
  await until(() => received.homes.length > 0 && received.published.length > 0);
  t.same(received.published[0], received.homes[0]);
  t.match(received.homes[0], {
    packages: 1,
    packages_built: 1,
    versions: 2,
    builds: 2,
    builds_last_hour: 2,
    files: 2,
  });
  t.ok((received.homes[0]?.disk_total ?? 0) > (received.homes[0]?.disk_free ?? 0));
  t.same(
    received.homes[0]?.slaves.map(([, count]) => count),
    [1],
  );
  t.same(await db.query('select 1 from figure_changes'), [], 'everything is summed up');
  const stableFields = [
    'packages',
    'builds',
    'builds_last_day',
    'files_bytes',
    'queue',
    'last_event',
    'disk_total',
  ];
  const expected = JSON.parse(JSON.stringify(received.homes[0], stableFields)) as object;
  const { statistics } = await new ProtocolClient(bus, bigBrother).request('GATHER', {});
  t.match(statistics, expected);
  const piw = piwRunner(settings);
  const { out } = await piw('monitor', '--json');
  t.match(JSON.parse(out), { statistics: expected, slaves: [{}] });
  t.match(await piw('monitor'), {
    code: 0,
    out: /^builds +2, 0 failed[^]*^index +last event \d+ s ago$/m,
  });
  const before = received.homes.length;
  t.match(await piw('rebuild', 'home'), { code: 0 });
  await until(() => received.homes.length > before);
  slave.stop();
  await slave.ended;
});

void t.test('an actor that is down costs its own figures, and those only after a while', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await insertTarget(db, 'cp311');
  await addReleases(db, 'demo', 'feed', [someRelease('1.0', { priority: 1 })]);
  const output = await mkdtemp(join(tmpdir(), 'piw-away-'));
  const logLines: string[] = [];
  // Only the Oracle, which has the figures, is running.
  const settings = runTasks(t, ['the-oracle'], { dsn, 'output-path': output, 'dev-mode': true });
  const bus = await testBus(t, settings.prefix);
  const received = audience(t, bus);
  let now = Date.now();
  const clock = {
    now: () => now,
    monotonicMs: () => now,
    after: (ms: number, callback: () => void) => systemClock.after(ms / 50, callback),
  };
  const first = runTask(t, 'big-brother', settings, { logLines, clock });
  await until(() => received.homes.length > 0);
  t.match(received.homes[0], {
    packages: 1,
    slaves: [],
    disk_total: 0,
    disk_free: 0,
    oldest_release: 1.7e12,
  });
  t.match(received.homes[0]?.queue, [['cp311', 'linux_x86_64', 1]]);
  t.type(received.homes[0]?.last_event, 'number');
  const juggler = runTask(t, 'file-juggler', settings);
  await until(() => (received.homes.at(-1)?.disk_total ?? 0) > 0);
  await juggler.stop();
  const before = received.homes.length;
  await until(() => received.homes.length > before + 1);
  t.ok((received.homes.at(-1)?.disk_total ?? 0) > 0, 'the last answer is used for some minutes');
  now += 301_000;
  await until(() => received.homes.at(-1)?.disk_total === 0);
  // While one is active another stands by, and takes over.
  const second = runTask(t, 'big-brother', settings, { logLines, clock });
  await first.stop();
  const homesBefore = received.homes.length;
  await until(() => received.homes.length > homesBefore, 10_000);
  t.equal(logLines.filter((line) => line.includes('at work')).length, 2);
  await second.stop();
});

void t.test('the home page is rewritten from the database while Big Brother is down', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await addReleases(db, 'demo', 'feed', [someRelease('1.0')]);
  const settings = runTasks(t, ['the-oracle', 'mr-chase'], { dsn });
  const received = audience(t, await testBus(t, settings.prefix));
  const piw = piwRunner(settings);
  t.match(await piw('rebuild', 'home'), { code: 0 });
  t.match(received.homes, [{ packages: 1, versions: 1, slaves: [], disk_total: 0 }]);
});

void t.test('the Oracle answers each query within one message', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await addReleases(db, 'demo', 'feed', [someRelease('1.0')]);
  const { prefix } = runTasks(t, ['the-oracle'], { dsn });
  const client = new ProtocolClient(await testBus(t, prefix), oracle, undefined, { patienceMs: 20_000 });
  t.match(await client.request('GETHOME', {}), { front: { latest: [], popular: [] } });
  t.match(await client.request('SEARCHINDEX', { after: '', limit: 10 }), {
    packages: [['demo', null, 0, 0]],
  });
  t.match(await client.request('SUMUP', { fence: 1 }), { more: false });
  await t.rejects(client.request('SUMUP', { fence: 0 }), { code: 'PIW_FENCED' });
});
