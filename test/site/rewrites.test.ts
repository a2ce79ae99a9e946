import t from 'tap';
import { checkOutput } from '../../src/check/output.js';
import { runRewrites } from '../chaos/rewrites/run.js';

t.setTimeout(120_000);

void t.test(
  'clients that read while pages are rewritten get whole pages and every file listed in them',
  async (t) => {
    const { reads, http, states, faults } = await runRewrites({ reads: 6000, writeMode: 'right' });
    t.same(faults, []);
    t.ok(reads >= 6000 && http > 0 && states > 0);
  },
);

void t.test('a check of pages that are being rewritten reports no false faults', async (t) => {
  const rules = new Set<string>();
  let projects = 0;
  const checkRepeatedly = async (output: string): Promise<void> => {
    for (let i = 0; i < 3; i += 1) {
      const checked = await checkOutput(output, {
        selection: { kind: 'all' },
        readContents: true,
        recheckDelaysMs: [50, 200, 500],
        settleMs: 60_000,
        report: ({ rule }) => rules.add(rule),
      });
      projects += checked.projects;
    }
  };
  const { faults } = await runRewrites({
    reads: 1000,
    writeMode: 'right',
    readers: [1, 0],
    alongside: checkRepeatedly,
  });
  t.same(faults, []);
  t.ok(projects > 0);
  // There are no pages for people here, and requires-python is what the states differ in.
  for (const rule of ['project-page', 'project-json', 'site-page', 'site-extra', 'wheel-requires-python'])
    rules.delete(rule);
  t.same([...rules], []);
});

void t.test('the same readers detect a faulty writer', async (t) => {
  for (const [writeMode, fault] of [
    ['torn', /: (html|json|siblings|versions)-/],
    ['early', /lists it after it was found missing/],
    ['late', /lists it after it was found missing/],
    ['back', /state \d+ after \d+/],
  ] as const) {
    const { reads, faults } = await runRewrites({
      reads: 200_000,
      faults: 1,
      writeMode,
      readers: [2, 0],
    });
    t.match(faults[0], fault, `${writeMode}, found after ${reads} reads`);
  }
});
