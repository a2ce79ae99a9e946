import { DAY_MS } from '../../src/units.js';
import t from 'tap';
import type { ChangeEvent, Changelog, ChangelogEvent } from '../../src/pypi/changelog.js';
import type { IndexRoot } from '../../src/pypi/index-page.js';
import type { SimpleIndexClient } from '../../src/pypi/index-reader.js';
import { ChangelogReader } from '../../src/pypi/log-reader.js';
import { RootReader, type RootFollower } from '../../src/pypi/root-reader.js';
import { WatchList } from '../../src/pypi/watch-list.js';

const everything = new WatchList([], { empty: 'all', contents: null });
const { signal } = new AbortController();

void t.test('while a large removal waits for confirmation, the index is compared each day', async (t) => {
  let now = DAY_MS;
  let root = Array.from({ length: 10 }, (_, n) => `p${n}`);
  let rootFetches = 0;
  const index = {
    root: () => {
      rootFetches += 1;
      const projects = new Map(root.map((name) => [name, 1]));
      return Promise.resolve({ etag: undefined, projects } as unknown as IndexRoot);
    },
  } as unknown as SimpleIndexClient;
  const savedHeld: (number | null)[] = [];
  const requestedNames: string[] = [];
  let compared: number | null = null;
  const follower: RootFollower = {
    now: () => now,
    knownProjects: () =>
      Promise.resolve(
        Array.from({ length: 100 }, (_, n) => {
          return { name: `p${n}`, serial: 1, looked: 1, cheap: true, fed: true };
        }),
      ),
    comparisonState: () => Promise.resolve({ compared, held: savedHeld.at(-1) ?? null, accepted: 0 }),
    saveComparison: (held) => {
      savedHeld.push(held);
      compared = now;
      return Promise.resolve();
    },
    requestPages: (names) => {
      requestedNames.push(...names);
      return Promise.resolve();
    },
    onVanished: () => Promise.reject(new Error('nothing may be removed')),
    warn: () => undefined,
  };
  const reader = new RootReader(index, follower, { urgent: false, removalShare: 1, pagesPerPoll: 10 });
  await reader.compareIfDue(everything, signal);
  t.same(savedHeld, [90], 'a root that lacks most projects');
  now += DAY_MS / 2;
  await reader.compareIfDue(everything, signal);
  t.equal(rootFetches, 1, 'not before a day has passed');
  now += DAY_MS / 2;
  root = [...Array.from({ length: 100 }, (_, n) => `p${n}`), 'new'];
  await reader.compareIfDue(everything, signal);
  t.same(savedHeld, [90, null], 'the root is complete again, and nothing waits for confirmation');
  t.same(requestedNames, ['new']);
});

const event = (serial: number, time: number, name = 'a'): ChangelogEvent =>
  ({
    serial,
    time,
    name,
    version: '1.0',
    kind: 'yank release',
    file: null,
  }) as unknown as ChangelogEvent;

/** Returns a reader whose follower has read up to serial 99, of time 1,000,000. fail() sets how often onSeen fails. */
function makeReader(changelog: Partial<Changelog>) {
  const seen: [readonly number[], boolean][] = [];
  let failures = 0;
  const reader = new ChangelogReader(changelog as Changelog, {
    now: () => 2_000_000_000,
    shouldContinue: () => true,
    watches: () => true,
    position: () => Promise.resolve({ serial: 99, read: 99, cutTime: 1_000_000, cutSerial: 99 }),
    onSeen: (events: readonly ChangeEvent[], late) => {
      if (failures > 0) {
        failures -= 1;
        return Promise.reject(new Error('away'));
      }
      seen.push([events.map(({ serial }) => serial), late]);
      return Promise.resolve();
    },
    onSettled: () => Promise.resolve(),
    logInfo: () => undefined,
  });
  return { reader, seen, fail: (times: number) => (failures = times) };
}

void t.test('a late event that the follower failed to act on is delivered again', async (t) => {
  const { reader, seen, fail } = makeReader({
    lastSerial: () => Promise.resolve(100),
    since: () => Promise.resolve([event(100, 900_000)]),
  });
  fail(1);
  await t.rejects(reader.read(signal), { message: 'away' });
  await reader.read(signal);
  t.same(seen, [[[100], true]]);
});

void t.test('a log that repeats known events is read only once', async (t) => {
  let requestCount = 0;
  const { reader } = makeReader({
    lastSerial: () => Promise.resolve(200),
    since: () => {
      requestCount += 1;
      return Promise.resolve([event(50, 900_000)]);
    },
  });
  await t.rejects(reader.read(signal), { code: 'PIW_INDEX' });
  t.equal(requestCount, 1);
});
