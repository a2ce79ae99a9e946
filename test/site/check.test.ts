import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Fault, FaultReporter } from '../../src/check/faults.js';
import { checkOutput, type CheckOptions } from '../../src/check/output.js';
import { Changed, checkInRounds } from '../../src/check/rounds.js';
import { RULES } from '../../src/check/rules.js';
import { piwRunner } from '../helpers/command.js';
import { makeOutputPath } from '../helpers/output-path.js';
import { FILE_FAULTS, PAGE_FAULTS, SIBLING_FAULTS, SITE_FAULTS } from './planted-faults.js';
import { memoryFolder } from '../helpers/memory-folder.js';

t.setTimeout(120_000);

async function faultsOf(path: string, options: Partial<CheckOptions> = {}): Promise<readonly Fault[]> {
  const faults: Fault[] = [];
  await checkOutput(path, {
    selection: { kind: 'all' },
    readContents: true,
    recheckDelaysMs: [],
    settleMs: 0,
    report: (fault) => faults.push(fault),
    ...options,
  });
  return faults;
}

const cleanOutput = await makeOutputPath();
const copyOutput = (): string => {
  const path = join(mkdtempSync(join(memoryFolder(), 'piw-planted-')), 'www');
  // Dereferencing turns links into files of their own, so that each form of a page can be broken alone.
  cpSync(cleanOutput, path, { recursive: true, preserveTimestamps: true, dereference: true });
  return path;
};

void t.test('an output path that piw has written has no faults', async (t) => {
  t.same(await faultsOf(cleanOutput), []);
  t.same(await faultsOf(cleanOutput, { selection: { kind: 'names', names: ['demo'] } }), []);
});

for (const [subject, plantedFaults] of Object.entries({
  'a page of the index': PAGE_FAULTS,
  'the forms of a page, and the root': SIBLING_FAULTS,
  files: FILE_FAULTS,
  'the site': SITE_FAULTS,
})) {
  void t.test(`a planted fault of ${subject} is found by exactly the rules for it`, async (t) => {
    for (const { description, rules, plant } of plantedFaults) {
      const path = copyOutput();
      await plant(path);
      const faults = await faultsOf(path);
      const found = [...new Set(faults.map(({ rule }) => rule))].sort();
      t.same(found, [...rules].sort(), description, { faults });
    }
  });
}

void t.test('each rule that applies to the disk has a planted fault', (t) => {
  const broken = new Set(
    [...PAGE_FAULTS, ...SIBLING_FAULTS, ...FILE_FAULTS, ...SITE_FAULTS].flatMap(({ rules }) => rules),
  );
  const unbroken = Object.keys(RULES).filter(
    (rule) => !rule.startsWith('http-') && !broken.has(rule as keyof typeof RULES),
  );
  t.same(unbroken, []);
  t.end();
});

/** Checks units, each given by its outcome in each round: the paths that it reports, or that it changed meanwhile. */
async function checkUnits(...outcomes: readonly (readonly (string | typeof Changed)[])[]) {
  const reported: string[] = [];
  const units = outcomes.map((rounds) => ({
    check: (report: FaultReporter, round: number) => {
      const outcome = rounds[round];
      if (outcome === Changed) throw new Changed();
      for (const path of typeof outcome === 'string' && outcome !== '' ? outcome.split(' ') : [])
        report('file-missing', path, 'missing', 'a file');
      return Promise.resolve();
    },
  }));
  const { unsettled } = await checkInRounds(units[Symbol.iterator](), {
    recheckDelaysMs: [1, 1],
    concurrency: 2,
    report: ({ path }) => reported.push(path),
  });
  return { reported: reported.sort(), unsettled };
}

void t.test('only what is wrong in every round is a fault', async (t) => {
  t.same(await checkUnits(['a', 'a', 'a'], ['b', ''], ['c', 'c', ''], ['']), {
    reported: ['a'],
    unsettled: 0,
  });
  t.same(await checkUnits(['a b', 'b c', 'c b a']), { reported: ['b'], unsettled: 0 });
  t.same(await checkUnits([Changed, 'a', 'a'], ['b', Changed, 'b'], [Changed, Changed, 'c']), {
    reported: ['a', 'b', 'c'],
    unsettled: 0,
  });
  t.same(await checkUnits([Changed, Changed, Changed], ['a', 'a', Changed]), { reported: [], unsettled: 2 });
});

void t.test('recent files are not reported as left behind', async (t) => {
  const path = copyOutput();
  for (const { description, plant } of FILE_FAULTS)
    if (/no page lists|temporary/.test(description)) await plant(path);
  t.not((await faultsOf(path)).length, 0);
  t.same(await faultsOf(path, { settleMs: 60_000 }), []);
});

void t.test('a check can be limited to some packages, and can leave wheels unread', async (t) => {
  const path = copyOutput();
  for (const { description, plant } of FILE_FAULTS)
    if (description === 'a wheel with a flipped bit') await plant(path);
  const names = (...selected: readonly string[]) =>
    ({ selection: { kind: 'names', names: selected } }) as const;
  t.match(await faultsOf(path, names('demo')), [{ rule: 'file-hash' }]);
  t.same(await faultsOf(path, names('old-one', 'zope-interface')), []);
  t.same(await faultsOf(path, { readContents: false }), []);
  t.match(await faultsOf(path, { selection: { kind: 'sample', size: 3 } }), [{ rule: 'file-hash' }]);
});

void t.test('piw check prints its findings, and exits with 1 if there is a fault', async (t) => {
  const piw = piwRunner({});
  const sound = await piw('check', cleanOutput);
  t.match(sound, { code: 0, err: '', out: /^Checked 3 packages, \d+ items: 0 faults, 0 warnings\.\n$/ });
  const path = copyOutput();
  rmSync(join(path, 'simple/demo/demo-1.0-py3-none-any.whl.metadata'));
  const result = await piw('check', path, '--still');
  t.match(result, { code: 1, err: '' });
  t.match(
    result.out,
    'metadata-missing: simple/demo/demo-1.0-py3-none-any.whl.metadata: missing; expected: the METADATA of the wheel\n',
  );
  const asJson = await piw('check', path, '--still', '--json', '--no-hashes');
  t.equal(asJson.code, 1);
  t.match(JSON.parse(asJson.out), { faults: 1, warnings: 0, by_rule: { 'metadata-missing': 1 } });
  const rules = await piw('check', '--rules');
  for (const rule of Object.keys(RULES)) t.match(rules.out, `${rule} `);
  t.match(await piw('check', join(path, 'project')), { code: 2, err: /is not an output path/ });
  t.match(await piw('check', path, '--package', 'dmeo'), { code: 1, err: /there is no package dmeo in / });
});
