import t from 'tap';
import { compare, inTurn, type Known } from '../../src/pypi/compare.js';
import type { PackageName } from '../../src/wheels/names.js';
import { WatchList } from '../../src/pypi/watch-list.js';

const known = (name: string, serial: number, more: Partial<Known> = {}): Known => ({
  ...{ name, serial, looked: 1, cheap: true, fed: true },
  ...more,
});
const root = (projects: Readonly<Record<string, number>>) => ({
  ...{ serial: 9, etag: undefined, projects: new Map(Object.entries(projects) as [PackageName, number][]) },
});
const everything = new WatchList([], { empty: 'all', contents: null });

void t.test('what is new or has a higher serial is due, and what the root has no more has vanished', (t) => {
  const all = [known('same', 5), known('changed', 5), known('away', 5)];
  t.same(compare(root({ same: 5, changed: 6, new: 1 }), all, everything), {
    due: ['changed', 'new'],
    vanished: ['away'],
  });
  t.end();
});

void t.test('what an administrator added is looked at like any other, and never vanishes', (t) => {
  const all = [known('same', 5, { fed: false }), known('changed', 5, { fed: false })];
  const away = known('away', 5, { fed: false });
  t.same(compare(root({ same: 5, changed: 6 }), [...all, away], everything), {
    due: ['changed'],
    vanished: [],
  });
  t.end();
});

void t.test('of what is not watched nothing is due, and nothing vanishes', (t) => {
  const some = new WatchList(['zope.*', 'six'], { empty: 'nothing', contents: null });
  const all = [known('zope-old', 5), known('other', 5)];
  t.same(compare(root({ 'zope-new': 1, six: 1, new: 1 }), all, some), {
    due: ['zope-new', 'six'],
    vanished: ['zope-old'],
  });
  t.end();
});

void t.test('without serials pages take turns, the longest not looked at first', (t) => {
  const all = [
    known('b', 0, { looked: 2 }),
    known('a', 0, { looked: 1 }),
    known('never', 0, { looked: 0 }),
    known('asked-for', 0, { looked: null }),
  ];
  t.same(inTurn(all, everything, 2), { names: ['never', 'a'], blind: false });
  const many = Array.from({ length: 300 }, (_, n) => known(`p${String(n)}`, 0, { cheap: false }));
  t.same(inTurn(many, everything, 10), { names: [], blind: true }, 'a large one that says nothing');
  const wanted = new WatchList(['p*'], { empty: 'nothing', contents: null });
  t.same(inTurn(many, wanted, 10).names.length, 10, 'but what somebody wants is looked at');
  t.end();
});
