import t from 'tap';
import { controlDesk } from '../../actors/cast.js';
import { runActor } from '../../src/actor/run.js';
import { deferred } from '../../src/concurrency/deferred.js';
import { createLog } from '../../src/log.js';
import { discoverFarm, type FarmIdentity } from '../../src/actor/identity.js';
import { loadSettings } from '../../src/settings/load.js';
import { testBus, until } from '../helpers/bus.js';
import { piwRunner, runTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';

t.setTimeout(300_000);

void t.test('the farm is paused, says so at once, is resumed, and quits', async (t) => {
  const { db, dsn } = await testDatabase(t);
  const settings = runTasks(t, ['the-oracle', 'mr-chase'], { dsn });
  const quit = deferred();
  const controller = new AbortController();
  const bus = await testBus(t, settings.prefix);
  let identity: FarmIdentity | undefined;
  await until(async () => (identity = await discoverFarm(bus)) !== undefined);
  if (identity === undefined) throw new Error('the Oracle has not joined');
  const desk = runActor(
    controlDesk({ quit: quit.resolve, isStarting: () => false, identity }),
    loadSettings(settings, '/dev/null'),
    {
      bus: { address: settings.nats, name: 'master', prefix: settings.prefix },
      log: createLog('master', 'warning', () => undefined),
      signal: controller.signal,
      supervised: true,
    },
  );
  t.teardown(async () => {
    controller.abort();
    await desk;
  });
  const piw = piwRunner(settings);
  t.same(JSON.parse((await piw('pause', '--json')).out), { task: null, paused: true });

  const refused = await piw('add', 'six');
  t.same(
    [refused.code, refused.err],
    [1, 'piw: the farm is paused and takes no orders. piw resume lets it continue; then try again.\n'],
  );
  const [one, all] = [await piw('resume', 'mr_chase'), await piw('resume')];
  t.match(one.err, 'piw: all tasks are paused together; run piw resume without a task.');
  t.same([one.code, all.code, all.out], [1, 0, 'The farm continues.\n']);
  t.same(await db.query('select task from paused_tasks'), []);

  const [unknown, ignoring] = await Promise.all([piw('pause', 'mr-chas'), piw('pause', 'the-oracle')]);
  t.match(unknown.err, 'there is no task mr-chas; did you mean mr-chase?');
  t.match(ignoring.err, 'the-oracle is never paused');
  t.same([unknown.code, ignoring.code], [2, 1]);

  const unconfirmed = await piw('quit');
  t.same([unconfirmed.code, unconfirmed.out], [1, '']);
  t.match(unconfirmed.err, 'piw: the farm was not ended.');
  t.match((await piw('quit', '-y')).out, 'The farm is ending.');
  await quit.promise;
});

void t.test('without a master, an order fails soon and says so', async (t) => {
  const settings = runTasks(t, [], {});
  const { code, err } = await piwRunner(settings)('pause');
  t.equal(code, 5);
  t.match(err, 'is the farm running?');
});
