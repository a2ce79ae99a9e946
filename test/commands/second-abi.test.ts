/**
 * Runs one farm and one slave with two interpreters, this machine's CPython and PyPy. Each builds its own wheels, and
 * its pip installs them from the farm's index: for a package with an extension on both, and for one that is pure on
 * PyPy. PIW_TEST_REAL=NAME==VERSION replaces them with a package from PyPI:
 *
 *     PIW_TEST_REAL=bitarray==3.0.0 npm test -- second-abi
 *     PIW_TEST_REAL=markupsafe==3.0.2 npm test -- second-abi
 */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { ProtocolClient } from '../../src/actor/client.js';
import { probeInterpreter } from '../../src/builder/interpreter.js';
import { writeSampleIndex } from '../../src/farm/sample-index.js';
import { startWebServer } from '../../src/web/web-server.js';
import { control } from '../../src/protocols/control.js';
import { SimpleIndexClient } from '../../src/pypi/index-reader.js';
import { normalise } from '../../src/wheels/names.js';
import { natsAddress, uniquePrefix, testBus, until } from '../helpers/bus.js';
import { testDatabase } from '../helpers/database.js';
import { insertTarget } from '../helpers/rows.js';
import { packFixture } from '../helpers/sdist.js';

t.setTimeout(290_000);
const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));
const REAL_REQUIREMENT = process.env['PIW_TEST_REAL'];
const SAMPLE = 'piw-sample-native==1.0';
const FALLS_BACK = 'piw-fixture-falls-back==1.0';
const PACKAGES = REAL_REQUIREMENT === undefined ? [SAMPLE, FALLS_BACK] : [REAL_REQUIREMENT];
const PYTHONS = ['python3', 'pypy3'];

const missing = PYTHONS.filter((python) => spawnSync(python, ['-m', 'pip', '--version']).status !== 0);
const skip =
  missing.length > 0
    ? `needs ${missing.join(' and ')} with pip, not installed here (on Debian: apt install pypy3)`
    : false;

void t.test('CPython and PyPy each get their own wheel from one farm', { skip }, async (t) => {
  const { db, dsn } = await testDatabase(t);
  const prefix = uniquePrefix();
  const folder = mkdtempSync(join(tmpdir(), 'piw-second-abi-'));
  const serve = async (root: string): Promise<string> => {
    const server = await startWebServer({ root, host: '127.0.0.1', port: 0 });
    t.teardown(() => server.close());
    return `http://127.0.0.1:${server.port}/simple`;
  };
  const samples = join(folder, 'samples');
  writeSampleIndex(samples);
  const { name, filename, contents, sha256 } = packFixture('falls-back');
  const page = join(samples, 'simple', name);
  mkdirSync(page);
  writeFileSync(join(page, filename), contents);
  writeFileSync(join(page, 'index.html'), `<a href="${filename}#sha256=${sha256}">${filename}</a>`);
  const source = REAL_REQUIREMENT === undefined ? await serve(samples) : 'https://pypi.org/simple';
  const output = join(folder, 'www');
  const common = ['-c', '/dev/null', '--prefix', prefix, '--allow-root'];
  const run = (...args: readonly string[]) => {
    const child = spawn(process.execPath, [BIN, ...args, ...common], { stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    t.teardown(async () => {
      child.kill('SIGTERM');
      await ended;
    });
    return { ended, stderr: () => stderr };
  };
  const master = run(
    ...['master', '--nats', natsAddress(), '-d', dsn, '-o', output, '--allow-superuser', '--dev-mode'],
    ...['--register-targets', '--pypi-simple', source],
    ...PACKAGES.flatMap((requirement) => ['--watch', requirement]),
  );
  const slave = run(
    ...[
      'slave',
      '-m',
      natsAddress(),
      '--work-dir',
      join(folder, 'work'),
      '--label',
      'both',
      '--allow-exposed',
    ],
    ...PYTHONS.flatMap((python) => ['--python', python]),
  );
  const farmIndex = await serve(output);
  const interpreters = await Promise.all(PYTHONS.map((python) => probeInterpreter(python, {})));
  const listedFiles = async (packageName: string): Promise<readonly string[]> => {
    const project = await new SimpleIndexClient(farmIndex)
      .project(normalise(packageName))
      .catch(() => undefined);
    return project && 'files' in project ? project.files.map((file) => file.filename) : [];
  };
  for (const requirement of PACKAGES) {
    const [projectName = ''] = requirement.split('==');
    await until(async () => (await listedFiles(projectName)).length >= PYTHONS.length, 200_000).catch(
      (error: unknown) => {
        t.comment(`master's log:\n${master.stderr()}\nslave's log:\n${slave.stderr()}`);
        throw error;
      },
    );
    const wheels = await listedFiles(projectName);
    t.comment(wheels.join(' '));
    for (const { path, implementation, pyVersionTag, abiTag, platformTag } of interpreters) {
      const tags = `${pyVersionTag}-${abiTag}-${platformTag}`;
      const pure = implementation === 'PyPy' && !wheels.some((wheel) => wheel.endsWith(`-${tags}.whl`));
      if (REAL_REQUIREMENT === undefined)
        t.equal(pure, implementation === 'PyPy' && requirement === FALLS_BACK);
      const suffix = `-${pure ? 'py3-none-any' : tags}.whl`;
      t.ok(
        wheels.some((wheel) => wheel.endsWith(suffix)),
        `${requirement} for ${abiTag}`,
      );
      const site = join(folder, abiTag, projectName);
      const pip = ['-m', 'pip', 'install', '-q', '--no-deps', '--only-binary', ':all:', '--target', site];
      await promisify(execFile)(path, [...pip, '--index-url', farmIndex, '--no-cache-dir', requirement], {
        env: { PATH: process.env['PATH'], HOME: folder, PIP_CONFIG_FILE: '/dev/null' },
      });
      const module = projectName.replaceAll('-', '_');
      // Packages differ in which file is the compiled one; what matters is that the module can be imported and runs.
      const statement = `print(${requirement === SAMPLE ? 'm.hello(), ' : ''}m.__file__)`;
      const { stdout } = await promisify(execFile)(path, ['-c', `import ${module} as m; ${statement}`], {
        env: { PYTHONPATH: site },
      });
      t.comment(`${abiTag}: ${stdout.trim()}`);
      if (requirement === SAMPLE) t.match(stdout, /^compiled by piw /);
      t.match(stdout, site);
      const [info = ''] = readdirSync(site).filter((entry) => entry.endsWith('.dist-info'));
      t.match(readFileSync(join(site, info, 'WHEEL'), 'utf8'), `Tag: ${pure ? 'py3-none-any' : tags}`);
    }
  }

  await insertTarget(db, 'cp399', { platform: interpreters[0]?.platformTag ?? '' });
  t.same(
    await db.query(
      `select package, abi from queue join targets using (target_id) join versions using (version_id)
         join packages using (package_id) order by package desc`,
    ),
    PACKAGES.map((requirement) => ({ package: requirement.split('==')[0], abi: 'cp399' })),
    'a CPython that is registered later gets its own build of an extension',
  );

  const bus = await testBus(t, prefix);
  const desk = new ProtocolClient(bus, control, undefined, { timeoutMs: 10_000, patienceMs: 20_000 });
  await desk.request('QUIT', { task: '*', slaves: true });
  t.equal(await master.ended, 0, master.stderr());
  t.equal(await slave.ended, 0, slave.stderr());
});
