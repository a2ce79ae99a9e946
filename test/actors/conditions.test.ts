import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Conditions } from '../../src/actor/conditions.js';
import { createLog } from '../../src/log.js';
import { testBus, until } from '../helpers/bus.js';
import { piwRunner, runTask, runTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { fastClock } from '../helpers/feed-process.js';

t.setTimeout(180_000);

void t.test(
  'conditions are shown by the monitor, the site and in JSON, even while no Oracle answers',
  async (t) => {
    const output = await mkdtemp(join(tmpdir(), 'piw-wrong-'));
    const { dsn } = await testDatabase(t);
    const clock = fastClock(5);
    const config = { dsn, 'output-path': output, 'dev-mode': true };
    const settings = runTasks(t, ['the-scribe', 'the-secretary', 'file-juggler'], config, { clock });
    const oracle = runTask(t, 'the-oracle', settings, { clock });
    const logLines: string[] = [];
    const brother = runTask(t, 'big-brother', settings, { logLines, clock });
    const read = (path: string) => readFile(join(output, path), 'utf8').catch(() => '');
    await until(async () => (await read('statistics.json')).includes('"conditions":['), 40_000);
    await oracle.stop();
    const bus = await testBus(t, settings.prefix);
    const conditions = new Conditions(
      bus,
      createLog('test', 'error', () => undefined),
      clock,
      'test',
    );
    t.teardown(() => {
      conditions.close();
    });
    conditions.raise('slave-set-aside', '12', 'fails what others build');
    const shown = async (path: string) => (await read(path)).includes('fails what others build');
    await until(async () => (await shown('farm.html')) && (await shown('statistics.json')), 60_000);
    const piw = piwRunner(settings);
    t.match(await piw('monitor'), {
      code: 0,
      out: /^! slave-set-aside 12, for \d+ s: fails what others build$/m,
    });
    // No Oracle is left, and this test runs only some of the other tasks.
    await until(
      async () => (await read('statistics.json')).includes('"not-running","subject":"the-oracle"'),
      60_000,
    );
    t.match(JSON.parse((await piw('monitor', '--json')).out), {
      slaves: null,
      conditions: [{ kind: /^[a-z-]+$/, since: Number, text: String }],
    });
    t.match(logLines.join('\n'), /condition began kind=no-leader subject=the-architect/);
    t.equal(logLines.filter((line) => line.includes('subject=the-oracle')).length, 1, 'it is logged once');
    await brother.stop();
  },
);
