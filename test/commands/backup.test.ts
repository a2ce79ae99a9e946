import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { ProtocolClient } from '../../src/actor/client.js';
import { logBuilds } from '../../src/database/builds.js';
import { setPaused } from '../../src/database/control.js';
import { logEntries } from '../../src/database/downloads.js';
import { listTables } from '../../src/database/dump.js';
import { findLogs } from '../../src/database/logs.js';
import { schemaVersion } from '../../src/database/migrations.js';
import { skipPackage } from '../../src/database/packages.js';
import { Database } from '../../src/database/pool.js';
import { leaseBuilds } from '../../src/database/queue.js';
import { addReleases, deleteBuilds, skipVersion, yankVersion } from '../../src/database/versions.js';
import { fileToMessage } from '../../src/model/file-state.js';
import { fileJuggler } from '../../src/protocols/file-juggler.js';
import { DataFolder } from '../../src/servers/data-folder.js';
import { startPostgres } from '../../src/servers/postgres.js';
import { unprivilegedAccount } from '../../src/servers/privileges.js';
import { formatConfig } from '../../src/settings/config-file.js';
import { LogStretchBuilder } from '../../src/weblog/stretch.js';
import { testBus, until } from '../helpers/bus.js';
import { runHere } from '../helpers/command-here.js';
import { piwRunner, runTasks, type PiwRunner } from '../helpers/command.js';
import { emptyDatabase, testDatabase } from '../helpers/database.js';
import { MASTER_TASKS } from '../helpers/master.js';
import { memoryFolder } from '../helpers/memory-folder.js';
import { publish } from '../helpers/output-path.js';
import { nextBuilds } from '../helpers/random-farm.js';
import { PLATFORM, insertSlave, insertTarget, someBuild, someRelease } from '../helpers/rows.js';
import { fileStateOf, sha256 } from '../helpers/wheel.js';

t.setTimeout(300_000);
const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));
const FIXTURE = fileURLToPath(new URL('../../../test/fixtures/installation-of-schema-15/', import.meta.url));

const userOf = (dsn: string): string => decodeURIComponent(new URL(dsn).username);
const newFolder = (): string => mkdtempSync(join(memoryFolder(), 'piw-backup-'));

/** A database and an output path: a farm of which no process runs. */
interface Farm {
  readonly db: Database;
  readonly dsn: string;
  readonly output: string;
  readonly configFile: string;
  readonly piw: PiwRunner;
}

function farmWith({ db, dsn }: { db: Database; dsn: string }, output: string): Farm {
  const settings = { dsn, 'output-path': output, user: userOf(dsn), 'allow-superuser': true };
  const configFile = join(newFolder(), 'piwheels.conf');
  writeFileSync(configFile, formatConfig(settings));
  return { db, dsn, output, configFile, piw: piwRunner(settings) };
}

const emptyFarm = async (t: Test): Promise<Farm> =>
  farmWith(await emptyDatabase(t), join(newFolder(), 'www'));

/** Publishes a wheel as a successful build does. */
async function publishBuild(
  { db, output }: Farm,
  name: string,
  version: string,
  module = 'x',
): Promise<string> {
  const folder = join(output, 'simple', name);
  mkdirSync(folder, { recursive: true });
  const { filename, metadata_sha256 } = await publish(folder, {
    name,
    version,
    files: { [`${name}.py`]: Buffer.from(module) },
  });
  const file = { ...(await fileStateOf(join(folder, filename))), transferred: true };
  const files: [ReturnType<typeof fileToMessage>, string, null][] = [
    [fileToMessage(file), metadata_sha256, null],
  ];
  await logBuilds(db, [
    someBuild(version, {
      package: name,
      status: true,
      failure_class: null,
      output: `tab\there, back\\slash, Ünicode\nbuilt ${name}`,
      files,
    }),
  ]);
  return `${name}/${filename}`;
}

/** A farm in every state: built, failed, leased, skipped, yanked, downloaded and paused. */
async function busyFarm(t: Test): Promise<Farm> {
  const farm = farmWith(await testDatabase(t), join(newFolder(), 'www'));
  const { db } = farm;
  for (const abi of ['cp39', 'cp311']) await insertTarget(db, abi);
  for (const name of ['demo', 'other'])
    await addReleases(db, name, 'feed', [
      someRelease('1.0', { requires_python: '>=3.8' }),
      someRelease('2.0', { yanked: 'broken', requires_python: '>=3.10' }),
      someRelease('3.0'),
    ]);
  await addReleases(db, 'skipped', 'add', [someRelease('1.0')]);
  await skipPackage(db, 'skipped', 'why not');
  await publishBuild(farm, 'demo', '1.0');
  await publishBuild(farm, 'demo', '2.0');
  await publishBuild(farm, 'other', '1.0');
  await logBuilds(db, [
    someBuild('3.0', { output: 'failed\n' }),
    someBuild('3.0', { package: 'other', failure_class: 'network' }),
  ]);
  await skipVersion(db, 'other', '3.0', 'too large');
  await yankVersion(db, 'demo', '1.0', '');
  const slaveId = await insertSlave(db);
  const builds = await nextBuilds(db, 'cp39', PLATFORM, 1);
  await leaseBuilds(
    db,
    builds.map((build) => ({ ...build, slaveId, leaseS: 600 })),
    1,
  );
  const [position] = await findLogs(db, 'log', true);
  const stretch = new LogStretchBuilder(0, () => ['192.0.2.1', 'GB']);
  const agent = [null, null, null, null, null, null, null, null, null, null] as never;
  for (const at of [Date.UTC(2025, 10, 3), Date.UTC(2026, 0, 5)]) {
    stretch.add('downloads', at / 1000, 'h', 'demo-1.0-py3-none-any.whl', agent);
    stretch.add('pages', at / 1000, 'h', '/', agent);
  }
  await logEntries(db, stretch.build(position?.[0] ?? 0, 4, 'm'));
  await setPaused(db, 'cloud-gazer', true);
  return farm;
}

/** A busy farm for the tests that leave its database as it is. */
const sharedFarm = await busyFarm(t);

/** Tables in which a restored farm differs on purpose. */
const RENEWED: ReadonlySet<string> = new Set(['installation', 'fences', 'pages_backlog', 'listed_packages']);

/** Returns all rows of all other tables, as text. */
async function allRows(db: Database): Promise<Readonly<Record<string, readonly unknown[]>>> {
  const tables = (await listTables(db)).filter(({ name }) => !RENEWED.has(name));
  return Object.fromEntries(
    await Promise.all(
      tables.map(async ({ name }) => [
        name,
        await db.query(`select to_jsonb(r)::text as row from ${name} r order by 1`),
      ]),
    ),
  ) as Readonly<Record<string, readonly unknown[]>>;
}

/** Returns the digests of all published files, by path. */
function publishedFiles(output: string): Readonly<Record<string, string>> {
  const folder = join(output, 'simple');
  const paths = readdirSync(folder, { recursive: true }).map(String).sort();
  return Object.fromEntries(
    paths
      .filter((path) => /\.whl(\.metadata)?$/.test(path))
      .map((path) => [path, sha256(readFileSync(join(folder, path)))]),
  );
}

/** Returns the filenames that the database lists. */
const listedNames = async (db: Database) =>
  (await db.query<{ filename: string }>('select filename from files order by filename')).map(
    ({ filename }) => filename,
  );

/** Returns whether a backup that is running has written its database and begun with the wheels. */
const hasFileList = (folder: string, except: readonly string[] = []): boolean =>
  readdirSync(folder).some(
    (name) => !except.includes(name) && existsSync(join(folder, name, 'published-files.gz')),
  );

const jsonOf = (text: string): Readonly<Record<string, unknown>> =>
  JSON.parse(text) as Readonly<Record<string, unknown>>;

void t.test(
  'a farm is restored into an empty database and an empty folder: everything is there',
  async (t) => {
    const farm = sharedFarm;
    const folder = join(newFolder(), 'backup');
    const backup = await farm.piw('backup', folder);
    t.same([backup.code, backup.err], [0, '']);
    t.match(
      backup.out,
      /^Backed up the database \(\d+ rows\) and 3 published files \(.*\), 3 of them new, to /,
    );
    t.equal(statSync(folder).mode & 0o777, 0o700, 'only its owner can read it');
    const { state, configuration } = jsonOf(readFileSync(join(folder, 'piw-backup.json'), 'utf8')) as {
      state: string;
      configuration: readonly string[];
    };
    t.equal(configuration.length, 1);
    const [configFile = ''] = configuration;
    t.equal(
      readFileSync(join(folder, state, 'configuration', configFile), 'utf8'),
      readFileSync(configFile, 'utf8'),
    );
    for (const path of readdirSync(folder, { recursive: true }).map(String))
      t.equal(statSync(join(folder, path)).mode & 0o077, 0, path);

    const copy = await emptyFarm(t);
    const unconfirmed = await copy.piw('restore', folder);
    t.equal(unconfirmed.code, 1);
    t.match(unconfirmed.out, /role \S+ gets the rights of a master; 3 files \(.*\) go to /);
    t.match(unconfirmed.err, /nothing was restored/);
    const restored = await copy.piw('restore', folder, '--yes');
    t.same([restored.code, restored.err], [0, '']);

    t.same(await allRows(copy.db), await allRows(farm.db));
    t.same(publishedFiles(copy.output), publishedFiles(farm.output));
    t.equal(Object.keys(publishedFiles(copy.output)).length, 6);
    t.equal(statSync(join(copy.output, 'simple/demo/demo-1.0-py3-none-any.whl')).mode & 0o777, 0o644);
    t.same(await copy.db.query('select schema_version from configuration'), [
      { schema_version: schemaVersion() },
    ]);
    t.same(
      await copy.db.query(
        `select kind, argument from pages_backlog where kind <> 'PROJECT' or argument = 'skipped' order by 1, 2`,
      ),
      [
        ...['1', '2', '3', '4', '5'].map((argument) => ({ kind: 'LOG', argument })),
        { kind: 'PKG', argument: 'demo' },
        { kind: 'PKG', argument: 'other' },
        { kind: 'PROJECT', argument: 'skipped' },
      ],
    );
    t.same(
      await copy.db.query(`select 1 from pg_trigger where not tgisinternal and tgenabled <> 'O'`),
      [],
      'triggers are enabled again',
    );
    const idOf = async ({ db }: Farm) => (await db.query('select id::text from installation'))[0]?.['id'];
    t.not(await idOf(copy), await idOf(farm), 'it is another installation');
    // No number that the farm hands out after the backup is handed out by the restored one.
    for (const name of ['leases', 'serials']) {
      const next = async ({ db }: Farm) =>
        Number((await db.query(`select nextval('${name}') as next`))[0]?.['next']);
      t.ok((await next(copy)) > (await next(farm)) + 1e8, name);
    }
    await addReleases(copy.db, 'new', 'add', [someRelease('1.0')]);
    t.match(await copy.db.query(`select package_id from packages where package = 'new'`), [
      { package_id: 4 },
    ]);
  },
);

void t.test('a second backup copies what is new, and is complete as of its own moment', async (t) => {
  const farm = await busyFarm(t);
  const folder = newFolder();
  t.equal((await farm.piw('backup', folder)).code, 0);
  await publishBuild(farm, 'other', '2.0');
  await deleteBuilds(farm.db, 'demo', '1.0');
  rmSync(join(farm.output, 'simple/demo/demo-1.0-py3-none-any.whl'));
  // Same size and time, other contents: only --verify reads it.
  const kept = join(folder, 'simple/other/other-1.0-py3-none-any.whl');
  const { mtime } = statSync(kept);
  const bytes = readFileSync(kept);
  bytes[100] = 255 - (bytes[100] ?? 0);
  writeFileSync(kept, bytes);
  execFileSync('touch', ['-d', mtime.toISOString(), kept]);

  const second = await farm.piw('backup', folder, '--json');
  t.match(jsonOf(second.out), { files: 3, new_files: 1, removed: [], missing: [] });
  t.equal(readdirSync(folder).filter((name) => name.startsWith('state-')).length, 1);
  const copy = await emptyFarm(t);
  const refused = await copy.piw('restore', folder, '--yes');
  t.equal(refused.code, 1);
  t.match(
    refused.err,
    /^piw: 1 file can't be restored, for example other\/other-1\.0-py3-none-any\.whl\. Missing from .*, or damaged there\. .*--drop-missing.*\n$/,
  );
  t.notOk(existsSync(copy.output));
  t.same(await listTables(copy.db), [], 'nothing was changed');

  t.match(jsonOf((await farm.piw('backup', folder, '--verify', '--json')).out), { new_files: 1 });
  t.equal((await copy.piw('restore', folder, '--yes')).code, 0);
  t.same(await allRows(copy.db), await allRows(farm.db));
  t.same(
    publishedFiles(copy.output)['other/other-1.0-py3-none-any.whl'],
    publishedFiles(farm.output)['other/other-1.0-py3-none-any.whl'],
  );
  t.notOk(
    existsSync(join(copy.output, 'simple/demo/demo-1.0-py3-none-any.whl')),
    'what was removed stays removed',
  );
});

void t.test('a backup while wheels are published and removed is of one moment', async (t) => {
  const farm = await busyFarm(t);
  const folder = newFolder();
  const controller = new AbortController();
  const work = (async () => {
    for (let n = 0; !controller.signal.aborted; n += 1) {
      await addReleases(farm.db, 'demo', 'feed', [someRelease(`4.${n}`)]);
      await publishBuild(farm, 'demo', `4.${n}`);
      if (n % 2 === 0) continue;
      await deleteBuilds(farm.db, 'demo', `4.${n}`);
      for (const suffix of ['', '.metadata'])
        rmSync(join(farm.output, `simple/demo/demo-4.${n}-py3-none-any.whl${suffix}`));
    }
  })();
  for (let n = 0; n < 2; n += 1) {
    const { code, out, err } = await farm.piw('backup', folder, '--json');
    t.match([code, jsonOf(out)['missing']], [0, []], err);
  }
  controller.abort();
  await work;
  const copy = await emptyFarm(t);
  const { code, err } = await copy.piw('restore', folder, '--yes');
  t.equal(code, 0, err);
  const wheels = Object.keys(publishedFiles(copy.output)).filter((path) => path.endsWith('.whl'));
  t.same(await listedNames(copy.db), wheels.map((path) => basename(path)).sort());
  t.same(
    await copy.db.query('select value::int from figures_now where figure = $1', ['files']),
    [{ value: wheels.length }],
    'the sums are those of the same moment',
  );
});

void t.test('a backup that is killed leaves the earlier one, and the next completes it', async (t) => {
  const farm = await busyFarm(t);
  const folder = newFolder();
  const states = () => readdirSync(folder).filter((name) => name.startsWith('state-'));
  /** Kills a backup in the middle: it waits for a pipe in place of a new wheel, into which nobody writes. */
  const runHalf = async (version: string): Promise<void> => {
    await addReleases(farm.db, 'demo', 'feed', [someRelease(version)]);
    const wheel = join(farm.output, 'simple', await publishBuild(farm, 'demo', version));
    const contents = readFileSync(wheel);
    rmSync(wheel);
    execFileSync('mkfifo', [wheel]);
    const before = states();
    const child = spawn(process.execPath, [BIN, 'backup', folder, '-c', farm.configFile], {
      stdio: 'ignore',
    });
    const ended = new Promise((resolve) => child.once('close', resolve));
    await until(() => hasFileList(folder, before), 60_000);
    const second = await farm.piw('backup', folder);
    t.equal(second.code, 4);
    t.match(second.err, /is in use by another backup or restore \(process \d+\)/);
    child.kill('SIGKILL');
    await ended;
    rmSync(wheel);
    writeFileSync(wheel, contents);
  };

  await runHalf('5.0');
  const copy = await emptyFarm(t);
  const nothing = await copy.piw('restore', folder, '--yes');
  t.equal(nothing.code, 1);
  t.match(nothing.err, /^piw: .* contains no complete backup\. .*\n$/);

  t.equal((await farm.piw('backup', folder)).code, 0);
  t.equal(states().length, 1, 'leftovers are removed');
  const rows = await allRows(farm.db);
  const files = publishedFiles(farm.output);
  await runHalf('6.0');
  t.equal(states().length, 2);
  t.equal((await copy.piw('restore', folder, '--yes')).code, 0);
  t.same(await allRows(copy.db), rows);
  t.same(publishedFiles(copy.output), files);
});

void t.test('a target that is not empty, and a damaged backup, are refused with one line', async (t) => {
  const farm = sharedFarm;
  const folder = newFolder();
  t.equal((await farm.piw('backup', folder)).code, 0);
  const copy = await emptyFarm(t);
  mkdirSync(copy.output);
  writeFileSync(join(copy.output, 'precious'), '');
  const [state = ''] = readdirSync(folder).filter((name) => name.startsWith('state-'));
  const refusals: readonly (readonly [readonly string[], number, RegExp])[] = [
    [['restore', folder, '-y'], 1, /output path .* is not empty: it contains precious; --keep-files/],
    [['restore', folder, '-y', '-d', farm.dsn], 1, /database \S+ has tables already, for example builds\b/],
    [['restore', folder, '-y', '-u', 'nobody-of-that-name'], 3, /no role "nobody-of-that-name"/],
    [['restore', farm.output, '-y'], 1, /contains no complete backup/],
    [['restore', join(folder, 'nowhere'), '-y'], 1, /contains no complete backup/],
    [['restore', folder, '-y', '-o', join(copy.output, 'nowhere'), '--keep-files'], 2, /no output path/],
    [
      ['backup', farm.output, '-d', farm.dsn],
      1,
      /contains other files than a backup, for example index\.html/,
    ],
    [['backup', join(copy.output, 'backup')], 2, /the backup needs a folder outside the output path/],
    [['backup', newFolder()], 6, /the database has no tables yet/],
  ];
  const page = join(farm.output, 'index.html');
  writeFileSync(page, '');
  t.teardown(() => {
    rmSync(page);
  });
  for (const [args, code, pattern] of refusals) {
    const result = await copy.piw(...args);
    t.equal(result.code, code, result.err);
    t.match(result.err, pattern);
    t.match(result.err, /^piw: .*\n$/, 'one line');
  }
  rmSync(copy.output, { recursive: true });
  for (const name of [join(state, 'builds.copy.gz'), join(state, 'published-files.gz'), 'piw-backup.json']) {
    const path = join(folder, name);
    const contents = readFileSync(path);
    appendFileSync(path, 'x');
    const { code, err } = await copy.piw('restore', folder, '-y');
    t.equal(code, 1);
    t.match(err, new RegExp(`^piw: .*${basename(name)} is missing or damaged\\. .*\n$`));
    writeFileSync(path, contents);
  }
  t.same(await listTables(copy.db), [], 'nothing was changed');
  t.notOk(existsSync(copy.output));
});

void t.test('what is lost is dropped only if the administrator says so, and is built again', async (t) => {
  const farm = sharedFarm;
  const folder = newFolder();
  const wheel = join(farm.output, 'simple/demo/demo-2.0-py3-none-any.whl');
  renameSync(wheel, `${wheel}.away`);
  const backup = await farm.piw('backup', folder);
  renameSync(`${wheel}.away`, wheel);
  t.equal(backup.code, 1);
  t.match(backup.out, /^missing from the output path.*: demo\/demo-2\.0-py3-none-any\.whl$/m);
  rmSync(join(folder, 'simple/other/other-1.0-py3-none-any.whl'));
  const copy = await emptyFarm(t);
  t.match((await copy.piw('restore', folder, '-y')).err, /1 file can't be restored/);
  const restored = await copy.piw('restore', folder, '-y', '--drop-missing');
  t.equal(restored.code, 0, restored.err);
  t.match(restored.out, /^dropped, and built again: demo\/demo-2\.0/m);
  t.match(restored.out, /^dropped, and built again: other\/other-1\.0/m);
  t.same(await listedNames(copy.db), ['demo-1.0-py3-none-any.whl']);
  t.match(
    await copy.db.query(
      `select version, abi from queue join versions using (version_id) join packages p on p.package_id = versions.package_id
       join targets using (target_id) where package = 'other' and version = '1.0'`,
    ),
    [{ version: '1.0', abi: 'cp39' }],
  );
  t.same(await copy.db.query('select value::int from figures_now where figure = $1', ['files']), [
    { value: 1 },
  ]);
});

void t.test('a wheel that is removed during the backup is left out, and its record is dropped', async (t) => {
  const farm = await busyFarm(t);
  const folder = newFolder();
  // The backup waits for the pipe, which comes before the wheel that is removed.
  const pipe = join(farm.output, 'simple/demo/demo-1.0-py3-none-any.whl');
  rmSync(pipe);
  execFileSync('mkfifo', [pipe]);
  const running = farm.piw('backup', folder, '--json');
  await until(() => hasFileList(folder));
  await deleteBuilds(farm.db, 'demo', '2.0');
  rmSync(join(farm.output, 'simple/demo/demo-2.0-py3-none-any.whl'));
  // Not synchronously: the backup runs in this process, and may not have opened the pipe yet.
  await writeFile(pipe, '');
  const { code, out } = await running;
  t.equal(code, 1);
  t.match(jsonOf(out), {
    removed: ['demo/demo-2.0-py3-none-any.whl'],
    missing: ['demo/demo-1.0-py3-none-any.whl'],
  });
  const copy = await emptyFarm(t);
  const restored = await copy.piw('restore', folder, '-y', '--json');
  t.equal(restored.code, 0, restored.err);
  t.match(jsonOf(restored.out), {
    copied: 1,
    dropped: ['demo/demo-1.0-py3-none-any.whl', 'demo/demo-2.0-py3-none-any.whl'],
  });
  t.same(await listedNames(copy.db), ['other-1.0-py3-none-any.whl']);
});

void t.test(
  'with --keep-files, wheels of after the backup are listed, and piw import adopts them',
  async (t) => {
    const farm = await busyFarm(t);
    const folder = newFolder();
    t.equal((await farm.piw('backup', folder, '--no-files')).code, 0);
    t.notOk(existsSync(join(folder, 'simple')));
    await addReleases(farm.db, 'late', 'feed', [someRelease('1.0')]);
    const late = join(farm.output, 'simple', await publishBuild(farm, 'late', '1.0'));
    const demo = join(farm.output, 'simple/demo');
    writeFileSync(join(demo, 'demo-9.0-py3-none-any.whl'), 'not a zip archive');
    cpSync(late, join(demo, 'late-1.0-py3-none-any.whl'));
    const before = publishedFiles(farm.output);

    // The database is lost, the output path is not.
    const copy = farmWith(await emptyDatabase(t), farm.output);
    t.match(
      (await copy.piw('restore', folder, '-y', '-o', newFolder())).err,
      /3 files can't be restored.*--no-files/,
    );
    const restored = await copy.piw('restore', folder, '-y', '--keep-files');
    t.equal(restored.code, 0, restored.err);
    t.match(restored.out, /^The backup does not list these wheels\. The Slave Driver is paused/m);
    const command = /^piw (import --yes .*)$/m.exec(restored.out)?.[1];
    t.equal(command, `import --yes ${late}`);
    t.match(restored.out, /^can't be imported: .*demo-9\.0-py3-none-any\.whl: /m);
    t.match(
      restored.out,
      /^can't be imported: .*demo\/late-1\.0-py3-none-any\.whl: it is in the folder of demo$/m,
    );
    t.same(publishedFiles(farm.output), before, 'nothing was changed');

    // The restored database serves a farm on other NATS servers.
    const settings = { dsn: copy.dsn, 'output-path': copy.output, 'dev-mode': true };
    const taskSettings = runTasks(t, [...MASTER_TASKS, 'mr-chase'], settings);
    const bus = await testBus(t, taskSettings.prefix);
    const juggler = new ProtocolClient(bus, fileJuggler, undefined, { timeoutMs: 5000, patienceMs: 60_000 });
    await juggler.request('STATVFS', {});
    const piw = piwRunner(taskSettings);
    const imported = await piw('import', '--yes', late);
    t.equal(imported.code, 0, imported.err);
    t.same(publishedFiles(farm.output), before, 'it keeps its name and its contents');
    t.ok((await listedNames(copy.db)).includes(basename(late)));
    await until(() => existsSync(join(copy.output, 'simple/late/index.html')), 60_000);
    await until(async () => (await copy.db.query('select 1 from pages_backlog')).length === 0, 60_000);
    t.match(readFileSync(join(copy.output, 'simple/demo/index.html'), 'utf8'), /demo-2\.0-py3-none-any\.whl/);
    t.match(readFileSync(join(copy.output, 'simple/index.html'), 'utf8'), /demo/);
    t.same(await copy.db.query(`select task from paused_tasks order by task`), [
      { task: 'cloud-gazer' },
      { task: 'slave-driver' },
    ]);
  },
);

void t.test(
  'a farm on one machine is restored into a data folder, with the users of its slaves',
  async (t) => {
    const farm = sharedFarm;
    const data = newFolder();
    const users = join(data, 'nats-slaves.conf');
    const configFile = join(data, 'piwheels.conf');
    writeFileSync(users, 'the users');
    // A file that can't be read, even by root.
    const key = join(data, 'key');
    symlinkSync(key, key);
    const settings = {
      dsn: farm.dsn,
      'output-path': farm.output,
      'nats-users': users,
      'nats-key': key,
      watch: ['demo'],
    };
    writeFileSync(configFile, formatConfig(settings));
    const folder = newFolder();
    const backup = await runHere('backup', [folder, '-c', configFile]);
    t.equal(backup.code, 0);
    t.match(backup.err, `${key} can't be read, and is not in the backup: copy it yourself`);

    const parent = mkdtempSync(join(tmpdir(), 'piw-restored-'));
    chmodSync(parent, 0o755);
    const restoredPath = join(parent, 'data');
    const restored = await farm.piw('restore', folder, '-y', '--data-dir', restoredPath);
    t.equal(restored.code, 0, restored.err);
    t.equal(readFileSync(join(restoredPath, 'nats-slaves.conf'), 'utf8'), 'the users');
    t.match(readFileSync(join(restoredPath, 'piwheels.conf'), 'utf8'), /^watch = demo$/m);
    t.same(publishedFiles(join(restoredPath, 'www')), publishedFiles(farm.output));
    t.equal(statSync(join(restoredPath, 'www/simple/demo')).uid, statSync(restoredPath).uid);

    const dataFolder = DataFolder.open(restoredPath, unprivilegedAccount());
    const { dsn, process: server } = await startPostgres({
      folder: dataFolder,
      log: () => undefined,
      onFailure: (error) => t.fail(error.message),
      signal: new AbortController().signal,
    });
    // As the master's role.
    const db = await Database.open(dsn, 'test');
    t.same(await allRows(db), await allRows(farm.db));
    const again = await farm.piw('backup', newFolder(), '-d', dsn, '-o', join(restoredPath, 'www'));
    t.equal(again.code, 0, again.err);
    await db.query(`insert into packages (package, origin) values ('new', 'add')`);
    await db.close();
    await server.stop();
    dataFolder.close();
  },
);

void t.test('an ordinary role that owns the database restores a backup of an earlier version', async (t) => {
  const source = await emptyDatabase(t);
  const restoring = await Database.open(source.dsn, 'restore');
  await restoring.query(readFileSync(join(FIXTURE, 'database.sql'), 'utf8')).finally(() => restoring.close());
  const output = newFolder();
  execFileSync('tar', ['-xzf', join(FIXTURE, 'output.tar.gz'), '-C', output, '--no-same-owner']);
  const farm = farmWith(source, output);
  const folder = newFolder();
  const backup = await farm.piw('backup', folder, '--link');
  t.equal(backup.code, 0, backup.err);
  const [wheel = ''] = Object.keys(publishedFiles(output)).filter((path) => path.endsWith('.whl'));
  t.equal(statSync(join(folder, 'simple', wheel)).ino, statSync(join(output, 'simple', wheel)).ino);

  const { db, dsn } = await emptyDatabase(t);
  const role = `r${randomBytes(6).toString('hex')}`;
  const [row] = await db.query<{ name: string }>('select current_database() as name');
  await db.query(`create role ${role} login password 'a'`);
  t.teardown(async () => {
    await db.query(`reassign owned by ${role} to current_user`);
    await db.query(`drop owned by ${role}`);
    await db.query(`drop role ${role}`);
  });
  const url = new URL(dsn);
  url.username = role;
  url.password = 'a';
  await db.query('revoke create on schema public from public');
  const copy = farmWith({ db, dsn: url.href }, join(newFolder(), 'www'));
  const refused = await copy.piw('restore', folder, '-y');
  t.equal(refused.code, 2);
  t.match(
    refused.err,
    new RegExp(`role ${role} may not create tables in the database ${row?.name ?? ''}.*--owner`),
  );
  await db.query(`alter database ${row?.name ?? ''} owner to ${role}`);
  await db.query(`grant create on schema public to ${role}`);
  const restored = await copy.piw('restore', folder, '-y', '--json');
  t.equal(restored.code, 0, restored.err);
  t.match(jsonOf(restored.out), { copied: 6, kept: 0, dropped: [], unlisted: [] });
  t.same(publishedFiles(copy.output), publishedFiles(output));
  t.same(await db.query('select schema_version from configuration'), [{ schema_version: schemaVersion() }]);
  for (const [now, then] of [
    ['versions', 'versions'],
    ['builds', 'builds'],
    ['queue', 'queue'],
    ['published_files', 'published'],
  ] as const) {
    const count = async (database: Database, table: string) =>
      (await database.query(`select count(*)::int as rows from ${table}`))[0]?.['rows'];
    t.equal(await count(db, now), await count(source.db, then), now);
  }
});
