import { execFile, spawn } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { formatConfig } from '../../src/settings/config-file.js';
import { startWebServer } from '../../src/web/web-server.js';
import { natsAddress, uniquePrefix, until } from '../helpers/bus.js';
import type { CommandResult } from '../helpers/command-here.js';
import { piwRunner, runTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { insertTarget } from '../helpers/rows.js';
import { makeWheel, sha256 } from '../helpers/wheel.js';

t.setTimeout(200_000);
const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));
const run = promisify(execFile);

const PLAIN = 'demo-1.0-py3-none-any.whl';
const withBuildTag = (build: string) => `demo-1.0-${build}-py3-none-any.whl`;

/** Makes a wheel of demo 1.0 whose module contains `text`, and returns its path. */
async function makeDemoWheel(text: string, build?: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'piw-import-'));
  const files = {
    'demo.py': Buffer.from(`TEXT = ${JSON.stringify(text)}\n`),
    'demo-1.0.dist-info/RECORD': Buffer.from('demo.py,,\n'),
  };
  return await makeWheel(folder, { files, ...(build === undefined ? {} : { build }) });
}

/** Starts a `piw` process, which ends with the test. Returns a function that stops it with SIGTERM, and returns its exit code. */
function startPiw(t: Test, ...args: readonly string[]): () => Promise<number | null> {
  const child = spawn(process.execPath, [BIN, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  child.stderr.on('data', (data: Buffer) => {
    t.comment(data.toString().trimEnd());
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const stop = () => {
    child.kill('SIGTERM');
    return ended;
  };
  t.teardown(stop);
  return stop;
}

async function setUp(t: Test, extraSettings: Readonly<Record<string, string | boolean>> = {}) {
  const { db, dsn } = await testDatabase(t);
  await insertTarget(db, 'cp311');
  const root = mkdtempSync(join(tmpdir(), 'piw-import-'));
  const output = join(root, 'www');
  const folder = join(output, 'simple', 'demo');
  mkdirSync(folder, { recursive: true });
  const settings = {
    nats: natsAddress(),
    prefix: uniquePrefix(),
    dsn,
    'output-path': output,
    ...extraSettings,
  };
  const config = join(root, 'piwheels.conf');
  writeFileSync(config, formatConfig(settings));
  const piw = piwRunner(settings);
  return {
    db,
    output,
    folder,
    settings,
    config,
    piw,
    importWheel: async (path: string): Promise<CommandResult & { readonly files: readonly string[] }> => {
      const ran = await piw('import', '--yes', '--json', path);
      const files = ran.code === 0 ? (JSON.parse(ran.out) as { files: string[] }).files : [];
      return { ...ran, files };
    },
    publishedWheels: () => {
      const names = existsSync(folder) ? readdirSync(folder) : [];
      return names.filter((name) => name.endsWith('.whl')).sort();
    },
    /** Waits until the index lists exactly these wheels. */
    untilListed: (...names: readonly string[]) =>
      until(() => {
        const page = join(folder, 'index.v1_json');
        if (!existsSync(page)) return false;
        const { files } = JSON.parse(readFileSync(page, 'utf8')) as { files: { filename: string }[] };
        return String(files.map(({ filename }) => filename).sort()) === String([...names].sort());
      }, 60_000),
  };
}

void t.test('a wheel imported again gets a build tag, and pip installs the newest', async (t) => {
  const unreachableIndex = 'http://127.0.0.1:9/simple';
  const { db, output, folder, config, importWheel, piw, publishedWheels, untilListed } = await setUp(t, {
    'allow-root': true,
    'allow-superuser': true,
    'dev-mode': true,
    'watch-only': true,
    'pypi-simple': unreachableIndex,
  });
  const stopMaster = startPiw(t, 'master', '--one-process', '-c', config, '--rebuilt', 'tag');
  const web = await startWebServer({ root: output, host: '127.0.0.1', port: 0 });
  t.teardown(() => web.close());
  const index = `http://127.0.0.1:${web.port}/simple`;
  /** Returns the text of the module that pip installs from the farm. */
  const installedText = async (): Promise<string> => {
    const site = mkdtempSync(join(tmpdir(), 'piw-site-'));
    // Ignore this machine's pip configuration.
    const options = [
      '--isolated',
      '-q',
      '--no-deps',
      '--no-cache-dir',
      '--target',
      site,
      '--index-url',
      index,
    ];
    await run('python3', ['-m', 'pip', 'install', ...options, 'demo']);
    return /"(.+)"/.exec(readFileSync(join(site, 'demo.py'), 'utf8'))?.[1] ?? '';
  };

  t.same((await importWheel(await makeDemoWheel('the first'))).files, [PLAIN]);
  await untilListed(PLAIN);
  t.equal(await installedText(), 'the first');
  const second = await makeDemoWheel('the second');
  t.same((await importWheel(second)).files, [withBuildTag('1')]);
  await untilListed(PLAIN, withBuildTag('1'));
  t.equal(await installedText(), 'the second');
  const taggedWheel = await makeDemoWheel('one with a tag of its own', '9');
  t.same((await importWheel(taggedWheel)).files, [withBuildTag('9')]);
  const lastImport = await piw('import', '--yes', await makeDemoWheel('the last'));
  t.match(
    lastImport.out,
    `${PLAIN} is published as ${withBuildTag('10')}, because its own name stands for different contents.`,
  );
  await untilListed(PLAIN, withBuildTag('1'), withBuildTag('9'), withBuildTag('10'));
  t.equal(await installedText(), 'the last', 'build tag 10 is newer than 9');
  t.same(
    (await importWheel(second)).files,
    [withBuildTag('1')],
    'a wheel that is already published gets no further name',
  );
  t.equal(publishedWheels().length, 4);
  for (const name of publishedWheels()) t.ok(readdirSync(folder).includes(`${name}.metadata`), name);
  const rows = await db.query<{ filename: string; sha256: string }>('select filename, sha256 from files');
  for (const row of rows)
    t.equal(
      sha256(readFileSync(join(folder, row.filename))),
      row.sha256,
      `${row.filename} has the recorded hash`,
    );
  t.equal(rows.length, 4);

  t.match(await piw('remove', '--yes', 'demo', '1.0'), { code: 0 });
  t.same(publishedWheels(), []);
  const newFilename = (await importWheel(await makeDemoWheel('a new one'))).files[0] ?? '';
  t.notOk(
    rows.some(({ filename }) => filename === newFilename),
    'a name is never used again for different bytes',
  );
  await untilListed(newFilename);
  t.equal(await installedText(), 'a new one');
  t.equal(await stopMaster(), 0, 'SIGTERM ends the master');
});

void t.test(
  'a separate File Juggler refuses a changed wheel unless --on-duplicate-filename=tag is set',
  async (t) => {
    const { settings, config, importWheel, publishedWheels } = await setUp(t);
    runTasks(t, ['the-oracle', 'mr-chase', 'the-secretary', 'the-scribe'], settings, {
      prefix: settings.prefix,
    });
    const stop = startPiw(t, 'actor', 'file-juggler', '-c', config);
    t.same((await importWheel(await makeDemoWheel('the first'))).files, [PLAIN]);
    const refused = await importWheel(await makeDemoWheel('the second'));
    t.match(refused, {
      code: 1,
      err: /is already published, with different contents.*on-duplicate-filename = tag/,
    });
    t.same(publishedWheels(), [PLAIN]);
    await stop();
    startPiw(t, 'actor', 'file-juggler', '-c', config, '--on-duplicate-filename=tag');
    t.same((await importWheel(await makeDemoWheel('the second'))).files, [withBuildTag('1')]);
    t.same(publishedWheels(), [withBuildTag('1'), PLAIN]);
  },
);

/** Starts a farm that takes imports and writes no pages, with CPython 3.11 and 3.9. */
async function setUpImports(t: Test) {
  const stage = await setUp(t);
  await insertTarget(stage.db, 'cp39');
  runTasks(t, ['the-oracle', 'mr-chase', 'file-juggler'], stage.settings, { prefix: stage.settings.prefix });
  const folder = mkdtempSync(join(tmpdir(), 'piw-import-'));
  const builds = () =>
    stage.db.query(
      `select package, version, abi, b.status, duration::text, output, array_agg(filename order by filename) as files
       from builds b join versions v using (version_id) join packages using (package_id)
         join targets using (target_id) join files f using (build_id)
       group by b.build_id, package, version, abi order by build_id`,
    );
  return { ...stage, folder, builds };
}

void t.test(
  'the files of an import are one build, of the package, version, ABI, duration and log that are given',
  async (t) => {
    const { piw, folder, builds, output } = await setUpImports(t);
    const log = join(folder, 'log.txt');
    writeFileSync(log, 'a log of our own\n');
    const [first, second] = [
      await makeWheel(folder, { name: 'first', version: '1.0' }),
      await makeWheel(folder, { name: 'second', version: '2.0' }),
    ];
    t.match(await piw('import', '-y', first, second), {
      code: 0,
      out: 'Imported 2 files as first 1.0.\n',
    });
    const files = ['first-1.0-py3-none-any.whl', 'second-2.0-py3-none-any.whl'];
    const derived = { package: 'first', version: '1.0', abi: 'cp39', status: true, duration: '00:00:00' };
    t.same(
      await builds(),
      [{ ...derived, output: 'Imported manually by piw import.\n', files }],
      'package and version are those of the first file, and the ABI is the lowest',
    );
    t.same(
      readdirSync(join(output, 'simple', 'first'))
        .filter((name) => name.endsWith('.whl'))
        .sort(),
      files,
    );

    const third = await makeWheel(folder, { name: 'third', version: '3.0' });
    const identity = ['--package', 'Other.Name', '--package-version', '7.1', '--abi', 'cp311'];
    t.match(await piw('import', '-y', third, ...identity, '--duration', '1h30m', '--output', log), {
      code: 0,
      out: 'Imported 1 file as other-name 7.1.\n',
    });
    t.same((await builds())[1], {
      package: 'other-name',
      version: '7.1',
      abi: 'cp311',
      status: true,
      duration: '01:30:00',
      output: 'a log of our own\n',
      files: ['third-3.0-py3-none-any.whl'],
    });

    const tagged = await makeWheel(folder, { name: 'tagged', tag: 'cp311-cp311-linux_x86_64' });
    t.match(await piw('import', '-y', tagged), { code: 0 });
    t.match((await builds())[2], { abi: 'cp311' }, 'the ABI in the name of the file');
  },
);

void t.test('--delete deletes the files of a successful import, and of no other', async (t) => {
  const { piw, folder, builds } = await setUpImports(t);
  const wheel = await makeWheel(folder);
  const failures = [
    [['--abi', 'cp398', wheel], 1, /^piw: the ABI cp398 is not registered\./],
    [['-d', wheel], 1, /^piw: nothing was imported\. Answer y at the terminal, or pass --yes\./],
    [['-y', '-d', '--abi', 'cp399', wheel], 1, /^piw: the ABI cp399 is not registered\. /],
    [['-y', '-d', '--output', join(folder, 'none.txt'), wheel], 2, /none\.txt can't be read/],
    [['-y', '-d', wheel, join(folder, 'none-1.0-py3-none-any.whl')], 2, /none-1\.0-py3-none-any\.whl/],
  ] as const;
  for (const [args, code, err] of failures) {
    const ran = await piw('import', ...args);
    t.match(ran, { code, out: '', err }, args.join(' '));
    t.ok(existsSync(wheel), args.join(' '));
  }
  t.same(await builds(), []);
  const copy = join(mkdtempSync(join(tmpdir(), 'piw-import-')), basename(wheel));
  copyFileSync(wheel, copy);
  t.match(await piw('import', '--yes', '--delete', wheel), { code: 0 });
  t.notOk(existsSync(wheel));
  t.match(await builds(), [{ package: 'demo', version: '1.0' }]);
  t.match(await piw('import', '--yes', '--delete', copy), {
    code: 0,
    out: 'demo 1.0 is published with the same 1 file already.\n',
  });
  t.notOk(existsSync(copy), 'it is safe to delete');
  t.equal((await builds()).length, 1, 'an import that is repeated logs no second build');
});

void t.test(
  'every command rejects an unknown value of --on-duplicate-filename, under its former name, too',
  async (t) => {
    const piw = piwRunner({});
    for (const command of [['master'], ['actor', 'file-juggler'], ['farm']])
      for (const option of ['--on-duplicate-filename', '--rebuilt'])
        t.match(
          await piw(...command, option, 'replace'),
          { code: 2, err: /refuse, tag/ },
          [...command, option].join(' '),
        );
  },
);
