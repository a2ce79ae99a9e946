import { mkdirSync, readdirSync, readFileSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BuildRequest } from '../../src/builder/build.js';
import type { BuildResult } from '../../src/builder/outcome.js';
import type { BuildLimits } from '../../src/builder/limits.js';
import { packFixture } from '../helpers/sdist.js';
import { IndexServer } from './index-server.js';
import { processesWith } from '../helpers/proc.js';

/** An sdist of ours that misbehaves, and the expected result of its build. */
export interface MisbehavingSdist {
  readonly fixture: string;
  readonly version?: string;
  readonly description: string;
  /** The tags of the wheels, or a failure class. */
  readonly expected: string;
  readonly limits?: Partial<BuildLimits>;
  readonly masked?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly request?: Partial<BuildRequest>;
  /** Returns what else is wrong; empty if nothing is. */
  readonly check?: (result: BuildResult, sandboxed: boolean) => string;
}

const MB = 1024 ** 2;
const PURE = 'py3-none-any';
const SLAVE_FILES = ['key', 'code/main.js'];

/** Returns all misbehaving sdists, and starts an index that has them. */
export async function startMisbehavingIndex(
  folder: string,
  network: string,
): Promise<{ readonly sdists: readonly MisbehavingSdist[]; readonly url: string; stop(): Promise<void> }> {
  const home = join(folder, 'slave');
  mkdirSync(join(home, 'code'), { recursive: true });
  for (const file of SLAVE_FILES) writeFileSync(join(home, file), 'contents');
  const daemonWord = `piw-kinds-${process.pid}`;
  const { bavail, bsize } = statfsSync(folder);
  let serverAddress = '';
  const sdists: MisbehavingSdist[] = [
    { fixture: 'litters', description: 'writes to HOME', expected: PURE, check: checkLeavesNothing(folder) },
    {
      fixture: 'needs-header',
      description: 'needs a header that does not exist',
      expected: 'missing-header',
    },
    {
      fixture: 'talks',
      description: 'has a different hash',
      expected: 'hash-mismatch',
      request: { sdistSha256: 'ab'.repeat(32) },
      check: ({ output }) => (output.includes('numbered') ? ', but its code was run' : ''),
    },
    {
      fixture: 'exceeds',
      version: '0',
      description: 'sleeps',
      expected: 'timeout',
      request: { timeoutMs: 8000 },
    },
    {
      fixture: 'exceeds',
      version: '0',
      description: 'prints nothing',
      expected: 'silent',
      limits: { silenceMs: 8000 },
    },
    { fixture: 'lingers', version: '2.0', description: 'leaves daemons', expected: PURE },
    {
      fixture: 'sheds',
      description: 'a daemon that drops session, folder and variables',
      expected: PURE,
      env: { PIW_TEST_WORD: daemonWord },
      check: (_result, sandboxed) =>
        processesWith(daemonWord).length > 0
          ? `, but its daemon is still running${sandboxed ? '' : ' (without a sandbox)'}`
          : '',
    },
    {
      fixture: 'exceeds',
      version: '3',
      description: 'uses up memory',
      expected: 'memory',
      limits: { memory: 400 * MB },
    },
    {
      fixture: 'exceeds',
      version: '2',
      description: 'starts processes',
      expected: 'other',
      limits: { processes: 30 },
    },
    {
      fixture: 'exceeds',
      version: '6',
      description: 'opens files',
      expected: 'other',
      limits: { openFiles: 512 },
    },
    {
      fixture: 'shouts',
      version: '1024',
      description: 'prints 1 GB',
      expected: PURE,
      check: ({ output }) => (Buffer.byteLength(output) < 17 * MB ? '' : ', but its log is too long'),
    },
    {
      fixture: 'shouts',
      version: '1025',
      description: 'prints 1 GB, where long logs fail',
      expected: 'log-limit',
      limits: { logFails: true },
    },
    {
      fixture: 'peeks',
      description: 'reads the key, rewrites the code',
      expected: PURE,
      masked: [home],
      env: { PIW_TEST_SLAVE: `at:${home}` },
      check: ({ output }, sandboxed) => {
        const read = /can (?:read|write) the (?:key|code|home)/.exec(output)?.[0] ?? '';
        const changed = SLAVE_FILES.filter((file) => readFileSync(join(home, file), 'utf8') !== 'contents');
        return sandboxed ? [read, ...changed].filter((text) => text !== '').join(', ') : '';
      },
    },
    {
      fixture: 'fills',
      description: 'fills the disk',
      expected: 'disk',
      limits: { diskFree: bavail * bsize - 1024 * MB },
    },
    { fixture: 'poses', description: 'is another version', expected: 'bad-sdist' },
    { fixture: 'poses', version: '2.0', description: 'is another package', expected: 'bad-sdist' },
    { fixture: 'empties', description: 'makes no wheel', expected: 'no-wheel' },
    { fixture: 'empties', version: '2.0', description: 'makes an empty wheel', expected: 'wrong-wheel' },
    { fixture: 'lies', description: "a wheel's tags and name differ", expected: 'wrong-wheel' },
    { fixture: 'multiplies', description: 'makes two wheels', expected: `${PURE} py39-none-any` },
    {
      fixture: 'multiplies',
      version: '2.0',
      description: 'makes a wheel of another package',
      expected: 'wrong-wheel',
    },
    {
      fixture: 'asks-in-vain',
      description: 'requires a package that does not exist',
      expected: 'build-requirement',
    },
    { fixture: 'plain', version: '1!2.0', description: 'an epoch', expected: PURE },
    { fixture: 'plain', version: '3.0+local.1', description: 'a local version', expected: PURE },
    {
      fixture: 'calls',
      description: 'calls a server from each hook',
      expected: PURE,
      get env() {
        return { PIW_TEST_SERVER: `at:${serverAddress}` };
      },
      check: ({ output }, sandboxed) => {
        const expectedReach = sandboxed && network === 'requirements' ? 'does not reach it' : 'reaches it';
        const labels = ['asked', 'preparing', 'building', 'as a requirement:'];
        const missing = labels.find((label) => !output.includes(`${label} ${expectedReach}`));
        return missing === undefined ? '' : `, but not "${missing} ${expectedReach}"`;
      },
    },
  ];
  const fixtureKeys = new Set(sdists.map(({ fixture, version = '1.0' }) => `${fixture} ${version}`))
    .add('watched 1.0')
    .add('plain 1.0');
  const index = await IndexServer.start(
    [...fixtureKeys].map((key) => {
      const [fixture = '', version = ''] = key.split(' ');
      return packFixture(fixture, { version });
    }),
  );
  serverAddress = `127.0.0.1:${index.port}/simple/piw-fixture-plain`;
  return { sdists, url: index.url, stop: () => index.stop() };
}

/** Checks that the previous build was removed completely, whatever it had done to its home. */
const checkLeavesNothing = (folder: string) => (): string =>
  readdirSync(folder).filter((name) => name.startsWith('build-')).length > 1 ? ', but leaves folders' : '';
