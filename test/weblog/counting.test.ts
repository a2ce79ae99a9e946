import {
  appendFileSync,
  copyFileSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import type { Database } from '../../src/database/pool.js';
import { Counting, type CountingOptions, type Farm, type Outcome } from '../../src/weblog/counting.js';
import { openLog } from '../../src/weblog/log-file.js';
import { LineReader } from '../../src/weblog/reader.js';
import type { Source } from '../../src/weblog/source.js';
import { testDatabase } from '../helpers/database.js';
import { RECENTLY, combined, counted, farmOf, lines, someFiles } from '../helpers/web-log.js';

type Options = Partial<CountingOptions>;

/** Counts what hasn't been counted of a log, in a folder of the test's own. */
async function stage(t: Test) {
  const { db } = await testDatabase(t);
  await someFiles(db, 'demo', 'other');
  const folder = mkdtempSync(join(tmpdir(), 'piw-logs-'));
  const count = (name: string, options: Options = {}, meanwhile: () => void = () => undefined) =>
    countOne(db, join(folder, name), options, meanwhile);
  return { db, path: (name: string) => join(folder, name), count };
}

/** `meanwhile` comes when it has been found out which log it is, and before the first of its lines is read. */
async function countOne(
  db: Database,
  path: string,
  options: Options,
  meanwhile: () => void,
): Promise<Outcome> {
  const log = await openLog(path);
  const source: Source = {
    name: path,
    head: () => log.head(),
    before: (place) => log.before(place),
    blocks: (from) => {
      meanwhile();
      return log.blocks(from);
    },
  };
  try {
    return await new Counting(source, {
      ...{ farm: farmOf(db), reader: new LineReader('auto'), delayMs: 1000, onProgress: () => undefined },
      ...{ hostOf: (raw: string) => [raw, null] as [string, null], signal: new AbortController().signal },
      ...options,
    }).run();
  } finally {
    await log.close();
  }
}

/** The hosts of all rows, each of which stands in one line. */
const repeated = (db: Database) =>
  db.query('select accessed_by from downloads group by 1 having count(*) > 1');

void t.test('a log that grows is counted from where it was', async (t) => {
  const { db, path, count } = await stage(t);
  writeFileSync(path('access.log'), '');
  t.equal((await count('access.log')).upto, 0, 'an empty one has nothing');
  writeFileSync(path('access.log'), lines(10));
  t.match(await count('access.log'), { tally: { lines: 10 }, before: 0 });
  t.match(await count('access.log'), { tally: { lines: 0 } });
  appendFileSync(path('access.log'), lines(5, {}, 10));
  t.match(await count('access.log'), { tally: { lines: 5 }, before: lines(10).length });
  t.equal(await counted(db), 15);
  t.same(await repeated(db), []);
});

void t.test('a line is counted when it is whole', async (t) => {
  const { db, path, count } = await stage(t);
  const [first, second] = [combined({ host: 'a' }), combined({ host: 'b' })];
  for (let cut = 1; cut < first.length; cut += 40) {
    writeFileSync(path('access.log'), first.slice(0, cut));
    t.equal((await count('access.log')).tally.lines, 0, 'not even the first one');
  }
  for (let cut = 0; cut <= second.length; cut += 20) {
    writeFileSync(path('access.log'), first + second.slice(0, cut));
    await count('access.log');
  }
  writeFileSync(path('access.log'), first + second);
  await count('access.log');
  t.equal(await counted(db), 2);
  t.same(await db.query('select accessed_by from downloads order by 1'), [
    { accessed_by: 'a' },
    { accessed_by: 'b' },
  ]);
});

void t.test('a log that is renamed, and then compressed, is the same', async (t) => {
  const { db, path, count } = await stage(t);
  const all = ['access.log', 'access.log.1', 'access.log.2.gz'];
  let from = 0;
  const write = (n: number) => {
    appendFileSync(path('access.log'), lines(n, {}, from));
    from += n;
  };
  const hourly = async () => {
    for (const name of all) await count(name).catch(() => undefined);
  };
  write(10);
  await hourly();
  for (let day = 0; day < 4; day += 1) {
    write(7);
    // Some days it isn't run in between.
    if (day % 2 === 0) await hourly();
    try {
      writeFileSync(path('access.log.2.gz'), gzipSync(readFileSync(path('access.log.1'))));
    } catch {
      // There is none yet.
    }
    renameSync(path('access.log'), path('access.log.1'));
    write(3);
    await hourly();
    write(2);
    await hourly();
    t.equal(await counted(db), from, `after ${String(day + 1)} rotations`);
  }
  t.same(await repeated(db), []);
});

void t.test('a log that is copied and emptied is the same under its new name', async (t) => {
  const { db, path, count } = await stage(t);
  writeFileSync(path('access.log'), lines(10));
  await count('access.log');
  appendFileSync(path('access.log'), lines(5, {}, 10));
  copyFileSync(path('access.log'), path('access.log.1'));
  truncateSync(path('access.log'));
  appendFileSync(path('access.log'), lines(20, { at: RECENTLY + 1000 }, 15));
  await count('access.log');
  await count('access.log.1');
  t.equal(await counted(db), 35);
  t.same(await repeated(db), []);
});

void t.test('a log that is emptied while it is read is read no further', async (t) => {
  const { db, path, count } = await stage(t);
  const [live, old] = [path('access.log'), path('access.log.1')];
  writeFileSync(live, lines(100));
  await count('access.log');
  appendFileSync(live, lines(50, {}, 100));
  const outcome = await count('access.log', {}, () => {
    copyFileSync(live, old);
    truncateSync(live);
    // Longer than the old one was, so that its place is somewhere within.
    appendFileSync(live, lines(300, { at: RECENTLY + 1000 }, 150));
  });
  t.equal(outcome.tally.lines, 0, 'nothing of another log is taken for its end');
  await count('access.log.1');
  await count('access.log');
  t.equal(await counted(db), 450);
  t.same(await repeated(db), []);
});

void t.test('two logs that begin the same are two', async (t) => {
  const { db, path, count } = await stage(t);
  const first = combined({ host: 'monitor' });
  writeFileSync(path('a.log'), first + lines(10));
  writeFileSync(path('b.log'), first + lines(10, {}, 10));
  for (let i = 0; i < 3; i += 1) {
    await count('a.log');
    await count('b.log');
    appendFileSync(path('a.log'), combined({ host: `a${String(i)}` }));
    appendFileSync(path('b.log'), combined({ host: `b${String(i)}` }));
  }
  t.equal(await counted(db), 22 + 4);
});

void t.test('two who count the same log at the same time count it once', async (t) => {
  const { db, path, count } = await stage(t);
  writeFileSync(path('access.log'), lines(60_000));
  const outcomes = await Promise.all(Array.from({ length: 4 }, () => count('access.log')));
  t.equal(await counted(db), 60_000);
  t.same(await repeated(db), []);
  for (const { upto } of outcomes) t.equal(upto, lines(60_000).length, 'each comes to the end');
});

void t.test('an answer that is lost is asked for again, and changes nothing', async (t) => {
  const { db, path, count } = await stage(t);
  writeFileSync(path('access.log'), lines(50_000));
  const farm = farmOf(db);
  const twice: Farm = {
    ...farm,
    count: async (stretch) => {
      await farm.count(stretch);
      return await farm.count(stretch);
    },
  };
  const outcome = await count('access.log', { farm: twice });
  t.equal(outcome.tally.lines, 50_000);
  t.equal(await counted(db), 50_000);
});

void t.test('who breaks off anywhere, and begins again, counts everything once', async (t) => {
  const { db, path, count } = await stage(t);
  writeFileSync(path('access.log'), lines(65_000));
  const farm = farmOf(db);
  for (let dies = 1; dies < 12; dies += 1) {
    let left = dies % 4;
    const dying: Farm = {
      ...farm,
      count: async (stretch) => {
        // Before it is counted, or after.
        if ((left -= 1) < 0 && dies % 2 === 0) throw new Error('killed');
        const answer = await farm.count(stretch);
        if (left < 0) throw new Error('killed');
        return answer;
      },
    };
    await count('access.log', { farm: dying }).catch(() => undefined);
  }
  await count('access.log');
  t.equal(await counted(db), 65_000);
  t.same(await repeated(db), []);
});

void t.test('lines that are none are passed over, counted, and the first of them named', async (t) => {
  const { db, path, count } = await stage(t);
  const good = lines(3);
  const bad = [
    '\u0000\u0001\u001b[2J\n',
    `${'x'.repeat(3_000_000)}${combined()}`,
    Buffer.from([0xff, 0xfe, 0x0a]),
  ];
  writeFileSync(path('access.log'), good);
  for (const line of bad) appendFileSync(path('access.log'), line);
  appendFileSync(path('access.log'), lines(2, {}, 3));
  const { tally } = await count('access.log');
  t.match(tally, { lines: 8, bad: 3, firstBad: { at: good.length, text: ' [2J' } });
  t.equal(await counted(db), 5);
  appendFileSync(path('access.log'), lines(1, {}, 5));
  t.match(await count('access.log'), { tally: { lines: 1, bad: 0 } }, 'it is known again after a long line');
  t.equal(await counted(db), 6);
});

void t.test(
  'a compressed log ends with its last byte, and a broken one is read as far as it goes',
  async (t) => {
    const { db, path, count } = await stage(t);
    const text = lines(1000) + combined({ host: 'last' }).trimEnd();
    const packed = gzipSync(text);
    writeFileSync(path('half.gz'), packed.subarray(0, packed.length / 2));
    await t.rejects(count('half.gz'), { code: 'Z_BUF_ERROR' });
    t.ok((await counted(db)) < 1000);
    // Two members, as of two that were put together.
    writeFileSync(
      path('whole.gz'),
      Buffer.concat([gzipSync(text.slice(0, 5000)), gzipSync(text.slice(5000))]),
    );
    await count('whole.gz');
    t.equal(await counted(db), 1001);
    t.equal((await count('whole.gz')).tally.lines, 0);
    writeFileSync(path('one.gz'), gzipSync(combined({ host: 'only' }).trimEnd()));
    t.equal((await count('one.gz')).tally.lines, 1);
  },
);

void t.test('what the farm refuses is passed over, and told', async (t) => {
  const { db, path, count } = await stage(t);
  writeFileSync(path('access.log'), lines(30_000));
  const farm = farmOf(db);
  let first = true;
  const { refused, refusal, tally } = await count('access.log', {
    farm: {
      ...farm,
      count: async (stretch) => {
        const spoilt = first
          ? { ...stretch, whats: ['\ud800\u0000'.repeat(3)], agents: stretch.agents }
          : stretch;
        first = false;
        return await farm.count(spoilt);
      },
    },
  });
  t.ok(refused > 0 && refused < 30_000, String(refused));
  t.match(refusal, /the database refuses it/);
  t.equal(refused + tally.lines, 30_000);
  t.equal(await counted(db), tally.lines);
});
