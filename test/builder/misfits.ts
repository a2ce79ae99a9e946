import { mkdirSync, readdirSync, readFileSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BuildRequest, BuildResult } from '../../src/builder/build.js';
import type { BuildLimits } from '../../src/builder/limits.js';
import { packFixture } from '../helpers/sdist.js';
import { IndexServer } from './index-server.js';

/** An sdist of ours that does what none should, and what has to become of it. */
export interface MisbehavingSdist {
  readonly fixture: string;
  readonly version?: string;
  readonly description: string;
  /** Tags of the wheels, or a failure's class. */
  readonly expected: string;
  readonly limits?: Partial<BuildLimits>;
  readonly masked?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly request?: Partial<BuildRequest>;
  /** What else is wrong; nothing if nothing is. */
  readonly check?: (result: BuildResult, sandboxed: boolean) => string;
}

const MB = 1024 ** 2;
const PURE = 'py3-none-any';
const SLAVE_FILES = ['key', 'code/main.js'];

/** All of them, with an index that has them. */
export async function startMisbehavingIndex(
  folder: string,
  network: string,
): Promise<{ readonly sdists: readonly MisbehavingSdist[]; readonly url: string; stop(): Promise<void> }> {
  const home = join(folder, 'slave');
  mkdirSync(join(home, 'code'), { recursive: true });
  for (const file of SLAVE_FILES) writeFileSync(join(home, file), 'contents');
  const daemonWord = `piw-kinds-${String(process.pid)}`;
  const { bavail, bsize } = statfsSync(folder);
  let serverAddress = '';
  const sdists: MisbehavingSdist[] = [
    { fixture: 'litters', description: 'writes to HOME', expected: PURE, check: checkLeavesNothing(folder) },
    { fixture: 'needs-header', description: 'needs a header that is nowhere', expected: 'missing-header' },
    {
      ...{ fixture: 'talks', description: 'has another hash', expected: 'hash-mismatch' },
      request: { sdistSha256: 'ab'.repeat(32) },
      check: ({ output }) => (output.includes('numbered') ? ', and its code was run' : ''),
    },
    {
      ...{ fixture: 'exceeds', version: '0', description: 'sleeps', expected: 'timeout' },
      request: { timeoutMs: 8000 },
    },
    {
      ...{ fixture: 'exceeds', version: '0', description: 'says nothing', expected: 'silent' },
      limits: { silenceMs: 8000 },
    },
    { fixture: 'lingers', version: '2.0', description: 'leaves daemons', expected: PURE },
    {
      ...{
        fixture: 'sheds',
        description: 'a daemon that sheds session, folder and variables',
        expected: PURE,
      },
      env: { PIW_TEST_WORD: daemonWord },
      check: (_result, sandboxed) =>
        countProcesses(daemonWord) > 0
          ? `, and its daemon runs on${sandboxed ? '' : ' (without a sandbox)'}`
          : '',
    },
    {
      ...{ fixture: 'exceeds', version: '3', description: 'eats memory', expected: 'memory' },
      limits: { memory: 400 * MB },
    },
    {
      ...{ fixture: 'exceeds', version: '2', description: 'starts processes', expected: 'other' },
      limits: { processes: 30 },
    },
    {
      ...{ fixture: 'exceeds', version: '6', description: 'opens files', expected: 'other' },
      limits: { openFiles: 512 },
    },
    {
      ...{ fixture: 'shouts', version: '1024', description: 'prints 1 GB', expected: PURE },
      check: ({ output }) => (Buffer.byteLength(output) < 17 * MB ? '' : ', and its log is too long'),
    },
    {
      ...{
        fixture: 'shouts',
        version: '1025',
        description: 'prints 1 GB, which fails',
        expected: 'log-limit',
      },
      limits: { logFails: true },
    },
    {
      ...{ fixture: 'peeks', description: 'reads the key, rewrites the code', expected: PURE },
      ...{ masked: [home], env: { PIW_TEST_SLAVE: `at:${home}` } },
      check: ({ output }, sandboxed) => {
        const read = /can (?:read|write) the (?:key|code|home)/.exec(output)?.[0] ?? '';
        const changed = SLAVE_FILES.filter((file) => readFileSync(join(home, file), 'utf8') !== 'contents');
        return sandboxed ? [read, ...changed].filter((text) => text !== '').join(', ') : '';
      },
    },
    {
      ...{ fixture: 'fills', description: 'fills the disk', expected: 'disk' },
      limits: { diskFree: bavail * bsize - 1024 * MB },
    },
    { fixture: 'poses', description: 'is another version', expected: 'bad-sdist' },
    { fixture: 'poses', version: '2.0', description: 'is another package', expected: 'bad-sdist' },
    { fixture: 'empties', description: 'makes no wheel', expected: 'no-wheel' },
    { fixture: 'empties', version: '2.0', description: 'makes an empty wheel', expected: 'wrong-wheel' },
    { fixture: 'lies', description: "a wheel's tags and name differ", expected: 'wrong-wheel' },
    { fixture: 'multiplies', description: 'makes two wheels', expected: `${PURE} py39-none-any` },
    {
      ...{ fixture: 'multiplies', version: '2.0', description: 'makes the wheel of another' },
      expected: 'wrong-wheel',
    },
    { fixture: 'asks-in-vain', description: 'requires what is nowhere', expected: 'build-requirement' },
    { fixture: 'plain', version: '1!2.0', description: 'an epoch', expected: PURE },
    { fixture: 'plain', version: '3.0+local.1', description: 'a local version', expected: PURE },
    {
      ...{ fixture: 'calls', description: 'calls a server from each hook', expected: PURE },
      get env() {
        return { PIW_TEST_SERVER: `at:${serverAddress}` };
      },
      check: ({ output }, sandboxed) => {
        const expectedReach = sandboxed && network === 'requirements' ? 'does not reach it' : 'reaches it';
        const labels = ['asked', 'preparing', 'building', 'as a requirement:'];
        const other = labels.find((label) => !output.includes(`${label} ${expectedReach}`));
        return other === undefined ? '' : `, and not "${other} ${expectedReach}"`;
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
  serverAddress = `127.0.0.1:${String(index.port)}/simple/piw-fixture-plain`;
  return { sdists, url: index.url, stop: () => index.stop() };
}

const countProcesses = (word: string): number =>
  readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(word);
    } catch {
      return false;
    }
  }).length;

/** The build before this one was cleaned up whole, whatever it had made of its home. */
const checkLeavesNothing = (folder: string) => (): string =>
  readdirSync(folder).filter((name) => name.startsWith('build-')).length > 1 ? ', and leaves folders' : '';
