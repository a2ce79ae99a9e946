import t from 'tap';
import { MAX_PAGE_FETCHES, postponePageFetch } from '../../src/database/feed.js';
import { upsertPackage } from '../../src/database/packages.js';
import { testDatabase } from '../helpers/database.js';

t.setTimeout(120_000);

void t.test(
  'a page that can never be fetched is tried less and less often, and finally given up',
  async (t) => {
    const { db } = await testDatabase(t);
    for (const name of ['demo', 'other'])
      await upsertPackage(db, { package: name, description: null, origin: 'feed', aliases: [] });
    await db.query('insert into page_fetches (package_id, urgent) select package_id, true from packages');
    const delays: number[] = [];
    for (let failures = 1; failures < MAX_PAGE_FETCHES; failures += 1) {
      await postponePageFetch(db, 'demo');
      const [row] = await db.query<{ delay: number }>(
        `select round(extract(epoch from not_before - now()))::float8 as delay
       from page_fetches join packages using (package_id) where package = 'demo'`,
      );
      delays.push(row?.delay ?? -1);
    }
    t.same(delays.slice(0, 4), [1, 2, 4, 8]);
    t.same([Math.min(...delays.slice(12)), Math.max(...delays)], [3600, 3600]);
    await postponePageFetch(db, 'demo');
    t.same(await db.query('select package, attempts from page_fetches join packages using (package_id)'), [
      { package: 'other', attempts: 0 },
    ]);
  },
);
