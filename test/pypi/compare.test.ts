import t from 'tap';
import { compareWithRoot, nextToPoll, type KnownProject } from '../../src/pypi/compare.js';
import type { PackageName } from '../../src/wheels/names.js';
import { WatchList } from '../../src/pypi/watch-list.js';

const knownProject = (name: string, serial: number, overrides: Partial<KnownProject> = {}): KnownProject => ({
  name,
  serial,
  looked: 1,
  cheap: true,
  fed: true,
  ...overrides,
});
const root = (projects: Readonly<Record<string, number>>) => ({
  serial: 9,
  etag: undefined,
  projects: new Map(Object.entries(projects) as [PackageName, number][]),
});
const everything = new WatchList([], { empty: 'all', contents: null });

void t.test(
  'new projects and those with a higher serial are due; those missing from the root have vanished',
  (t) => {
    const projects = [knownProject('same', 5), knownProject('changed', 5), knownProject('away', 5)];
    t.same(compareWithRoot(root({ same: 5, changed: 6, new: 1 }), projects, everything), {
      due: ['changed', 'new'],
      vanished: ['away'],
    });
    t.end();
  },
);

void t.test('a project that an administrator added is compared like any other, but never vanishes', (t) => {
  const projects = [knownProject('same', 5, { fed: false }), knownProject('changed', 5, { fed: false })];
  const away = knownProject('away', 5, { fed: false });
  t.same(compareWithRoot(root({ same: 5, changed: 6 }), [...projects, away], everything), {
    due: ['changed'],
    vanished: [],
  });
  t.end();
});

void t.test('projects that are not watched are neither due nor vanished', (t) => {
  const watchList = new WatchList(['zope.*', 'six'], { empty: 'nothing', contents: null });
  const projects = [knownProject('zope-old', 5), knownProject('other', 5)];
  t.same(compareWithRoot(root({ 'zope-new': 1, six: 1, new: 1 }), projects, watchList), {
    due: ['zope-new', 'six'],
    vanished: ['zope-old'],
  });
  t.end();
});

void t.test('without serials pages are polled in turn, the longest unvisited first', (t) => {
  const projects = [
    knownProject('b', 0, { looked: 2 }),
    knownProject('a', 0, { looked: 1 }),
    knownProject('never', 0, { looked: 0 }),
    knownProject('asked-for', 0, { looked: null }),
  ];
  t.same(nextToPoll(projects, everything, 2), { names: ['never', 'a'], blind: false });
  const many = Array.from({ length: 300 }, (_, n) => knownProject(`p${n}`, 0, { cheap: false }));
  t.same(
    nextToPoll(many, everything, 10),
    { names: [], blind: true },
    'a large index without serials and ETags is not polled',
  );
  const patternList = new WatchList(['p*'], { empty: 'nothing', contents: null });
  t.same(
    nextToPoll(many, patternList, 10).names.length,
    10,
    'but packages that the watch list selects are polled',
  );
  t.end();
});
