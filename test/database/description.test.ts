import t from 'tap';
import { logBuilds } from '../../src/database/builds.js';
import { homePageData } from '../../src/database/front.js';
import { upsertPackage, searchIndex } from '../../src/database/packages.js';
import type { Database } from '../../src/database/pool.js';
import { packageFiles } from '../../src/database/projects.js';
import { addReleases } from '../../src/database/versions.js';
import type { LoggedBuild } from '../../src/model/build.js';
import { testDatabase } from '../helpers/database.js';
import { someRelease, insertTarget, someBuild } from '../helpers/rows.js';

t.setTimeout(120_000);

/** The contents of a METADATA file with this summary. */
const metadata = (summary: string | null) => ({
  summary,
  license: 'MIT',
  requires: ['six'],
  links: [['Homepage', 'https://demo.example/']] as [string, string][],
});

/** The result of an import of one wheel: no slave has built it, so there is no lease. */
const imported = (version: string, summary: string | null): LoggedBuild =>
  someBuild(version, {
    status: true,
    failure_class: null,
    duration_s: 0,
    files: [
      [
        [
          ...([`demo-${version}-py3-none-any.whl`, 1, 'ab'.repeat(32), 'demo', version] as const),
          ...(['py3', 'none', 'any', null, {}, true] as const),
        ],
        'cd'.repeat(32),
        metadata(summary),
      ],
    ],
  });

/** Returns the descriptions of all packages. */
const described = async (db: Database) =>
  (await searchIndex(db, { after: '', limit: 10 })).map(([, description]) => description);

void t.test("a wheel's summary becomes the description of a package without one", async (t) => {
  const { db } = await testDatabase(t);
  await insertTarget(db, 'cp311');
  await addReleases(db, 'demo', 'feed', [someRelease('1.0'), someRelease('2.0')]);
  await logBuilds(db, [imported('1.0', null)]);
  t.same(await described(db), [null], 'this METADATA has no summary');
  await logBuilds(db, [imported('2.0', 'A demonstration.')]);
  t.same(await described(db), ['A demonstration.']);
  const files = await packageFiles(db, 'demo', false);
  t.same(files.metadata, metadata('A demonstration.'), 'METADATA of the newest release');
  const { latest } = await homePageData(db);
  t.same(
    latest.map((build) => build.imported),
    [true, true],
  );
});

void t.test("a wheel's summary doesn't replace an existing description", async (t) => {
  const { db } = await testDatabase(t);
  await insertTarget(db, 'cp311');
  await upsertPackage(db, { package: 'demo', description: 'Given.', origin: 'add', aliases: [] });
  await addReleases(db, 'demo', 'feed', [someRelease('1.0')]);
  await logBuilds(db, [imported('1.0', 'A demonstration.')]);
  t.same(await described(db), ['Given.']);
});
