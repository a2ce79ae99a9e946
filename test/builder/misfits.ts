import { mkdirSync, readdirSync, readFileSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BuildRequest, BuildResult } from '../../src/builder/build.js';
import type { Limits } from '../../src/builder/limits.js';
import { packFixture } from '../helpers/sdist.js';
import { IndexServer } from './index-server.js';

/** An sdist of ours that does what none should, and what has to become of it. */
export interface Misfit {
  readonly fixture: string;
  readonly version?: string;
  readonly standsFor: string;
  /** Tags of the wheels, or a failure's class. */
  readonly expected: string;
  readonly limits?: Partial<Limits>;
  readonly masked?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly request?: Partial<BuildRequest>;
  /** What else is wrong; nothing if nothing is. */
  readonly check?: (result: BuildResult, walls: boolean) => string;
}

const MB = 1024 ** 2;
const PURE = 'py3-none-any';
const SECRETS = ['key', 'code/main.js'];

/** All of them, with an index that has them. */
export async function startMisfits(
  folder: string,
  network: string,
): Promise<{ readonly all: readonly Misfit[]; readonly url: string; stop(): Promise<void> }> {
  const home = join(folder, 'slave');
  mkdirSync(join(home, 'code'), { recursive: true });
  for (const file of SECRETS) writeFileSync(join(home, file), 'contents');
  const word = `piw-kinds-${String(process.pid)}`;
  const { bavail, bsize } = statfsSync(folder);
  let server = '';
  const all: Misfit[] = [
    { fixture: 'litters', standsFor: 'writes to HOME', expected: PURE, check: leavesNothing(folder) },
    { fixture: 'needs-header', standsFor: 'needs a header that is nowhere', expected: 'missing-header' },
    {
      ...{ fixture: 'talks', standsFor: 'has another hash', expected: 'hash-mismatch' },
      request: { sdistSha256: 'ab'.repeat(32) },
      check: ({ output }) => (output.includes('numbered') ? ', and its code was run' : ''),
    },
    {
      ...{ fixture: 'exceeds', version: '0', standsFor: 'sleeps', expected: 'timeout' },
      request: { timeoutMs: 8000 },
    },
    {
      ...{ fixture: 'exceeds', version: '0', standsFor: 'says nothing', expected: 'silent' },
      limits: { silenceMs: 8000 },
    },
    { fixture: 'lingers', version: '2.0', standsFor: 'leaves daemons', expected: PURE },
    {
      ...{ fixture: 'sheds', standsFor: 'a daemon that sheds session, folder and variables', expected: PURE },
      env: { PIW_TEST_WORD: word },
      check: (_result, walls) =>
        running(word) > 0 ? `, and its daemon runs on${walls ? '' : ' (without a sandbox)'}` : '',
    },
    {
      ...{ fixture: 'exceeds', version: '3', standsFor: 'eats memory', expected: 'memory' },
      limits: { memory: 400 * MB },
    },
    {
      ...{ fixture: 'exceeds', version: '2', standsFor: 'starts processes', expected: 'other' },
      limits: { processes: 30 },
    },
    {
      ...{ fixture: 'exceeds', version: '6', standsFor: 'opens files', expected: 'other' },
      limits: { openFiles: 512 },
    },
    {
      ...{ fixture: 'shouts', version: '1024', standsFor: 'prints 1 GB', expected: PURE },
      check: ({ output }) => (Buffer.byteLength(output) < 17 * MB ? '' : ', and its log is too long'),
    },
    {
      ...{ fixture: 'shouts', version: '1025', standsFor: 'prints 1 GB, which fails', expected: 'log-limit' },
      limits: { logFails: true },
    },
    {
      ...{ fixture: 'peeks', standsFor: 'reads the key, rewrites the code', expected: PURE },
      ...{ masked: [home], env: { PIW_TEST_SLAVE: `at:${home}` } },
      check: ({ output }, walls) => {
        const read = /can (?:read|write) the (?:key|code|home)/.exec(output)?.[0] ?? '';
        const changed = SECRETS.filter((file) => readFileSync(join(home, file), 'utf8') !== 'contents');
        return walls ? [read, ...changed].filter((text) => text !== '').join(', ') : '';
      },
    },
    {
      ...{ fixture: 'fills', standsFor: 'fills the disk', expected: 'disk' },
      limits: { diskFree: bavail * bsize - 1024 * MB },
    },
    { fixture: 'poses', standsFor: 'is another version', expected: 'bad-sdist' },
    { fixture: 'poses', version: '2.0', standsFor: 'is another package', expected: 'bad-sdist' },
    { fixture: 'empties', standsFor: 'makes no wheel', expected: 'no-wheel' },
    { fixture: 'empties', version: '2.0', standsFor: 'makes an empty wheel', expected: 'wrong-wheel' },
    { fixture: 'lies', standsFor: "a wheel's tags and name differ", expected: 'wrong-wheel' },
    { fixture: 'multiplies', standsFor: 'makes two wheels', expected: `${PURE} py39-none-any` },
    {
      ...{ fixture: 'multiplies', version: '2.0', standsFor: 'makes the wheel of another' },
      expected: 'wrong-wheel',
    },
    { fixture: 'asks-in-vain', standsFor: 'requires what is nowhere', expected: 'build-requirement' },
    { fixture: 'plain', version: '1!2.0', standsFor: 'an epoch', expected: PURE },
    { fixture: 'plain', version: '3.0+local.1', standsFor: 'a local version', expected: PURE },
    {
      ...{ fixture: 'calls', standsFor: 'calls a server from each hook', expected: PURE },
      get env() {
        return { PIW_TEST_SERVER: `at:${server}` };
      },
      check: ({ output }, walls) => {
        const said = walls && network === 'requirements' ? 'does not reach it' : 'reaches it';
        const labels = ['asked', 'preparing', 'building', 'as a requirement:'];
        const other = labels.find((label) => !output.includes(`${label} ${said}`));
        return other === undefined ? '' : `, and not "${other} ${said}"`;
      },
    },
  ];
  const keys = new Set(all.map(({ fixture, version = '1.0' }) => `${fixture} ${version}`))
    .add('watched 1.0')
    .add('plain 1.0');
  const index = await IndexServer.start(
    [...keys].map((key) => {
      const [fixture = '', version = ''] = key.split(' ');
      return packFixture(fixture, { version });
    }),
  );
  server = `127.0.0.1:${String(index.port)}/simple/piw-fixture-plain`;
  return { all, url: index.url, stop: () => index.stop() };
}

const running = (word: string): number =>
  readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(word);
    } catch {
      return false;
    }
  }).length;

/** The build before this one was cleaned up whole, whatever it had made of its home. */
const leavesNothing = (folder: string) => (): string =>
  readdirSync(folder).filter((name) => name.startsWith('build-')).length > 1 ? ', and leaves folders' : '';
