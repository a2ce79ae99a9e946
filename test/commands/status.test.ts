import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { CAST } from '../../actors/cast.js';
import { ProtocolClient } from '../../src/actor/client.js';
import { setPaused } from '../../src/database/control.js';
import { bigBrother } from '../../src/protocols/big-brother.js';
import { conditionReports } from '../../src/protocols/conditions.js';
import { testBus, until } from '../helpers/bus.js';
import { piwRunner, runTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';

t.setTimeout(300_000);

void t.test('a complete farm is well until there is a condition', async (t) => {
  const { db, dsn } = await testDatabase(t);
  const settings = runTasks(
    t,
    CAST.map(({ task }) => task),
    { dsn, 'output-path': join(mkdtempSync(join(tmpdir(), 'piw-status-')), 'www'), 'watch-only': true },
  );
  const bus = await testBus(t, settings.prefix);
  const figures = new ProtocolClient(bus, bigBrother, undefined, { timeoutMs: 5000, patienceMs: 30_000 });
  await until(async () => (await figures.request('GATHER', {})).statistics.disk_total > 0, 60_000);
  const piw = piwRunner(settings);
  const well = await piw('status');
  t.same([well.code, well.err], [0, '']);
  t.match(
    well.out,
    /^All is well\.\n\ntasks +10 of 10 at work, 10 processes on \S+\nslaves +none has connected\n/,
  );
  t.match(well.out, /^recently +0 builds in 1 hour, 0 succeeded; 0 in 24 hours, 0 succeeded$/m);

  await setPaused(db, 'cloud-gazer', true);
  const paused = await piw('status');
  t.equal(paused.code, 0, 'as somebody wanted it');
  t.match(paused.out, /^All is well, but 1 task is paused: see piw resume\.\n/);
  const condition = {
    kind: 'disk-full',
    subject: '/var/www',
    since: Date.now() - 65_000,
    text: 'no space left',
  };
  await new ProtocolClient(bus, conditionReports).publish('REPORT', {
    source: 'test',
    conditions: [condition],
  });
  await until(async () => (await figures.request('CONDITIONS', {})).conditions.length > 0);
  const troubled = await piw('status', '--json');
  t.equal(troubled.code, 1);
  const { ok, missing, conditions, tasks } = JSON.parse(troubled.out) as {
    ok: boolean;
    missing: string[];
    conditions: { kind: string }[];
    tasks: { task: string; paused: boolean }[];
  };
  t.same([ok, missing], [false, []]);
  t.same(
    conditions.map(({ kind }) => kind),
    ['disk-full'],
  );
  t.same(
    tasks.filter(({ paused }) => paused).map(({ task }) => task),
    ['cloud-gazer'],
  );
});

void t.test('a farm that lacks tasks needs a hand, and no farm is another exit code', async (t) => {
  const lacking = runTasks(t, ['the-scribe'], { dsn: 'postgres:///', 'output-path': tmpdir() });
  const one = await piwRunner(lacking)('status');
  const none = await piwRunner({ ...lacking, prefix: `${lacking.prefix}x` })('status');
  t.equal(one.code, 1);
  t.match(one.out, '! the-oracle is not at work\n');
  t.notMatch(one.out, '! the-scribe is not at work');
  t.equal(none.code, 5);
  t.match(none.err, `no process of a farm answers on prefix ${lacking.prefix}x`);
});
