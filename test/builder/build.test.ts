import { access, mkdir, readdir } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { packFixture } from '../helpers/sdist.js';
import { IndexServer } from './index-server.js';
import { interpreter, createTestBuilder } from './workshop.js';

const index = await IndexServer.start([
  packFixture('plain'),
  packFixture('plain', { version: '2.0', requiresPython: '>=99' }),
  packFixture('talks'),
  packFixture('litters'),
  packFixture('lies'),
  packFixture('multiplies'),
  ...['2.0', '3.0', '4.0'].map((version) => packFixture('multiplies', { version })),
  packFixture('needs-header'),
  packFixture('asks-in-vain'),
  packFixture('poses'),
  packFixture('poses', { version: '2.0' }),
  packFixture('empties'),
  packFixture('empties', { version: '2.0' }),
  packFixture('shouts', { version: '100' }),
]);
t.teardown(() => index.stop());

const exists = async (path: string): Promise<boolean> =>
  await access(path).then(
    () => true,
    () => false,
  );

t.test('a build returns the state of its wheel, which exists until it is cleaned up', async (t) => {
  const { builder, request, workDir, troubles } = createTestBuilder(t, index.url);
  const result = await builder.build(request('plain'));
  t.match(result, { status: true, failureClass: null }, result.output);
  const [file] = result.files;
  t.equal(result.files.length, 1);
  if (!file) return;
  const bytes = readFileSync(file.path);
  t.strictSame(
    { ...file, path: undefined },
    {
      filename: 'piw_fixture_plain-1.0-py3-none-any.whl',
      filesize: bytes.length,
      filehash: createHash('sha256').update(bytes).digest('hex'),
      package_tag: 'piw_fixture_plain',
      package_version_tag: '1.0',
      py_version_tag: 'py3',
      abi_tag: 'none',
      platform_tag: 'any',
      requires_python: '>=3.9',
      dependencies: { apt: [] },
      transferred: false,
      path: undefined,
    },
  );
  t.match(result.output, 'Successfully built piw-fixture-plain');
  await builder.clean();
  t.strictSame(await readdir(workDir), []);
  t.strictSame(troubles, []);
});

t.test(
  'lines are reported as they are written, and a log over the limit keeps its head and tail',
  async (t) => {
    const { builder, request } = createTestBuilder(t, index.url, { limits: { log: 16 * 1024 } });
    const lines: string[] = [];
    const { output, status } = await builder.build(
      request('talks', { onLine: (line) => void lines.push(line) }),
    );
    t.ok(status, output);
    t.equal(lines.filter((line) => line.includes('numbered')).length, 5000);
    const [head = '', missing = '', tail = ''] = output.split(
      /\npiw: ([\d,]+) bytes of the log are missing here\n/,
    );
    t.equal(Buffer.byteLength(head), 8 * 1024);
    t.equal(Buffer.byteLength(tail), 8 * 1024);
    t.match(head, 'numbered 00000001');
    t.match(tail, 'numbered 00004999');
    t.equal(Number(missing.replaceAll(',', '')) + 16 * 1024, Buffer.byteLength(`${lines.join('\n')}\n`));
  },
);

t.test('a build has its own environment, home and priority, and leaves nothing behind', async (t) => {
  process.env['PIW_TEST_SECRET'] = 'of the slave';
  const env = { PIP_RETRIES: '0', SSL_CERT_FILE: '/etc/ssl/certs/ca-certificates.crt' };
  const { builder, request, workDir, troubles } = createTestBuilder(t, index.url, {
    env,
    programs: ['/opt/rust/bin'],
    limits: { niceness: 7 },
  });
  const { output, status } = await builder.build(request('litters'));
  t.ok(status, output);
  const variables = new Map(
    [...output.matchAll(/env (\w+)=(.*)/g)].map(([, name = '', value = '']) => [name, value]),
  );
  t.notOk(variables.has('PIW_TEST_SECRET'));
  t.match(Object.fromEntries(variables), {
    LANG: 'C.UTF-8',
    SSL_CERT_FILE: env.SSL_CERT_FILE,
    GIT_TERMINAL_PROMPT: '0',
    GIT_ALLOW_PROTOCOL: 'file',
    PIWHEELS_BUILD: '1',
  });
  t.match(output, /an answer: ''\n.*has no terminal\n/s);
  for (const name of ['HOME', 'TMPDIR', 'XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME'])
    t.ok(variables.get(name)?.startsWith(`${workDir}/build-`), name);
  t.match(variables.get('PATH'), /:\/[^:]+:\/opt\/rust\/bin:\/usr\/local\/sbin:/);
  t.match(output, /nice \d+ umask 022/);
  t.ok(Number(/nice (\d+)/.exec(output)?.[1]) >= 7);
  t.ok(await exists(join(variables.get('HOME') ?? '', 'locked')));
  await builder.clean();
  t.notOk(await exists(variables.get('HOME') ?? ''));
  t.strictSame(await readdir(workDir), []);
  t.strictSame(troubles, []);
});

t.test('configured variables override the builder’s defaults, but not its own variables', async (t) => {
  const env = { PIP_RETRIES: '0', HOME: '/root', GIT_ALLOW_PROTOCOL: 'https', CFLAGS: '-O1 -DWORD="a b"' };
  const { builder, request, workDir } = createTestBuilder(t, index.url, { env });
  const { output } = await builder.build(request('litters'));
  t.match(output, /\n *env CFLAGS=-O1 -DWORD="a b"\n/);
  t.match(output, /\n *env GIT_ALLOW_PROTOCOL=https\n/);
  t.match(output, `env HOME=${workDir}/`);
});

t.test('the leftovers of a killed slave are removed, and the builds of a running one are not', async (t) => {
  const { builder, request, workDir } = createTestBuilder(t, index.url);
  const other = createTestBuilder(t, index.url, { workDir });
  const { files } = await other.builder.build(request('plain'));
  // No process has this id: it is above the maximum of Linux.
  await mkdir(join(workDir, 'build-4999999-1-abcdef', 'home'), { recursive: true });
  await mkdir(join(workDir, 'somebody-elses'));
  const { status } = await builder.build(request('plain'));
  t.ok(status);
  t.ok(await exists(files[0]?.path ?? ''));
  const names = await readdir(workDir);
  t.notOk(names.includes('build-4999999-1-abcdef'));
  t.ok(names.includes('somebody-elses'));
});

t.test('every wheel that a build made is reported, and no other file', async (t) => {
  const { builder, request } = createTestBuilder(t, index.url);
  const { files } = await builder.build(request('multiplies'));
  t.strictSame(
    files.map(({ filename }) => filename),
    ['piw_fixture_multiplies-1.0-py3-none-any.whl', 'piw_fixture_multiplies-1.0-py39-none-any.whl'],
  );
});

t.test('a wheel of another package makes the build a failure', async (t) => {
  const { builder, request } = createTestBuilder(t, index.url);
  const result = await builder.build(request('multiplies', { version: '2.0' }));
  t.match(result, { status: false, failureClass: 'wrong-wheel', files: [] });
  t.match(
    result.output,
    /^piw: .*six-2\.0-py3-none-any\.whl is not a wheel of piw-fixture-multiplies 2\.0$/m,
  );
});

t.test('a result that does not fit a message makes the build a failure', async (t) => {
  const { builder, request } = createTestBuilder(t, index.url);
  for (const [version, reason] of [
    ['3.0', /it made 101 wheels; the limit is 100/],
    ['4.0', /is not a wheel's filename/],
  ] as const) {
    const result = await builder.build(request('multiplies', { version }));
    t.match(result, { status: false, failureClass: 'wrong-wheel', files: [], output: reason }, result.output);
  }
});

t.test('a wheel whose tags differ from its filename makes the build a failure', async (t) => {
  const { builder, request } = createTestBuilder(t, index.url);
  const result = await builder.build(request('lies'));
  t.match(result, { status: false, failureClass: 'wrong-wheel', files: [] });
});

t.test('a pip that succeeds without making a wheel is a failure', async (t) => {
  const { builder, request } = createTestBuilder(t, index.url, {
    interpreter: { ...interpreter, path: '/bin/true' },
  });
  const result = await builder.build(request('plain'));
  t.match(result, { status: false, failureClass: 'no-wheel' });
  t.match(result.output, /^piw: piw-fixture-plain 1\.0 was not built: pip succeeded but made no wheel\n$/);
});

t.test('a backend that makes no wheel or an empty file makes the build a failure', async (t) => {
  const { builder, request } = createTestBuilder(t, index.url);
  for (const [version, failureClass] of [
    ['1.0', 'no-wheel'],
    ['2.0', 'wrong-wheel'],
  ] as const) {
    const result = await builder.build(request('empties', { version }));
    t.match(result, { status: false, failureClass, files: [] }, result.output);
  }
});

t.test('a source of another version or package than its filename says is a bad sdist', async (t) => {
  const { builder, request } = createTestBuilder(t, index.url);
  for (const [version, identity] of [
    ['1.0', '7\\.0'],
    ['2.0', 'six'],
  ] as const) {
    const result = await builder.build(request('poses', { version }));
    t.match(result, { status: false, failureClass: 'bad-sdist', files: [] }, result.output);
    t.match(result.output, new RegExp(`piw: .* its source identifies itself as ${identity}\\n$`));
  }
});

t.test('a build that prints a hundred MB succeeds, and its log stays within the limit', async (t) => {
  const { builder, request } = createTestBuilder(t, index.url, { limits: { log: 1024 * 1024 } });
  const { status, output } = await builder.build(request('shouts', { version: '100' }));
  t.ok(status, output.slice(-2000));
  t.ok(Buffer.byteLength(output) < 1024 * 1024 + 100);
  const [, missing] = /\npiw: ([\d,]+) bytes of the log are missing here\n/.exec(output) ?? [];
  t.ok(Number(missing?.replaceAll(',', '')) > 98_900_000, String(missing));
});

t.test('a missing interpreter is an error of the slave, not of the package', async (t) => {
  const path = '/nowhere/bin/python3';
  const { builder, request } = createTestBuilder(t, index.url, { interpreter: { ...interpreter, path } });
  await t.rejects(builder.build(request('plain')), { code: 'PIW_NO_PYTHON' });
});

t.test('a folder that cannot be written to is an error of the slave, too', async (t) => {
  const { builder, request } = createTestBuilder(t, index.url, { workDir: '/etc/passwd/nowhere' });
  await t.rejects(builder.build(request('plain')), { code: 'PIW_NOT_WRITABLE' });
});

t.test('an invalid package name or version never reaches pip', async (t) => {
  const { builder, request } = createTestBuilder(t, index.url);
  for (const overrides of [
    { package: '--help' },
    { package: '../evil' },
    { version: '1.0 --pre' },
    { version: '1.*' },
  ])
    await t.rejects(builder.build(request('plain', overrides)), { code: 'PIW_BAD_REQUIREMENT' });
});

t.test('a version that does not exist has no source', async (t) => {
  const { builder, request } = createTestBuilder(t, index.url);
  const result = await builder.build(request('plain', { version: '9.9' }));
  t.match(result, { status: false, failureClass: 'no-sdist', files: [] });
  t.match(
    result.output,
    /\npiw: piw-fixture-plain 9\.9 was not built: the index has no source distribution of this version\n$/,
  );
});

t.test('the file with the known hash is built, and its requirements need no hash', async (t) => {
  const spies = packFixture('spies');
  const login = { user: 'me', password: 'secret' };
  const index = await IndexServer.start([spies, packFixture('watched')], { login });
  t.teardown(() => index.stop());
  const { builder, request } = createTestBuilder(t, index.url);
  const result = await builder.build(request('spies', { sdistSha256: spies.sha256 }));
  t.ok(result.status, result.output);
});

t.test('no code of a file with a different hash is run', async (t) => {
  const { builder, request } = createTestBuilder(t, index.url);
  const lines: string[] = [];
  const result = await builder.build(
    request('talks', { sdistSha256: 'ab'.repeat(32), onLine: (line) => void lines.push(line) }),
  );
  t.match(result, { status: false, failureClass: 'hash-mismatch', files: [] });
  t.notMatch(lines.join('\n'), 'numbered');
});

t.test('a file that the index lists but does not have counts as no source', async (t) => {
  const plain = packFixture('plain');
  const index = await IndexServer.start([plain], { missingFiles: [plain] });
  t.teardown(() => index.stop());
  const { builder, request } = createTestBuilder(t, index.url);
  t.match(await builder.build(request('plain', { sdistSha256: plain.sha256 })), { failureClass: 'no-sdist' });
});

t.test('an index that answers with an unrelated page does not count as one without a source', async (t) => {
  for (const [emptyPageType, sdistSha256, expected] of [
    [
      'text/html',
      'ab'.repeat(32),
      { failureClass: 'index', output: /lists no files of it, although its source is known\n$/ },
    ],
    ['text/html', null, { failureClass: 'no-sdist' }],
    [
      'text/plain',
      null,
      { failureClass: 'index', output: /something other than an index page \(text\/plain\)\n$/ },
    ],
  ] as const) {
    const index = await IndexServer.start([packFixture('plain')], { emptyPageType });
    t.teardown(() => index.stop());
    const { builder, request } = createTestBuilder(t, index.url);
    t.match(await builder.build(request('plain', { sdistSha256 })), expected);
  }
});

t.test('a project with only wheels for other platforms has no source', async (t) => {
  const wheel = { ...packFixture('plain'), filename: 'piw_fixture_plain-1.0-cp27-none-win32.whl' };
  const index = await IndexServer.start([wheel]);
  t.teardown(() => index.stop());
  const { builder, request } = createTestBuilder(t, index.url);
  t.match(await builder.build(request('plain', { sdistSha256: wheel.sha256 })), { failureClass: 'no-sdist' });
});

t.test('a version for other Pythons is reported as such', async (t) => {
  const { builder, request } = createTestBuilder(t, index.url);
  t.match(await builder.build(request('plain', { version: '2.0' })), { failureClass: 'python-version' });
});

t.test('a missing header is named', async (t) => {
  const { builder, request } = createTestBuilder(t, index.url);
  const result = await builder.build(request('needs-header'));
  t.match(result, { status: false, failureClass: /missing-header|compiler/ });
  if (result.failureClass === 'missing-header')
    t.match(result.output, /\npiw: .* the header piw\/nowhere\.h,.*\n$/);
});

t.test('a requirement that the index does not have is named', async (t) => {
  const { builder, request } = createTestBuilder(t, index.url);
  const result = await builder.build(request('asks-in-vain'));
  t.match(result, { status: false, failureClass: 'build-requirement' });
  t.match(result.output, /\npiw: .* its build requires piw-fixture-nowhere>=2, .*\n$/);
});
