/** Which test or script runs which shell block of the front page and of the chapters, and which blocks none can run. */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { shellBlocks, type ShellBlock } from './blocks.js';

const DOCS = fileURLToPath(new URL('../../../docs', import.meta.url));

/** A chapter, or the blocks directly under one of its headings. */
type Place = readonly [page: string, heading?: string];

export const EXAMPLES = 'test/docs/examples.test.ts';
export const RUN_DOCS = 'test/deployment/run-docs.ts';
export const RUN_CLUSTER_DOCS = 'test/deployment/run-cluster-docs.ts';

/** What each of them runs. */
const RUN: Readonly<Record<string, readonly Place[]>> = {
  [EXAMPLES]: [
    ['docs/farm.md', 'The data folder'],
    ['docs/farm.md', 'Slaves elsewhere'],
    ['docs/slaves.md', 'Adding a slave'],
    ['docs/slaves.md', 'Orders'],
    ['docs/queue.md'],
    ['docs/index-and-site.md', 'When a page is written'],
    ['docs/operations.md', 'Logs of builds'],
    ['docs/operations.md', 'Retrying failed builds'],
    ['docs/master.md', 'Pausing and ending'],
  ],
  [RUN_DOCS]: [
    ['docs/server.md'],
    ['docs/builder.md'],
    ['docs/commands.md'],
    ['docs/master.md', 'Certificates for all roles'],
    ['docs/backup.md', 'Backing up'],
    ['docs/backup.md', 'Restoring'],
    ['docs/backup.md', 'If the output path has survived'],
  ],
  [RUN_CLUSTER_DOCS]: [
    ['docs/master.md', 'A cluster of nats-servers'],
    ['docs/master.md', 'By password and TLS'],
    ['docs/master.md', 'Through an SSH tunnel of the socket'],
    ['docs/master.md', 'The first master'],
    ['docs/master.md', 'A standby'],
    ['docs/master.md', 'Tasks on further hosts'],
    ['docs/master.md', 'A leaf node at another site'],
    ['docs/master.md', 'Updating'],
    ['docs/master.md', 'From a tarball'],
    ['docs/operations.md', 'How the farm is'],
    ['docs/operations.md', 'When something does not work'],
  ],
};

/** Blocks that nothing runs, and why, with what shows the same. */
const NOT_RUN: readonly (readonly [page: string, heading: string, firstLine: RegExp, reason: string])[] = [
  [
    'README.md',
    'Try it',
    /^(?:git clone|npm start -- numpy)/,
    'clones from an address that is a placeholder, and follows PyPI without an end; test/commands/farm.test.ts',
  ],
  [
    'docs/farm.md',
    'Starting it',
    /^git clone/,
    'clones from an address that is a placeholder, and follows PyPI without an end; test/commands/farm.test.ts',
  ],
  [
    'docs/slaves.md',
    'Installing',
    /^npm pack/,
    'is for two machines; docs/server.md and docs/builder.md have a block for each',
  ],
  [
    'docs/slaves.md',
    'Adding a slave',
    /^piw slave -c/,
    'does not end; the unit in docs/builder.md runs the same command',
  ],
  [
    'docs/master.md',
    'More processes',
    /^piw actor/,
    'does not end; the unit under "Tasks on further hosts" runs the same command',
  ],
  ['docs/index-and-site.md', 'Web servers', /^piw web/, 'does not end; test/commands/web.test.ts'],
  [
    'docs/index-and-site.md',
    'Checking',
    /^piw check/,
    'checks a farm of an invented name; docs/server.md has a block that checks its own',
  ],
  [
    'docs/index-and-site.md',
    'Downloads',
    /^piw logger/,
    'reads logs of Apache from before the farm; test/commands/logger.test.ts',
  ],
  [
    'docs/operations.md',
    'Following a build',
    /^piw logs numpy --follow/,
    'needs builds of numpy that are under way; test/commands/logs-follow.test.ts',
  ],
  [
    'docs/backup.md',
    'Restoring',
    /^npx piw restore/,
    'starts a farm that does not end; test/commands/backup.test.ts restores one',
  ],
  ['docs/development.md', 'Tests', /^(?:npm test|PIW_TEST_REAL)/, 'is what runs the tests; .ci/run'],
  ['docs/development.md', 'Benchmarks', /^npm run bench/, 'takes hours'],
  [
    'docs/development.md',
    'Chaos scripts and other long checks',
    /^node dist\/test/,
    'takes hours, and needs root and PyPI',
  ],
];

/** Returns all shell blocks of the front page and of the chapters. */
export const allBlocks = (): readonly ShellBlock[] =>
  [
    'README.md',
    ...readdirSync(DOCS).flatMap((name) => (name.endsWith('.md') ? [`docs/${name}`] : [])),
  ].flatMap(shellBlocks);

const isAt = ({ page, headings }: ShellBlock, [placePage, heading]: Place): boolean =>
  page === placePage && (heading === undefined || headings.at(-1) === heading);

/** Returns why nothing runs this block, or null. */
export const reasonNotRun = (block: ShellBlock): string | null =>
  block.notRun ??
  NOT_RUN.find(([page, heading, line]) => isAt(block, [page, heading]) && line.test(block.script))?.[3] ??
  null;

/** Returns the blocks that a test or script runs, in the order of its places here. */
export const blocksRunBy = (runner: string): readonly ShellBlock[] =>
  (RUN[runner] ?? []).flatMap((place) =>
    shellBlocks(place[0]).filter((block) => isAt(block, place) && reasonNotRun(block) === null),
  );

/** Returns the names of the tests and scripts that run a block. */
export const runnersOf = (block: ShellBlock): readonly string[] =>
  Object.keys(RUN).filter((runner) => (RUN[runner] ?? []).some((place) => isAt(block, place)));

/** Returns the rows of the tables here that name a block which no longer exists. */
export function rowsWithoutBlock(): readonly string[] {
  const blocks = allBlocks();
  const places = Object.values(RUN).flat();
  return [
    ...places.filter((place) => !blocks.some((block) => isAt(block, place))).map((place) => place.join(', ')),
    ...NOT_RUN.filter(
      ([page, heading, line]) =>
        !blocks.some((block) => isAt(block, [page, heading]) && line.test(block.script)),
    ).map(([page, heading, line]) => `${page}, ${heading}, ${line.source}`),
  ];
}
