import t from 'tap';
import { piwRunner, runTasks } from '../helpers/command.js';
import { runControlDesk } from '../helpers/control-desk.js';
import { testDatabase } from '../helpers/database.js';

t.setTimeout(300_000);

void t.test('the farm is paused, says so at once, is resumed, and quits', async (t) => {
  const { db, dsn } = await testDatabase(t);
  const settings = runTasks(t, ['the-oracle', 'mr-chase'], { dsn });
  const { quit } = await runControlDesk(t, settings);
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
  await quit;
});

void t.test('without a master, an order fails soon and says so', async (t) => {
  const settings = runTasks(t, [], {});
  const { code, err } = await piwRunner(settings)('pause');
  t.equal(code, 5);
  t.match(err, 'is the farm running?');
});
