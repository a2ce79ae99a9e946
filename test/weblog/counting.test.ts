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
import {
  LogCounter,
  type LogCounterOptions,
  type LogCollector,
  type LogCountResult,
} from '../../src/weblog/counting.js';
import { openLog } from '../../src/weblog/log-file.js';
import { LineReader } from '../../src/weblog/reader.js';
import type { LogSource } from '../../src/weblog/source.js';
import { testDatabase } from '../helpers/database.js';
import {
  AN_HOUR_AGO_MS,
  combinedLine,
  countDownloads,
  databaseFarm,
  combinedLines,
  insertPackages,
} from '../helpers/web-log.js';

type CounterOverrides = Partial<LogCounterOptions>;

/** Creates a database and a folder; `count` counts a log in that folder. */
async function setUp(t: Test) {
  const { db } = await testDatabase(t);
  await insertPackages(db, 'demo', 'other');
  const folder = mkdtempSync(join(tmpdir(), 'piw-logs-'));
  const count = (
    name: string,
    options: CounterOverrides = {},
    beforeFirstRead: () => void = () => undefined,
  ) => countLog(db, join(folder, name), options, beforeFirstRead);
  return { db, path: (name: string) => join(folder, name), count };
}

/** Counts a log; calls `beforeFirstRead` after the log was identified, and before its first line is read. */
async function countLog(
  db: Database,
  path: string,
  options: CounterOverrides,
  beforeFirstRead: () => void,
): Promise<LogCountResult> {
  const log = await openLog(path);
  const source: LogSource = {
    name: path,
    head: () => log.head(),
    tailBefore: (offset) => log.tailBefore(offset),
    blocks: (from) => {
      beforeFirstRead();
      return log.blocks(from);
    },
  };
  try {
    return await new LogCounter(source, {
      farm: databaseFarm(db),
      reader: new LineReader('auto'),
      delayMs: 1000,
      onProgress: () => undefined,
      hostOf: (raw: string) => [raw, null] as [string, null],
      signal: new AbortController().signal,
      ...options,
    }).run();
  } finally {
    await log.close();
  }
}

/** Returns the hosts that were counted more than once; each test log contains a host once. */
const duplicateHosts = (db: Database) =>
  db.query('select accessed_by from downloads group by 1 having count(*) > 1');

void t.test('a growing log is counted from the last position', async (t) => {
  const { db, path, count } = await setUp(t);
  writeFileSync(path('access.log'), '');
  t.equal((await count('access.log')).upto, 0, 'an empty log has no lines');
  writeFileSync(path('access.log'), combinedLines(10));
  t.match(await count('access.log'), { tally: { lines: 10 }, before: 0 });
  t.match(await count('access.log'), { tally: { lines: 0 } });
  appendFileSync(path('access.log'), combinedLines(5, {}, 10));
  t.match(await count('access.log'), { tally: { lines: 5 }, before: combinedLines(10).length });
  t.equal(await countDownloads(db), 15);
  t.same(await duplicateHosts(db), []);
});

void t.test('a line is counted once it is complete', async (t) => {
  const { db, path, count } = await setUp(t);
  const [first, second] = [combinedLine({ host: 'a' }), combinedLine({ host: 'b' })];
  for (let cut = 1; cut < first.length; cut += 40) {
    writeFileSync(path('access.log'), first.slice(0, cut));
    t.equal((await count('access.log')).tally.lines, 0, 'an incomplete first line is not counted');
  }
  for (let cut = 0; cut <= second.length; cut += 20) {
    writeFileSync(path('access.log'), first + second.slice(0, cut));
    await count('access.log');
  }
  writeFileSync(path('access.log'), first + second);
  await count('access.log');
  t.equal(await countDownloads(db), 2);
  t.same(await db.query('select accessed_by from downloads order by 1'), [
    { accessed_by: 'a' },
    { accessed_by: 'b' },
  ]);
});

void t.test('a log is recognised after it was renamed and compressed', async (t) => {
  const { db, path, count } = await setUp(t);
  const names = ['access.log', 'access.log.1', 'access.log.2.gz'];
  let from = 0;
  const write = (n: number) => {
    appendFileSync(path('access.log'), combinedLines(n, {}, from));
    from += n;
  };
  const hourly = async () => {
    for (const name of names) await count(name).catch(() => undefined);
  };
  write(10);
  await hourly();
  for (let day = 0; day < 4; day += 1) {
    write(7);
    // On some days the logger does not run in between.
    if (day % 2 === 0) await hourly();
    try {
      writeFileSync(path('access.log.2.gz'), gzipSync(readFileSync(path('access.log.1'))));
    } catch {
      // There is no rotated log yet.
    }
    renameSync(path('access.log'), path('access.log.1'));
    write(3);
    await hourly();
    write(2);
    await hourly();
    t.equal(await countDownloads(db), from, `after ${day + 1} rotations`);
  }
  t.same(await duplicateHosts(db), []);
});

void t.test('a log is recognised under its new name after copytruncate', async (t) => {
  const { db, path, count } = await setUp(t);
  writeFileSync(path('access.log'), combinedLines(10));
  await count('access.log');
  appendFileSync(path('access.log'), combinedLines(5, {}, 10));
  copyFileSync(path('access.log'), path('access.log.1'));
  truncateSync(path('access.log'));
  appendFileSync(path('access.log'), combinedLines(20, { at: AN_HOUR_AGO_MS + 1000 }, 15));
  await count('access.log');
  await count('access.log.1');
  t.equal(await countDownloads(db), 35);
  t.same(await duplicateHosts(db), []);
});

void t.test('a log that is truncated while it is read is read no further', async (t) => {
  const { db, path, count } = await setUp(t);
  const [live, old] = [path('access.log'), path('access.log.1')];
  writeFileSync(live, combinedLines(100));
  await count('access.log');
  appendFileSync(live, combinedLines(50, {}, 100));
  const result = await count('access.log', {}, () => {
    copyFileSync(live, old);
    truncateSync(live);
    // Longer than the old log, so that the old position is within it.
    appendFileSync(live, combinedLines(300, { at: AN_HOUR_AGO_MS + 1000 }, 150));
  });
  t.equal(result.tally.lines, 0, 'lines of another log are not taken for the end of this one');
  await count('access.log.1');
  await count('access.log');
  t.equal(await countDownloads(db), 450);
  t.same(await duplicateHosts(db), []);
});

void t.test('two logs with the same first line are counted separately', async (t) => {
  const { db, path, count } = await setUp(t);
  const first = combinedLine({ host: 'monitor' });
  writeFileSync(path('a.log'), first + combinedLines(10));
  writeFileSync(path('b.log'), first + combinedLines(10, {}, 10));
  for (let i = 0; i < 3; i += 1) {
    await count('a.log');
    await count('b.log');
    appendFileSync(path('a.log'), combinedLine({ host: `a${i}` }));
    appendFileSync(path('b.log'), combinedLine({ host: `b${i}` }));
  }
  t.equal(await countDownloads(db), 22 + 4);
});

void t.test('several loggers that count the same log at the same time count it once', async (t) => {
  const { db, path, count } = await setUp(t);
  writeFileSync(path('access.log'), combinedLines(60_000));
  const results = await Promise.all(Array.from({ length: 4 }, () => count('access.log')));
  t.equal(await countDownloads(db), 60_000);
  t.same(await duplicateHosts(db), []);
  for (const { upto } of results) t.equal(upto, combinedLines(60_000).length, 'each reaches the end');
});

void t.test('a repeated request changes nothing', async (t) => {
  const { db, path, count } = await setUp(t);
  writeFileSync(path('access.log'), combinedLines(50_000));
  const farm = databaseFarm(db);
  const repeatingFarm: LogCollector = {
    ...farm,
    submit: async (stretch) => {
      await farm.submit(stretch);
      return await farm.submit(stretch);
    },
  };
  const result = await count('access.log', { farm: repeatingFarm });
  t.equal(result.tally.lines, 50_000);
  t.equal(await countDownloads(db), 50_000);
});

void t.test('a logger that is killed anywhere, and restarted, counts everything once', async (t) => {
  const { db, path, count } = await setUp(t);
  writeFileSync(path('access.log'), combinedLines(65_000));
  const farm = databaseFarm(db);
  for (let round = 1; round < 12; round += 1) {
    let callsLeft = round % 4;
    const crashingFarm: LogCollector = {
      ...farm,
      submit: async (stretch) => {
        // Fail either before the stretch is counted, or after.
        if ((callsLeft -= 1) < 0 && round % 2 === 0) throw new Error('killed');
        const answer = await farm.submit(stretch);
        if (callsLeft < 0) throw new Error('killed');
        return answer;
      },
    };
    await count('access.log', { farm: crashingFarm }).catch(() => undefined);
  }
  await count('access.log');
  t.equal(await countDownloads(db), 65_000);
  t.same(await duplicateHosts(db), []);
});

void t.test('invalid lines are skipped and counted, and the first of them is reported', async (t) => {
  const { db, path, count } = await setUp(t);
  const good = combinedLines(3);
  const bad = [
    '\u0000\u0001\u001b[2J\n',
    `${'x'.repeat(3_000_000)}${combinedLine()}`,
    Buffer.from([0xff, 0xfe, 0x0a]),
  ];
  writeFileSync(path('access.log'), good);
  for (const line of bad) appendFileSync(path('access.log'), line);
  appendFileSync(path('access.log'), combinedLines(2, {}, 3));
  const { tally } = await count('access.log');
  t.match(tally, { lines: 8, bad: 3, firstBad: { at: good.length, text: ' [2J' } });
  t.equal(await countDownloads(db), 5);
  appendFileSync(path('access.log'), combinedLines(1, {}, 5));
  t.match(
    await count('access.log'),
    { tally: { lines: 1, bad: 0 } },
    'the log is recognised after an overlong line',
  );
  t.equal(await countDownloads(db), 6);
});

void t.test(
  'a compressed log is read to its last byte, and a truncated one as far as possible',
  async (t) => {
    const { db, path, count } = await setUp(t);
    const text = combinedLines(1000) + combinedLine({ host: 'last' }).trimEnd();
    const packed = gzipSync(text);
    writeFileSync(path('half.gz'), packed.subarray(0, packed.length / 2));
    await t.rejects(count('half.gz'), { code: 'Z_BUF_ERROR' });
    t.ok((await countDownloads(db)) < 1000);
    // Two members, as in two concatenated gzip files.
    writeFileSync(
      path('whole.gz'),
      Buffer.concat([gzipSync(text.slice(0, 5000)), gzipSync(text.slice(5000))]),
    );
    await count('whole.gz');
    t.equal(await countDownloads(db), 1001);
    t.equal((await count('whole.gz')).tally.lines, 0);
    writeFileSync(path('one.gz'), gzipSync(combinedLine({ host: 'only' }).trimEnd()));
    t.equal((await count('one.gz')).tally.lines, 1);
  },
);

void t.test('lines that the farm refuses are skipped and reported', async (t) => {
  const { db, path, count } = await setUp(t);
  writeFileSync(path('access.log'), combinedLines(30_000));
  const farm = databaseFarm(db);
  let first = true;
  const { refused, refusal, tally } = await count('access.log', {
    farm: {
      ...farm,
      submit: async (stretch) => {
        const corrupted = first
          ? { ...stretch, resources: ['\ud800\u0000'.repeat(3)], agents: stretch.agents }
          : stretch;
        first = false;
        return await farm.submit(corrupted);
      },
    },
  });
  t.ok(refused > 0 && refused < 30_000, String(refused));
  t.match(refusal, /the database rejected the log entries/);
  t.equal(refused + tally.lines, 30_000);
  t.equal(await countDownloads(db), tally.lines);
});
