/**
 * Runs the commands of chapters in the order in which they stand, for a farm that has what they name. Each has to
 * succeed. A question is answered with --yes, because there is no terminal.
 */
import { copyFileSync, mkdtempSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { ProtocolClient } from '../../src/actor/client.js';
import { COMMAND_LOADERS } from '../../src/commands/loaders.js';
import { commandName } from '../../src/commands/names.js';
import { logBuilds } from '../../src/database/builds.js';
import type { Database } from '../../src/database/pool.js';
import { addReleases } from '../../src/database/versions.js';
import { slaveControl } from '../../src/protocols/control.js';
import { testBus, until } from '../helpers/bus.js';
import { piwRunner, runTasks } from '../helpers/command.js';
import { runControlDesk } from '../helpers/control-desk.js';
import { testDatabase } from '../helpers/database.js';
import { MASTER_TASKS, hangingBuild, testSlave } from '../helpers/master.js';
import { insertSlave, insertTarget, someBuild, someRelease } from '../helpers/rows.js';
import { makeWheel } from '../helpers/wheel.js';
import { commandLines, piwArguments } from './blocks.js';
import { EXAMPLES, blocksRunBy } from './runners.js';

t.setTimeout(300_000);

const USERS_SAMPLE = fileURLToPath(new URL('../../../config/nats/piw-slaves.conf', import.meta.url));
/** Those of the actors that the commands speak to. */
const TASKS = [...MASTER_TASKS, 'mr-chase', 'big-brother'];
/** The users whose slaves are connected. */
const SLAVES = ['pi4', 'pi5'];

/** Registers the ABIs, and logs the failure of numpy, that the chapters name. */
async function fillFarm(db: Database): Promise<void> {
  for (const abi of ['cp38', 'cp39', 'cp311']) await insertTarget(db, abi);
  await addReleases(db, 'numpy', 'feed', [someRelease('1.26.4')]);
  const slave = await insertSlave(db, 'cp311', 's', 'pi4');
  await db.query("select setval(pg_get_serial_sequence('builds', 'build_id'), 4710)");
  await logBuilds(db, [
    someBuild('1.26.4', { package: 'numpy', slave_id: slave, output: 'libffi: no such file\n' }),
  ]);
}

void t.test('the examples of chapters work in their order', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await fillFarm(db);
  const folder = mkdtempSync(join(tmpdir(), 'piw-examples-'));
  await makeWheel(folder, { name: 'tool', version: '1.0' });
  mkdirSync(join(folder, 'www'));
  copyFileSync(USERS_SAMPLE, join(folder, 'piw-slaves.conf'));
  // For the relative paths in the blocks.
  process.chdir(folder);
  const settings = runTasks(t, TASKS, {
    dsn,
    'output-path': join(folder, 'www'),
    'nats-users': join(folder, 'piw-slaves.conf'),
  });
  await runControlDesk(t, settings);
  const bus = await testBus(t, settings.prefix);
  const control = new ProtocolClient(bus, slaveControl, undefined, { timeoutMs: 5000, patienceMs: 20_000 });
  for (const user of SLAVES) await testSlave(t, settings.prefix, hangingBuild, { user });
  await until(async () => (await control.request('HELLO', {})).slaves.length === SLAVES.length);
  const piw = piwRunner(settings);
  let count = 0;
  for (const { page, line, script } of blocksRunBy(EXAMPLES))
    for (const words of commandLines(script)) {
      const args = piwArguments(words);
      const name = args && commandName(...args);
      if (args === undefined || name === undefined) continue;
      const { flags } = (await COMMAND_LOADERS[name]()).default;
      const asks = 'yes' in flags && !args.includes('--yes') && !args.includes('--dry-run');
      const { code, out, err } = await piw(...args, ...(asks ? ['--yes'] : []));
      t.equal(code, 0, `${page}:${line}: piw ${args.join(' ')}\n${out}${err}`);
      count += 1;
    }
  t.ok(count > 30, `${count} commands`);
  t.same(await db.query('select package from packages order by 1'), [
    { package: 'internal-tool' },
    { package: 'numpy' },
    { package: 'six' },
    { package: 'tool' },
  ]);
});
