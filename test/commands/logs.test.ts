import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { buildRecord, logBuilds } from '../../src/database/builds.js';
import { addReleases } from '../../src/database/versions.js';
import { printable } from '../../src/commands/logs/printable.js';
import { Site } from '../../src/site/site.js';
import { piwRunner, runTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { PLATFORM, insertTarget, someBuild, someRelease } from '../helpers/rows.js';

t.setTimeout(300_000);

const failedBuild = (version: string, output: string) => someBuild(version, { output, duration_s: 7 });

void t.test(
  'a log is printed by number or by package, and from the output path without a farm',
  async (t) => {
    const { db, dsn } = await testDatabase(t);
    await insertTarget(db, 'cp311');
    await addReleases(db, 'demo', 'feed', [someRelease('1.0'), someRelease('2.0'), someRelease('3.0')]);
    await logBuilds(db, [failedBuild('2.0', 'log of two\n'), failedBuild('1.0', 'log of one\n')]);
    const [row] = await db.query<{ build_id: number }>('select min(build_id) as build_id from builds');
    const first = row?.build_id ?? 0;
    const outputPath = mkdtempSync(join(tmpdir(), 'piw-logs-'));
    await new Site({ outputPath, publicUrl: null }).writeLog({
      ...(await buildRecord(db, first)),
      build_id: first,
    });
    const settings = runTasks(t, ['the-oracle'], { dsn, 'output-path': outputPath });
    const piw = piwRunner(settings);
    const [byNumber, last, ofVersion, json] = await Promise.all([
      piw('logs', String(first)),
      piw('logs', 'Demo'),
      piw('logs', 'demo', '2.0'),
      piw('logs', 'demo', '--json'),
    ]);
    t.same([byNumber.code, byNumber.out], [0, 'log of two\n']);
    t.match(
      byNumber.err,
      new RegExp(
        `^build ${first}: demo 2.0 for cp311 ${PLATFORM} failed \\(compiler\\) after 7 s by import, `,
      ),
    );
    t.same([last.out, ofVersion.out], ['log of one\n', 'log of two\n']);
    t.match(JSON.parse(json.out), { package: 'demo', version: '1.0', status: false, output: 'log of one\n' });

    const errors = await Promise.all([
      piw('logs', '999999'),
      piw('logs', 'nothing'),
      piw('logs', 'demo', '9.9'),
      piw('logs', 'demo', '3.0'),
    ]);
    t.same(
      errors.map(({ code, out, err }) => [code, out, err.slice(0, err.indexOf('. '))]),
      [
        [1, '', 'piw: there is no build 999999'],
        [1, '', 'piw: there is no package nothing'],
        [1, '', 'piw: demo has no version 9.9'],
        [1, '', 'piw: no build of demo 3.0 has ended yet: it is in the queue'],
      ],
    );
    const away = await piwRunner({ ...settings, nats: 'localhost:1' })('logs', String(first));
    t.same([away.code, away.out], [0, 'log of two\n']);
    t.match(away.err, `piw: the farm does not answer; this is the log of build ${first} on this machine\n`);
  },
);

void t.test('a terminal gets a log without what would change its state', (t) => {
  const log = 'a\tb\r\n\u001b[31mred\u001b[0m\u001b]0;title\u0007\n\u009b2J50%\r100%\n\u202etxt.exe\n';
  t.equal(printable(log), 'a\tb\nred\n50% 100%\n txt.exe\n');
  t.end();
});
