import { mkdir, mkdtemp, readFile, readdir, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { systemClock } from '../../src/concurrency/clock.js';
import { logBuilds } from '../../src/database/builds.js';
import { recordRemovals } from '../../src/database/removals.js';
import { addReleases } from '../../src/database/versions.js';
import { HOUR_MS } from '../../src/units.js';
import { until } from '../helpers/bus.js';
import { runTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { PLATFORM, someRelease, insertTarget } from '../helpers/rows.js';
import { NO_DETAILS } from '../../src/model/build-details.js';

t.setTimeout(60_000);

/** A clock whose timers fire after at most 100 ms. */
const hurriedClock = {
  now: systemClock.now,
  monotonicMs: systemClock.monotonicMs,
  after: (ms: number, callback: () => void) => systemClock.after(Math.min(ms, 100), callback),
};

const wheelOf = (version: string) => `a-${version}-py3-none-any.whl`;

for (const [removed, remaining] of [
  ['delete', ['2.0', '3.0', '4.0']],
  ['keep', ['1.0', '2.0', '3.0', '4.0']],
] as const) {
  void t.test(
    `removed=${removed} applies after the grace period to wheels of versions removed from the index`,
    async (t) => {
      const { db, dsn } = await testDatabase(t);
      const output = await mkdtemp(join(tmpdir(), 'piw-sweep-'));
      await mkdir(join(output, 'simple', 'a'), { recursive: true });
      await insertTarget(db, 'cp311');
      const versions = ['1.0', '2.0', '3.0', '4.0'];
      await addReleases(
        db,
        'a',
        'feed',
        versions.map((version) => someRelease(version)),
      );
      for (const version of versions) {
        const filename = wheelOf(version);
        await writeFile(join(output, 'simple', 'a', filename), 'x');
        const file = [filename, 1, version[0]?.repeat(64) ?? '', 'a', version] as const;
        await logBuilds(db, [
          {
            lease: null,
            slave_id: null,
            package: 'a',
            version,
            abi: 'cp311',
            platform: PLATFORM,
            status: true,
            failure_class: null,
            duration_s: 1,
            output: '',
            details: NO_DETAILS,
            served: [],
            files: [[[...file, 'py3', 'none', 'any', null, {}, true], '0'.repeat(64), null]],
          },
        ]);
      }
      const markRemoved = (version: string, ago: string) =>
        db.query('update versions set removed_at = now() - $2::interval where version = $1', [version, ago]);
      await markRemoved('1.0', '3 hours');
      await markRemoved('2.0', '1 hour');
      // A version that an administrator added, which does not depend on the index.
      await markRemoved('3.0', '3 hours');
      await db.query(`update versions set origin = 'add' where version = '3.0'`);
      const logLines: string[] = [];
      const settings = { dsn, removed, 'removal-grace': '2h', 'output-path': output };
      const tasks = ['the-oracle', 'the-scribe', 'the-secretary', 'file-juggler', 'mr-chase'];
      runTasks(t, tasks, settings, { logLines, clock: hurriedClock });
      const folder = join(output, 'simple', 'a');
      const wheels = async () => (await readdir(folder)).filter((name) => name.endsWith('.whl')).sort();
      if (removed === 'delete') await until(async () => (await wheels()).length === remaining.length);
      else {
        await until(() => logLines.some((line) => line.includes('mr-chase') && line.includes('at work')));
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
      t.same(await wheels(), remaining.map(wheelOf));
      if (removed === 'delete')
        t.notMatch(
          await readFile(join(folder, 'index.html'), 'utf8'),
          wheelOf('1.0'),
          'it is no longer listed',
        );
      const rows = await db.query<{ version: string }>(
        'select version from files join versions using (version_id) order by version',
      );
      t.same(
        rows.map(({ version }) => version),
        remaining,
      );
      t.same(await db.query('select from queue'), [], 'none of it is built again');
    },
  );
}

void t.test(
  'files that an interrupted removal has left are removed, unless they were published again',
  async (t) => {
    const { db, dsn } = await testDatabase(t);
    const output = await mkdtemp(join(tmpdir(), 'piw-sweep-'));
    const folder = join(output, 'simple', 'a');
    await mkdir(folder, { recursive: true });
    const [left, again] = [wheelOf('1.0'), wheelOf('2.0')];
    for (const filename of [left, again]) await writeFile(join(folder, filename), 'x');
    const anHourAgo = new Date(Date.now() - HOUR_MS);
    await utimes(join(folder, left), anHourAgo, anHourAgo);
    await recordRemovals(db, 'a', [left, again]);
    const [row] = await db.query<{ later: number }>(
      'select extract(epoch from clock_timestamp())::float8 + 1 as later',
    );
    await utimes(join(folder, again), row?.later ?? 0, row?.later ?? 0);
    runTasks(
      t,
      ['the-oracle', 'file-juggler', 'mr-chase'],
      { dsn, 'output-path': output },
      { clock: hurriedClock },
    );
    await until(async () => (await db.query('select 1 from file_removals')).length === 0);
    t.same(await readdir(folder), [again]);
  },
);
