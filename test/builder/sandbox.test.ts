import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { confine, type Confinement } from '../../src/builder/sandbox.js';
import { packFixture } from '../helpers/sdist.js';
import { IndexServer } from './index-server.js';
import { interpreter, temporaryFolder, createTestBuilder } from './workshop.js';
import { processesWith } from '../helpers/proc.js';

const index = await IndexServer.start([
  packFixture('peeks'),
  packFixture('lingers', { version: '2.0' }),
  packFixture('litters'),
  packFixture('spies'),
  packFixture('watched'),
  packFixture('exceeds', { version: '7' }),
  packFixture('exceeds', { version: '8' }),
  packFixture('sheds'),
  packFixture('sheds', { version: '2.0' }),
]);
t.teardown(() => index.stop());

const BASE_OPTIONS = { mode: 'auto', network: 'on', interpreter, env: {}, masked: [] } as const;
/** How this machine confines builds: the tests below hold with and without bubblewrap. */
const machineConfinement = await confine({ ...BASE_OPTIONS, workDir: temporaryFolder(t) });
const sandboxed = machineConfinement.notice === undefined;
const needsSandbox = sandboxed
  ? false
  : 'needs bubblewrap (on Debian: apt install bubblewrap) and user namespaces';
t.comment(machineConfinement.notice ?? 'bubblewrap works here');

/** The files in a slave's home. */
const SLAVE_FILES = ['key', 'certificate', 'code/main.js'];

const readIfExists = (path: string): string | undefined =>
  existsSync(path) ? readFileSync(path, 'utf8') : undefined;

/** Creates a slave's files, and a builder that hides them if it can. */
async function setUpSlave(t: Parameters<typeof temporaryFolder>[0], network = 'on') {
  const home = temporaryFolder(t);
  const workDir = temporaryFolder(t);
  mkdirSync(join(home, 'code'));
  mkdirSync(join(workDir, 'build-of-another'));
  for (const file of SLAVE_FILES) writeFileSync(join(home, file), 'contents');
  const env = {
    PIP_RETRIES: '0',
    PIW_TEST_SLAVE: `at:${home}`,
    PIW_TEST_CERT: join(home, 'certificate'),
  };
  const masked = [home, join(home, 'key'), '/nowhere', '/'];
  const confinement = await confine({ ...BASE_OPTIONS, network, env, workDir, masked });
  return { ...createTestBuilder(t, index.url, { workDir, env, confinement }), confinement, home };
}

t.test('a build in a sandbox sees nothing of the slave, and without one its log says so', async (t) => {
  const { builder, request, home } = await setUpSlave(t);
  const { status, output } = await builder.build(request('peeks'));
  t.ok(status, output);
  for (const action of ['write its folder', 'write /tmp', 'write /dev/shm', 'read the certificate'])
    t.match(output, `can ${action}`);
  if (!sandboxed) {
    t.match(output, /^piw: this build runs without a sandbox: [^\n]+\n/);
    for (const action of ['read the key', 'write the code', 'write the home'])
      t.match(output, `can ${action}`);
    return;
  }
  t.notMatch(output, 'without a sandbox');
  for (const action of [
    'read the key',
    'write the key',
    'read the code',
    'write the code',
    'write the home',
    'write the system',
    'write /run',
    'write /dev',
    'write beside its folder',
    'make a device',
  ])
    t.match(output, `cannot ${action}`);
  for (const [file, contents] of [
    ...SLAVE_FILES.map((name) => [name, 'contents'] as const),
    ['mine', undefined] as const,
  ])
    t.equal(readIfExists(join(home, file)), contents, file);
  t.match(output, 'builds: 1\n');
  t.match(output, 'first process: bwrap');
});

t.test('a build without network access cannot reach its index', async (t) => {
  const { builder, request } = await setUpSlave(t, 'off');
  const { failureClass, output } = await builder.build(request('peeks'));
  t.equal(failureClass, sandboxed ? 'network' : null, output);
});

for (const mode of ['auto', 'none']) {
  const where = mode === 'auto' ? 'a sandbox' : 'a build without one';
  const onlyLinux = process.platform === 'linux' ? {} : { skip: 'needs Linux' };
  t.test(`a daemon that drops every mark of its build does not outlive ${where}`, onlyLinux, async (t) => {
    const workDir = temporaryFolder(t);
    const word = `piw-test-${mode}-${process.pid}`;
    const env = { PIP_RETRIES: '0', PIW_TEST_WORD: word };
    const confinement = await confine({ ...BASE_OPTIONS, mode, env, workDir });
    const { builder, request } = createTestBuilder(t, index.url, { workDir, confinement, env });
    const { status, output } = await builder.build(request('sheds'));
    t.ok(status, output);
    t.match(output, 'its daemon runs');
    t.strictSame(processesWith(word), []);

    const stop = new AbortController();
    const onLine = (line: string): void => {
      if (!line.includes('its daemon runs')) return;
      t.equal(processesWith(word).length, 1);
      stop.abort();
    };
    const result = await builder.build(request('sheds', { version: '2.0', signal: stop.signal, onLine }));
    t.match(result, { status: false, failureClass: 'killed' }, result.output);
    t.strictSame(processesWith(word), []);
  });
}

for (const mode of ['auto', 'none']) {
  const where = mode === 'auto' ? 'in a sandbox' : 'without one';
  t.test(
    `a build whose processes drop its mark cannot exceed its limits, ${where}`,
    { skip: process.platform !== 'linux' && 'needs Linux to measure what processes use' },
    async (t) => {
      const workDir = temporaryFolder(t);
      const confinement = await confine({ ...BASE_OPTIONS, mode, workDir });
      for (const [version, limits, failureClass] of [
        ['7', { processes: 30 }, 'other'],
        ['8', { memory: 400 * 1024 ** 2 }, 'memory'],
      ] as const) {
        const { builder, request } = createTestBuilder(t, index.url, { workDir, confinement, limits });
        const result = await builder.build(request('exceeds', { version, timeoutMs: 30_000 }));
        t.match(result, { failureClass }, result.output);
      }
    },
  );
}

t.test('builds work in a sandbox as they do without one', async (t) => {
  const { confinement, workDir } = await setUpSlave(t);
  const login = { user: 'me', password: 's3cret' };
  const protectedIndex = await IndexServer.start([packFixture('spies'), packFixture('watched')], { login });
  t.teardown(() => protectedIndex.stop());
  for (const [name, version, url] of [
    ['lingers', '2.0', index.url],
    ['litters', '1.0', index.url],
    ['spies', '1.0', protectedIndex.url],
  ] as const) {
    const { builder, request } = createTestBuilder(t, url, { workDir, confinement });
    const result = await builder.build(request(name, { version }));
    t.ok(result.status, result.output);
    t.equal(result.files.length, 1);
  }
});

t.test('a missing interpreter is an error of the slave, not a failed build', async (t) => {
  const { confinement, workDir } = await setUpSlave(t);
  const missing = { ...interpreter, path: '/nowhere/bin/python3' };
  const { builder, request } = createTestBuilder(t, index.url, {
    workDir,
    confinement,
    interpreter: missing,
  });
  await t.rejects(builder.build(request('peeks')), { code: 'PIW_NO_PYTHON' });
});

t.test('a sandbox that can no longer be created is an error of the slave', async (t) => {
  const confinement: Confinement = {
    notice: undefined,
    commandPrefix: () => ['/bin/sh', '-c', 'echo "bwrap: No permissions to create namespace"; exit 1'],
  };
  const { builder, request } = createTestBuilder(t, index.url, { confinement });
  await t.rejects(builder.build(request('peeks')), { code: 'PIW_CONFIG', message: /create namespace/ });
});

t.test(
  'programs that builds may use are visible in a masked folder, and nothing else is',
  { skip: needsSandbox },
  async (t) => {
    const home = temporaryFolder(t);
    const workDir = temporaryFolder(t);
    mkdirSync(join(home, 'rust/bin'), { recursive: true });
    mkdirSync(join(home, 'rust/lib'));
    for (const file of ['rust/bin/rustc', 'rust/lib/std', 'rust/token', 'key'])
      writeFileSync(join(home, file), '');
    const programs = [join(home, 'rust/bin')];
    const { commandPrefix } = await confine({ ...BASE_OPTIONS, workDir, masked: [home], programs });
    const folder = join(workDir, 'build');
    mkdirSync(join(folder, 'tmp'), { recursive: true });
    const [command, ...args] = [...commandPrefix(folder), 'find', home, '-type', 'f'];
    const visibleFiles = execFileSync(command, args, { encoding: 'utf8' }).trim().split('\n');
    t.strictSame(visibleFiles.sort(), [join(home, 'rust/bin/rustc'), join(home, 'rust/lib/std')]);
  },
);

t.test('the folder of an interrupted sandbox test has the name of a build folder', async (t) => {
  const workDir = temporaryFolder(t);
  const program = join(temporaryFolder(t), 'bwrap');
  writeFileSync(program, `#!/bin/sh\nls ${workDir} >&2\nexit 1\n`, { mode: 0o755 });
  const { notice } = await confine({ ...BASE_OPTIONS, workDir, program });
  t.match(notice, new RegExp(`: build-${process.pid}-\\d+-\\w{6}$`));
});

t.test('without a working bubblewrap the configuration decides whether to build', async (t) => {
  const workDir = temporaryFolder(t);
  for (const [program, reason] of [
    ['/nowhere/bwrap', /not installed/],
    ['/bin/false', /does not work here/],
  ] as const) {
    const { notice, commandPrefix } = await confine({ ...BASE_OPTIONS, workDir, program });
    t.match(notice, reason);
    t.notOk(commandPrefix(workDir).includes('bwrap'));
    await t.rejects(confine({ ...BASE_OPTIONS, mode: 'required', workDir, program }), {
      code: 'PIW_CONFIG',
      message: reason,
    });
  }
  t.match(
    (await confine({ ...BASE_OPTIONS, mode: 'none', workDir })).notice,
    /the configuration turns it off/,
  );
  await t.rejects(confine({ ...BASE_OPTIONS, mode: 'maybe', workDir }), { code: 'PIW_CONFIG' });
  await t.rejects(confine({ ...BASE_OPTIONS, network: 'some', workDir }), { code: 'PIW_CONFIG' });
  t.match(
    (await confine({ ...BASE_OPTIONS, mode: 'none', network: 'off', workDir })).notice,
    /it has network access/,
  );
});
