/**
 * Runs the commands of chapters in the order in which they stand, for a farm that has what they name. Each has to
 * succeed. A question is answered with --yes, because there is no terminal.
 */
import { mkdtempSync, mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { tmpdir } from 'node:os';
import t from 'tap';
import { COMMAND_LOADERS } from '../../src/commands/loaders.js';
import { commandName } from '../../src/commands/names.js';
import { logBuilds } from '../../src/database/builds.js';
import type { Database } from '../../src/database/pool.js';
import { addReleases } from '../../src/database/versions.js';
import { piwRunnerWithTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { insertSlave, insertTarget, someBuild, someRelease } from '../helpers/rows.js';
import { makeWheel } from '../helpers/wheel.js';
import { commandLines, piwArguments, shellBlocks } from './blocks.js';

t.setTimeout(300_000);

const TASKS = ['the-oracle', 'file-juggler', 'the-scribe', 'the-secretary', 'slave-driver', 'mr-chase'];
/** The chapters, and the headings in them whose blocks need a whole farm. */
const CHAPTERS = ['docs/queue.md', 'docs/index-and-site.md', 'docs/operations.md'];
const NEED_WHOLE_FARM = [
  'Web servers',
  'Checking',
  'Downloads',
  'How the farm is',
  'Following a build',
  'When something does not work',
];

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
  const output = join(folder, 'www');
  mkdirSync(output);
  const { piw } = piwRunnerWithTasks(t, TASKS, { dsn, 'output-path': output });
  const blocks = CHAPTERS.flatMap(shellBlocks).filter(
    ({ headings }) => !NEED_WHOLE_FARM.includes(headings.at(-1) ?? ''),
  );
  let count = 0;
  for (const { page, line, script } of blocks)
    for (const words of commandLines(script)) {
      const args = piwArguments(words)?.map((word) =>
        word.startsWith('./') ? join(folder, basename(word)) : word,
      );
      const name = args && commandName(...args);
      if (args === undefined || name === undefined) continue;
      const { flags } = (await COMMAND_LOADERS[name]()).default;
      const asks = 'yes' in flags && !args.includes('--yes') && !args.includes('--dry-run');
      const { code, out, err } = await piw(...args, ...(asks ? ['--yes'] : []));
      t.equal(code, 0, `${page}:${line}: piw ${args.join(' ')}\n${out}${err}`);
      count += 1;
    }
  t.ok(count > 15, `${count} commands`);
  t.same(await db.query('select package from packages order by 1'), [
    { package: 'internal-tool' },
    { package: 'numpy' },
    { package: 'six' },
    { package: 'tool' },
  ]);
});
