/** A sound installation of each kind has no finding; then one thing after the other is broken. */
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { CAST } from '../../actors/cast.js';
import { Bus } from '../../src/bus/bus.js';
import type { RawSettings } from '../../src/config.js';
import { schemaVersion } from '../../src/database/migrations.js';
import type { Role } from '../../src/doctor/check.js';
import { createContext, rolesOf } from '../../src/doctor/context.js';
import { examine } from '../../src/doctor/doctor.js';
import { farmIdentity } from '../../src/protocols/farm.js';
import { freePort } from '../../src/servers/ports.js';
import { loadSettings, traceSettings } from '../../src/settings/load.js';
import { settingsProblems } from '../../src/settings/problems.js';
import { natsAddress, testBus, uniquePrefix, until } from '../helpers/bus.js';
import { runTasks } from '../helpers/command.js';
import { emptyDatabase, testDatabase } from '../helpers/database.js';
import { hangingBuild, testSlave } from '../helpers/master.js';
import { natsBinary } from '../helpers/nats.js';
import { skipUnlessInstalled } from '../helpers/missing.js';
import { insertTarget } from '../helpers/rows.js';

t.setTimeout(300_000);

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const TASKS = CAST.map(({ task }) => task);
/** Those that a master needs to give a slave a build. */
const MASTER_TASKS = ['the-oracle', 'file-juggler', 'the-architect', 'slave-driver'];
/** Short, because what is unreachable in these tests stays so. */
const CONNECT_TIMEOUT_MS = 200;
const newFolder = (): string => mkdtempSync(join(tmpdir(), 'piw-doctor-'));

interface Installation {
  readonly roles: readonly Role[];
  readonly settings: RawSettings;
  readonly files?: readonly string[];
  readonly systemRoot?: string;
  /** The tasks that have to be at work. */
  readonly tasks?: readonly string[];
}

/** An index without projects. */
const index = createServer((_request, response) => {
  response.writeHead(404).end();
}).listen(0, '127.0.0.1');
await new Promise((resolve) => index.once('listening', resolve));
t.teardown(() => index.close());
const pypiSimple = `http://127.0.0.1:${(index.address() as AddressInfo).port}/simple`;
/** What is wrong with the clock of a machine for tests is not the concern of a test. */
const UNSYNCHRONISED = "clock: this machine's clock is not synchronised";

/**
 * Returns what the doctor finds: `check: problem`. Fails if a finding has no fix. Tests may run as root, and follow an
 * index of their own.
 */
async function findings(t: Test, installation: Installation): Promise<readonly string[]> {
  const { roles, settings, files = [], systemRoot = '/nowhere', tasks = TASKS } = installation;
  const context = createContext(
    {
      settings: loadSettings({ 'allow-root': true, 'pypi-simple': pypiSimple, ...settings }, '/dev/null'),
      roles: new Set(roles),
      files,
      root: ROOT,
      systemRoot,
    },
    CONNECT_TIMEOUT_MS,
  );
  const lines: string[] = [];
  try {
    for await (const { check, problem, fix } of examine(context, tasks)) {
      t.not(fix, '', problem);
      const line = `${check}: ${problem}`;
      if (!line.startsWith(UNSYNCHRONISED)) lines.push(line);
    }
  } finally {
    await context.close();
  }
  return lines;
}

/** Compares what the doctor finds with patterns, one for each finding. */
async function expectFindings(
  t: Test,
  installation: Installation,
  expected: readonly (string | RegExp)[],
): Promise<void> {
  const lines = await findings(t, installation);
  t.equal(lines.length, expected.length, lines.join('\n'));
  for (const [i, pattern] of expected.entries()) t.match(lines[i], pattern);
}

const problemsOf = (contents: string, environment = {}): readonly string[] => {
  const file = join(newFolder(), 'piwheels.conf');
  writeFileSync(file, contents);
  return settingsProblems([file], environment).map(({ message }) => message.replace(file, 'FILE'));
};

void t.test('every fault of a configuration is named, not only the first', (t) => {
  t.same(problemsOf('output-pth = /srv\noracles = many\nhello\ndsn-file = /nowhere\nwatch = six\n'), [
    'FILE, line 1: unknown setting "output-pth"; did you mean output-path?',
    'FILE, line 2: oracles = many: must be a whole number',
    'FILE, line 3: not of the form key = value',
    "the secret /nowhere can't be read: ENOENT: no such file or directory, stat '/nowhere'",
  ]);
  t.same(problemsOf('', { PIW_TIMOUT: '1h', PIW_ORACLES: '-1', HOME: '/root' }), [
    'unknown environment variable PIW_TIMOUT; did you mean PIW_TIMEOUT?',
    'PIW_ORACLES=-1: must be a whole number',
  ]);
  t.match(settingsProblems([newFolder()], {})[0]?.message, /can't be read: EISDIR/);
  t.same(problemsOf('watch = six\n', { PIW_TIMEOUT: '1h' }), []);
  t.end();
});

void t.test('what a machine is follows from its configuration', (t) => {
  const roles = (settings: RawSettings) => [...rolesOf(traceSettings(settings, '/dev/null'))];
  t.same(roles({}), ['master']);
  t.same(roles({ master: 'farm', 'slave-user': 'pi' }), ['builder']);
  t.same(roles({ dsn: 'postgres:///', 'public-url': 'https://farm/' }), ['master', 'web']);
  t.end();
});

void t.test('placeholders and readable secrets in the files of piw and of its servers', async (t) => {
  const systemRoot = newFolder();
  const folder = join(systemRoot, 'etc', 'nats');
  mkdirSync(folder, { recursive: true });
  const cluster = join(folder, 'cluster.conf');
  const own = join(systemRoot, 'piwheels.conf');
  writeFileSync(cluster, '# nats-1.example.org\nurl: "nats-route://route:ROUTE_SECRET@nats-1.farm:6222"\n', {
    mode: 0o600,
  });
  writeFileSync(own, 'nats = nats://admin:hunter2@farm\n', { mode: 0o600 });
  const examined = { roles: [], settings: {}, files: [own], systemRoot };
  await expectFindings(t, examined, [
    `placeholders: ${cluster}, line 2: "ROUTE_SECRET" of the sample was not replaced`,
  ]);
  writeFileSync(cluster, 'cluster { authorization { user: route, password: s3cret } }\n');
  await expectFindings(t, examined, []);
  chmodSync(cluster, 0o644);
  chmodSync(own, 0o644);
  await expectFindings(t, examined, [
    `secrets: ${own}, line 1: everybody can read the secret in it`,
    `secrets: ${cluster}, line 1: everybody can read the secret in it`,
  ]);
  writeFileSync(own, 'dsn-file = /etc/piwheels/dsn\n');
  writeFileSync(cluster, 'user: master, password: $PIW_MASTER_PASSWORD\n');
  await expectFindings(t, examined, []);
});

void t.test('faults of the database', async (t) => {
  const { db, dsn } = await testDatabase(t);
  const empty = await emptyDatabase(t);
  const settings: RawSettings = {
    dsn,
    nats: 'localhost:1',
    'output-path': newFolder(),
    'allow-superuser': true,
  };
  const expectDatabase = (changes: RawSettings, expected: readonly RegExp[]) =>
    expectFindings(t, { roles: ['master'], settings: { ...settings, ...changes } }, [/^nats: /, ...expected]);
  const changed = (change: (url: URL) => void) => {
    const url = new URL(dsn);
    change(url);
    return { dsn: url.href };
  };
  await expectDatabase({}, []);
  const role = `r${uniquePrefix()}`;
  await db.query(`create role ${role} login password 'a'`);
  t.teardown(() => db.query(`drop role ${role}`));
  await expectDatabase(
    changed((url) => Object.assign(url, { username: role, password: 'a' })),
    [/^schema: the role of the DSN may not write to the tables/],
  );
  await expectDatabase({ dsn: 'mysql://db' }, [/^database: the DSN is not of the form postgres:/]);
  await expectDatabase(
    changed((url) => (url.port = '1')),
    [/^database: .*ECONNREFUSED/],
  );
  await expectDatabase(
    changed((url) => (url.pathname = '/nowhere')),
    [/^database: PostgreSQL has no database "nowhere"/],
  );
  await expectDatabase(
    changed((url) => (url.username = 'nobody-of-that-name')),
    [/^database: PostgreSQL .*nobody-of-that-name/],
  );
  await expectDatabase({ dsn: empty.dsn }, [/^schema: the database has no tables yet/]);
  await expectDatabase({ 'allow-superuser': false }, [/^schema: the DSN's role is a PostgreSQL superuser/]);
  await db.query(`do $$ begin
    execute format('alter database %I set search_path = public, pg_catalog', current_database());
  end $$`);
  await db.query(`create function public.clock_timestamp() returns timestamptz language sql
    as $$ select pg_catalog.clock_timestamp() + interval '1 hour' $$`);
  await expectDatabase({}, [/^clock: the database's clock is 3\d{3} s ahead of this machine's/]);
  await db.query('drop function public.clock_timestamp()');
  await db.query('update configuration set schema_version = 1');
  await expectDatabase({}, [/^schema: the database is at schema version 1, but this piw needs/]);
  await db.query('update configuration set schema_version = $1', [schemaVersion() + 1]);
  await expectDatabase({}, [
    new RegExp(`^schema: the database is at schema version ${schemaVersion() + 1},`),
  ]);
  await db.query('alter table configuration drop column schema_version');
  await expectDatabase({}, [/^schema: the database \w+ contains tables of another program/]);
});

void t.test('faults of NATS, of the output path and of a farm that does not run', async (t) => {
  const { dsn } = await testDatabase(t);
  const folder = newFolder();
  const settings: RawSettings = {
    dsn,
    nats: natsAddress(),
    prefix: uniquePrefix(),
    'output-path': folder,
    'allow-superuser': true,
  };
  const expectMaster = (changes: RawSettings, expected: readonly (string | RegExp)[]) =>
    expectFindings(t, { roles: ['master'], settings: { ...settings, ...changes } }, expected);
  const asleep = /^farm: no master is running on prefix /;
  await expectMaster({}, [asleep]);
  const refused = new URL(natsAddress());
  refused.password = 'wrong';
  await expectMaster({ nats: refused.href }, [/^nats: .*it refuses these credentials/]);
  await expectMaster({ nats: 'nats://' }, [/^nats: .* is not a valid NATS address/]);
  const key = join(folder, 'master.nk');
  writeFileSync(key, 'SUAM\n', { mode: 0o644 });
  await expectMaster({ 'nats-key': key }, [/^nats: everybody can read the secret in .*: run chmod 600 /]);
  chmodSync(key, 0o600);
  await expectMaster({ 'nats-key': key }, [/^nats: /]);

  const port = await freePort();
  const plain = spawn(await natsBinary(t), ['-a', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' });
  t.teardown(() => plain.kill());
  // Waits until it has started.
  const address = `nats://127.0.0.1:${port}`;
  await (await Bus.connect({ address, name: t.name, patienceMs: 30_000 })).drain();
  await expectMaster({ nats: address }, [/^jetstream: JetStream is off/, asleep]);

  const bus = await testBus(t, uniquePrefix());
  const strangers = bus.subscribe(bus.subject(farmIdentity.name, 'WHO'));
  t.teardown(() => strangers.stop());
  const answering = (async () => {
    for await (const request of strangers)
      await request.respond(farmIdentity.packAnswer('WHO', { verb: 'BYE', reason: 'this farm is piw 9' }));
  })();
  await expectMaster({ prefix: bus.prefix }, [/^version: this farm is piw 9 /, asleep]);
  await strangers.stop();
  await answering;

  await expectMaster({ 'output-path': join(folder, 'none') }, [
    `output-path: the output path ${join(folder, 'none')} does not exist`,
    asleep,
  ]);
  await expectMaster({ 'output-path': key }, [/^output-path: .* is not a folder/, asleep]);
  await expectMaster({ 'tls-ca': key }, [/^tls: tls-ca: .* is not a certificate/, /^nats: /]);
});

void t.test('faults of TLS files', { skip: skipUnlessInstalled('openssl') }, async (t) => {
  const folder = newFolder();
  const issue = (name: string, days: number) => {
    const [cert, key] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
    const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    const args = [...request, '-days', String(days), '-subj', `/CN=${name}`, '-keyout', key, '-out', cert];
    execFileSync('openssl', args, { stdio: 'ignore' });
    return { 'tls-cert': cert, 'tls-key': key };
  };
  const [sound, short] = [issue('sound', 90), issue('short', 1)];
  const expectTls = (settings: RawSettings, expected: readonly RegExp[]) =>
    expectFindings(t, { roles: [], settings }, expected);
  await expectTls(sound, []);
  await expectTls(short, [/^tls: tls-cert: .*short\.pem expires on /]);
  await expectTls({ ...sound, 'tls-key': short['tls-key'] }, [
    /^tls: tls-key: .*short\.key does not belong to the certificate .*sound\.pem/,
  ]);
  await expectTls({ 'tls-cert': sound['tls-cert'] }, [/^tls: only one of tls-cert and tls-key is set/]);
  await expectTls({ ...sound, 'tls-key': sound['tls-cert'] }, [/^tls: tls-key: .* is not a private key/]);
});

void t.test('faults of the index, of a schema that takes no changes, and of the disk', async (t) => {
  const { db, dsn } = await testDatabase(t);
  const folder = newFolder();
  const settings: RawSettings = { dsn, nats: 'localhost:1', 'output-path': folder, 'allow-superuser': true };
  const expectMaster = (changes: RawSettings, expected: readonly (string | RegExp)[]) =>
    expectFindings(t, { roles: ['master'], settings: { ...settings, ...changes } }, [/^nats: /, ...expected]);
  await expectMaster({ 'pypi-simple': 'http://127.0.0.1:1/simple' }, [/^index: http:\S+ can't be read: /]);
  mkdirSync(join(folder, 'simple'));
  if (process.getuid?.() === 0) {
    chownSync(join(folder, 'simple'), 65534, 65534);
    await expectMaster({}, [
      `output-path: ${join(folder, 'simple')} belongs to another user (65534) than ${folder}`,
    ]);
    chownSync(join(folder, 'simple'), 0, 0);
  }
  await db.query(`do $$ begin
    execute format('alter database %I set default_transaction_read_only = on', current_database());
  end $$`);
  await expectMaster({}, [/^schema: the database \S+ takes no changes: default_transaction_read_only is on/]);
});

void t.test('faults of the log of the web server', async (t) => {
  const systemRoot = newFolder();
  const [sites, units] = ['nginx/sites-enabled', 'systemd/system'].map((path) =>
    join(systemRoot, 'etc', path),
  );
  if (sites === undefined || units === undefined) return;
  for (const folder of [sites, units]) mkdirSync(folder, { recursive: true });
  const [site, unit] = [join(sites, 'piwheels'), join(units, 'piw-logger.service')];
  const log = join(systemRoot, 'logs', 'piwheels.log');
  writeFileSync(site, `# access_log /other;\naccess_log ${log} piwheels;\naccess_log off;\n`);
  const expectWeb = (expected: readonly string[], settings: RawSettings = {}) =>
    expectFindings(t, { roles: ['web'], settings, systemRoot }, expected);
  await expectWeb([]);
  const start = 'ExecStart=/usr/bin/find /var/log/nginx ( -name piwheels.log ) -exec piw logger {} +';
  writeFileSync(unit, `[Service]\nUser=${userInfo().username}\n${start}\n`);
  await expectWeb([
    `web-log: nginx writes the log of the site to ${log} (${site}), and piw-logger.service reads another one`,
  ]);
  mkdirSync(`${unit}.d`);
  writeFileSync(join(`${unit}.d`, 'log.conf'), `[Service]\nExecStart=piw logger ${log}\n`);
  await expectWeb([`web-log: ${log}, the log of the site (${site}), does not exist`]);
  mkdirSync(dirname(log));
  writeFileSync(log, '');
  await expectWeb([]);
  chmodSync(log, 0);
  await expectWeb(
    process.getuid?.() === 0
      ? []
      : [
          `web-log: ${log}, the log of the site, can't be read by ${userInfo().username}, the user of piw-logger.service: ${log} does not permit it`,
        ],
  );
  chmodSync(log, 0o600);
  await expectWeb(
    [
      "web-log: the spool folder /dev/null/spool, in which piw logger keeps lines while the farm is down, can't be written",
    ],
    { spool: '/dev/null/spool' },
  );
});

void t.test('faults of a builder', async (t) => {
  const settings: RawSettings = {
    master: 'nats://pi:SUAM@localhost:1',
    'slave-user': 'pi',
    'work-dir': newFolder(),
    'allow-root': true,
    'allow-exposed': true,
    sandbox: 'none',
    'min-memory-free': 0,
    'min-disk-free': 1,
    'max-temperature': 0,
  };
  const expectBuilder = (changes: RawSettings, expected: readonly RegExp[]) =>
    expectFindings(t, { roles: ['builder'], settings: { ...settings, ...changes } }, [
      /^nats: /,
      ...expected,
    ]);
  await expectBuilder({}, []);
  await expectBuilder({ python: ['/nowhere/python3'] }, [
    /^build-tools: \/nowhere\/python3 cannot build wheels: there is no such program/,
  ]);
  await expectBuilder({ 'build-env': ['CC=/nowhere/cc'] }, [/^build-tools: .*no working C compiler/]);
  await expectBuilder({ 'min-disk-free': 2 ** 40 }, [
    /^resources: the slave would take no work: .* free disk/,
  ]);
  await expectBuilder({ 'min-memory-free': 2 ** 40 }, [/^resources: .* free memory/]);
  await expectBuilder({ sandbox: 'perhaps' }, [/^build-tools: sandbox = perhaps is not valid/]);
  const noCredentials = { ...settings, master: 'localhost:1' };
  t.match(await findings(t, { roles: ['builder'], settings: noCredentials }), [
    /^nats: the slave has no credentials: create them with piw slaves add/,
  ]);
});

void t.test('faults of a web server', async (t) => {
  const server = createServer((_request, response) => {
    response.writeHead(404).end();
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.teardown(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  await expectFindings(t, { roles: ['web'], settings: { 'public-url': url } }, [
    /^web: .*\/simple\/ is not a package index/,
  ]);
  await expectFindings(t, { roles: ['web'], settings: { 'public-url': 'http://127.0.0.1:1/' } }, [/^web: /]);
});

void t.test('a sound master has no finding; one without builds or builders has', async (t) => {
  const { db, dsn } = await testDatabase(t);
  const outputPath = newFolder();
  const settings = runTasks(t, MASTER_TASKS, { dsn, 'output-path': outputPath });
  const master: Installation = {
    roles: ['master'],
    // The tests' own role may create databases.
    settings: { ...settings, 'allow-superuser': true },
    tasks: MASTER_TASKS,
  };
  await until(async () => (await db.query('select 1 from installation where holder is not null')).length > 0);
  await expectFindings(t, master, [
    'farm: no ABI is registered, so nothing is built',
    'farm: no slave is connected, so nothing is built',
  ]);
  await insertTarget(db, 'cp39');
  await testSlave(t, settings.prefix, hangingBuild);
  const unregistered = 'farm: slave anvil gets no builds: its ABI cp311 on linux_x86_64 is not registered';
  await until(async () => (await findings(t, master)).includes(unregistered), 60_000);
  await insertTarget(db, 'cp311');
  await until(async () => (await findings(t, master)).length === 0, 60_000);
  await db.query(`update targets set skip = 'maintenance'`);
  t.same(await findings(t, master), ['farm: every registered ABI is skipped, so nothing is built']);
  await db.query('update targets set skip = null');
  await db.query(`insert into paused_tasks (task) values ('the-architect')`);
  t.same(await findings(t, master), ['farm: the-architect is paused']);
  await db.query('delete from paused_tasks');
  t.same(await findings(t, { ...master, tasks: [...MASTER_TASKS, 'the-baker'] }), [
    'farm: no process is at work as the-baker',
  ]);

  const other = await testDatabase(t);
  await expectFindings(t, { ...master, settings: { ...master.settings, dsn: other.dsn } }, [
    /^identity: prefix \S+ of these NATS servers belongs to installation /,
  ]);
});
