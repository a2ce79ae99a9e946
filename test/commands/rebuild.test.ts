import t, { type Test } from 'tap';
import { Actor } from '../../src/actor/actor.js';
import type { Bus } from '../../src/bus/bus.js';
import { logBuilds } from '../../src/database/builds.js';
import { addReleases } from '../../src/database/versions.js';
import { secretary } from '../../src/protocols/web.js';
import { actorContext } from '../helpers/actor-context.js';
import { testBus } from '../helpers/bus.js';
import { piwRunner, runTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { insertTarget, someBuild, someRelease } from '../helpers/rows.js';

t.setTimeout(120_000);

const DONE = { verb: 'DONE' } as const;

/** Records the requests for pages, in place of the Secretary. */
class RecordingSecretary extends Actor {
  requests: string[] = [];

  override start(): void {
    const record = (request: string) => {
      this.requests.push(request);
      return DONE;
    };
    this.serve(secretary, {
      HOME: () => record('HOME'),
      SEARCH: () => record('SEARCH'),
      SITEMAP: () => record('SITEMAP'),
      ROOT: () => record('ROOT'),
      LOG: ({ build_id: buildId }) => record(`LOG ${buildId}`),
    });
  }
}

function recordRequests(t: Test, bus: Bus): RecordingSecretary {
  const recorder = new RecordingSecretary(actorContext(t, bus, 'the-secretary'));
  recorder.start();
  t.teardown(() => recorder.stop());
  return recorder;
}

void t.test('each part of the site is rewritten, for all packages or for one', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await insertTarget(db, 'cp311');
  await addReleases(db, 'demo', 'feed', [someRelease('1.0')]);
  await addReleases(db, 'other', 'feed', [someRelease('1.0')]);
  await logBuilds(db, [someBuild('1.0'), someBuild('1.0', { package: 'other' })]);
  const builds = await db.query<{ build_id: number; package: string }>(
    'select build_id, package from builds join versions using (version_id) join packages using (package_id) order by package',
  );
  const [demoLog, otherLog] = builds.map(({ build_id: buildId }) => `LOG ${buildId}`);
  const settings = runTasks(t, ['the-oracle', 'mr-chase'], { dsn });
  const recorder = recordRequests(t, await testBus(t, settings.prefix));
  const piw = piwRunner(settings);
  /** Returns the pages that one run of the command requests: from the Secretary, and in its backlog. */
  const pagesOf = async (...args: readonly string[]): Promise<readonly string[]> => {
    recorder.requests = [];
    await db.query('delete from pages_backlog');
    t.same(
      await piw('rebuild', ...args),
      { code: 0, out: 'The pages will be rewritten within a minute.\n', err: '' },
      args.join(' '),
    );
    const rows = await db.query<{ page: string }>(
      `select kind || ' ' || argument as page from pages_backlog order by 1`,
    );
    return [...recorder.requests, ...rows.map(({ page }) => page)];
  };

  t.same(await pagesOf('home'), ['HOME']);
  t.same(await pagesOf('SEARCH'), ['SEARCH'], 'capitals, as piwheels has them');
  t.same(await pagesOf('sitemap'), ['SITEMAP']);
  t.same(await pagesOf('project'), ['PROJECT demo', 'PROJECT other']);
  t.same(await pagesOf('project', 'Demo'), ['PROJECT demo']);
  t.same(await pagesOf('index'), ['ROOT', 'PKG demo', 'PKG other']);
  t.same(await pagesOf('index', 'demo'), ['PKG demo']);
  t.same(await pagesOf('log'), [demoLog, otherLog]);
  t.same(await pagesOf('log', 'other'), [otherLog]);
  t.same(await pagesOf('all'), ['SEARCH', 'SITEMAP', 'ROOT', 'HOME', 'PKG demo', 'PKG other']);
  t.match(await piw('rebuild', 'index', 'nothing'), { code: 1, err: 'piw: there is no package nothing.' });
});
