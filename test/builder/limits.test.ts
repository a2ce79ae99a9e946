import { statfsSync } from 'node:fs';
import t from 'tap';
import type { BuilderOptions } from '../../src/builder/build.js';
import { packFixture } from '../helpers/sdist.js';
import { IndexServer } from './index-server.js';
import { temporaryFolder, createTestBuilder } from './workshop.js';

const MB = 1024 ** 2;
/** The limits that the versions of the fixture exceed, in order. */
const EXCEEDED_LIMITS = [
  'silence',
  'words',
  'processes',
  'memory',
  'address space',
  'file size',
  'files',
] as const;
type ExceededLimit = (typeof EXCEEDED_LIMITS)[number];

const fixtureVersion = (excess: ExceededLimit): string => String(EXCEEDED_LIMITS.indexOf(excess));
const index = await IndexServer.start([
  packFixture('fills'),
  ...EXCEEDED_LIMITS.map((excess) => packFixture('exceeds', { version: fixtureVersion(excess) })),
]);
t.teardown(() => index.stop());

const onlyLinux = process.platform === 'linux' ? {} : { skip: 'needs Linux to measure what processes use' };

function expectFailure(
  excess: ExceededLimit,
  limits: BuilderOptions['limits'] & object,
  failure: { readonly failureClass: string; readonly sentence: string },
): (t: Parameters<typeof createTestBuilder>[0]) => Promise<void> {
  return async (t) => {
    const { builder, request } = createTestBuilder(t, index.url, { limits });
    const result = await builder.build(
      request('exceeds', { version: fixtureVersion(excess), timeoutMs: 60_000 }),
    );
    t.match(result, { status: false, failureClass: failure.failureClass, files: [] });
    const lastLine = result.output.trimEnd().split('\n').at(-1);
    t.equal(
      lastLine,
      `piw: piw-fixture-exceeds ${fixtureVersion(excess)} was not built: ${failure.sentence}`,
      result.output.slice(-2000),
    );
  };
}

t.test(
  'a build that prints nothing for too long is stopped',
  expectFailure(
    'silence',
    { silenceMs: 8000 },
    { failureClass: 'silent', sentence: 'it printed nothing for 8 s' },
  ),
);

t.test(
  'a build with too long a log is stopped if so configured',
  expectFailure(
    'words',
    { log: 64 * 1024, logFails: true },
    { failureClass: 'log-limit', sentence: 'its log is longer than 65,536 bytes' },
  ),
);

t.test(
  'a build that prints too much is stopped, however little of it is kept',
  expectFailure(
    'words',
    { log: 64 * 1024, output: 2 * MB },
    { failureClass: 'log-limit', sentence: 'it printed more than 2 MB' },
  ),
);

t.test(
  'a build on a disk with too little free space is stopped',
  expectFailure(
    'silence',
    { diskFree: 2 ** 60 },
    {
      failureClass: 'disk',
      sentence: `less than ${2 ** 40} MB was free on the slave's disk`,
    },
  ),
);

t.test('a build that fills the disk is stopped before the disk is full', async (t) => {
  const workDir = temporaryFolder(t);
  const { bavail, bsize } = statfsSync(workDir);
  const diskFree = bavail * bsize - 1024 * MB;
  const { builder, request } = createTestBuilder(t, index.url, { workDir, limits: { diskFree } });
  t.match(await builder.build(request('fills', { timeoutMs: 60_000 })), { failureClass: 'disk', files: [] });
});

t.test(
  'a build with too many processes is stopped',
  onlyLinux,
  expectFailure(
    'processes',
    { processes: 30 },
    { failureClass: 'other', sentence: 'it had more than 30 processes at once' },
  ),
);

t.test(
  'a build that uses too much memory is stopped',
  onlyLinux,
  expectFailure(
    'memory',
    { memory: 400 * MB },
    { failureClass: 'memory', sentence: 'it used more than 400 MB of memory' },
  ),
);

t.test(
  'a process gets no more address space than the limit',
  expectFailure(
    'address space',
    { addressSpace: 2048 * MB },
    { failureClass: 'memory', sentence: 'the build ran out of memory' },
  ),
);

t.test(
  'a file gets no larger than the limit',
  expectFailure(
    'file size',
    { fileSize: 32 * MB },
    {
      failureClass: 'other',
      sentence: 'it wrote a file that is larger than this slave allows: "OSError: [Errno 27] File too large"',
    },
  ),
);

t.test(
  'a process opens no more files than the limit',
  expectFailure(
    'files',
    { openFiles: 512 },
    {
      failureClass: 'other',
      sentence: `it opened more files at once than this slave allows: "OSError: [Errno 24] Too many open files: '/dev/null'"`,
    },
  ),
);
