import t from 'tap';
import { until } from '../helpers/bus.js';
import { piwRunner } from '../helpers/command.js';
import { hangingBuild, testMaster, testSlave } from '../helpers/master.js';

t.setTimeout(120_000);

void t.test('piw slaves sends orders to slaves', async (t) => {
  const { db, prefix, settings, untilSlave, slaves } = await testMaster(t, { versions: ['1.0', '2.0'] });
  const piw = piwRunner(settings);
  t.match(await piw('slaves', 'skip', '7'), { code: 1, err: /there is no slave 7. piw monitor lists/ });
  t.match(await piw('slaves', 'skip', 'anvil'), { code: 1, err: /no slave named "anvil" is connected/ });
  const slave = await testSlave(t, prefix, hangingBuild);
  await untilSlave(({ state, version }) => state === 'building' && version === '2.0');
  const number = String((await slaves())[0]?.slave_id);
  t.match(await piw('slaves', 'sleep', number), { code: 0, out: /Slave \d+: no more builds until/ });
  t.match(await piw('slaves', 'skip', 'all'), {
    code: 0,
    out: /All slaves: told to abandon the current build/,
  });
  await untilSlave(({ state }) => state === 'waiting');
  t.match(await piw('monitor'), { code: 0, out: /waiting .* put to sleep by an administrator/ });
  t.match(await piw('slaves', 'wake', 'slave', '--json'), { code: 0, out: /"slaves": \[\s*\d+\s*\]/ });
  await untilSlave(({ state, version }) => state === 'building' && version === '1.0');
  t.match(await piw('slaves', 'kill', 'all', '--after-build'), {
    out: /told to stop after the current build/,
  });
  t.match(await piw('slaves', 'kill', number), { code: 0, out: /Slave \d+: told to stop at once/ });
  await slave.ended;
  await until(async () => (await slaves()).length === 0);
  t.same(await db.query('select 1 from queue where slave_id is not null'), []);
  t.match(await piw('queue'), { code: 0, out: /1 build is held back for a later retry/ });
});
