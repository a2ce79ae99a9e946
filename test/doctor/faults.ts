/** What can be wrong with an installation, for test/doctor/broken-installations.ts. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import {
  createServer,
  request,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { applyMigrations, migrate, schemaVersion } from '../../src/database/migrations.js';
import { Database } from '../../src/database/pool.js';
import type { Role } from '../../src/doctor/check.js';
import { freePort } from '../../src/servers/ports.js';
import { findPostgres } from '../../src/servers/postgres-binaries.js';
import { chownTo, runAs } from '../../src/servers/privileges.js';
import { until } from '../helpers/bus.js';
import { skipUnlessInstalled } from '../helpers/missing.js';
import { PEER_ROLE, type Changes, type SoundInstallation, type View } from './sound-installation.js';

export interface Fault {
  readonly title: string;
  readonly role: Role;
  /** Settings that are changed; null removes one. */
  readonly settings?: (site: SoundInstallation) => Changes;
  /** How the machine looks to the doctor. */
  readonly view?: View;
  /** Breaks something; may return a view, or a promise of one. */
  readonly break?: (site: SoundInstallation) => unknown;
  /** Repairs what `break` has broken, also if the doctor's command has done so before. */
  readonly restore?: (site: SoundInstallation) => unknown;
  /** What the doctor's first line must say, and what fix. */
  readonly problem: RegExp;
  readonly fix: RegExp;
  /** What its further lines must say: the consequences. */
  readonly also?: readonly RegExp[];
  /** Whether the fix, or its part before ", or", is a shell command that can be run here. */
  readonly isCommand?: boolean;
  /** What the doctor says after the fix: that it would be a new farm, which has no master yet. */
  readonly remains?: RegExp;
  /** Returns what this machine lacks; undefined if nothing. */
  readonly lacks?: () => string | undefined;
}

const NOBODYS_PORT = 1;
const otherInstallation = /^identity: prefix piw of these NATS servers belongs to installation .*\n$/;
const noMaster = /^farm: no master is running on prefix /;
const lacksProgram = (name: string) => () => skipUnlessInstalled(name) || undefined;

/** The fault that the DSN leads to a standby. */
function standby(): Fault {
  let running: Awaited<ReturnType<typeof startStandby>> | undefined;
  return {
    title: 'PostgreSQL is a standby',
    role: 'master',
    break: async (site) => {
      running = await startStandby(site);
    },
    settings: () => ({ dsn: running?.dsn ?? '' }),
    restore: () => running?.stop(),
    problem:
      /^schema: the database postgres is on a standby server \(pg_is_in_recovery\), which takes no changes/,
    fix: /^set dsn to the primary server, or, if this one is to replace it: .*psql -p \d+ -c 'select pg_promote\(\)'$/,
    also: [/^identity: /],
  };
}

/** Returns the DSN of the master with a part changed. */
const dsnWith = (site: SoundInstallation, change: (url: URL) => void): { readonly dsn: string } => {
  const url = new URL(String(site.settings.master.dsn));
  change(url);
  return { dsn: url.href };
};

/** Faults of a configuration, which any role can have; these are the master's. */
const CONFIGURATION_FAULTS: readonly Fault[] = [
  {
    title: 'a setting is misspelt',
    role: 'master',
    settings: () => ({ 'output-pth': '/srv' }),
    problem: /^configuration: \S+, line \d+: unknown setting "output-pth"; did you mean output-path/,
    fix: /^correct \S+master\.conf, line \d+$/,
  },
  {
    title: 'a setting has an invalid value',
    role: 'master',
    settings: () => ({ oracles: 'many' }),
    problem: /^configuration: .*oracles = many: must be a whole number/,
    fix: /^correct \S+, line \d+$/,
  },
  {
    title: 'a line of the configuration is not an assignment',
    role: 'master',
    break: (site) => {
      writeFileSync(site.file('master'), 'hello\n', { flag: 'a' });
    },
    restore: (site) => {
      site.configure('master');
    },
    problem: /^configuration: .*line \d+: not of the form key = value/,
    fix: /^correct \S+, line \d+$/,
  },
  {
    title: 'an environment variable is misspelt',
    role: 'master',
    view: { env: { PIW_TIMOUT: '1h' } },
    problem: /^configuration: unknown environment variable PIW_TIMOUT; did you mean PIW_TIMEOUT/,
    fix: /^correct the environment$/,
  },
  {
    title: 'the configuration belongs to root alone',
    role: 'master',
    break: (site) => {
      chownSync(site.file('master'), 0, 0);
    },
    restore: (site) => {
      site.configure('master');
    },
    problem: /^configuration: .*master\.conf can't be read/,
    fix: /^make \S+master\.conf readable for this user/,
  },
  {
    title: 'a file with a secret is missing',
    role: 'master',
    settings: () => ({ dsn: null, 'dsn-file': '/nowhere/dsn' }),
    problem: /^configuration: the secret \/nowhere\/dsn can't be read/,
    fix: /^write the secret into \/nowhere\/dsn/,
  },
  {
    title: 'everybody can read the file with a secret',
    role: 'master',
    break: (site) => {
      site.write(join(site.path, 'etc', 'dsn'), String(site.settings.master.dsn), 0o644);
      site.configure('master', { dsn: null, 'dsn-file': join(site.path, 'etc', 'dsn') });
    },
    restore: (site) => {
      site.configure('master');
    },
    problem: /^configuration: everybody can read the secret in \S+dsn/,
    fix: /^chmod 600 \S+dsn$/,
    isCommand: true,
  },
  {
    title: 'everybody can read a configuration with a password',
    role: 'master',
    break: (site) => {
      chmodSync(site.file('master'), 0o644);
    },
    restore: (site) => {
      site.configure('master');
    },
    problem: /^secrets: \S+master\.conf, line \d+: everybody can read the secret in it/,
    fix: /^chmod o= \S+master\.conf$/,
    isCommand: true,
  },
  {
    title: 'a placeholder is left in piwheels.conf',
    role: 'master',
    settings: () => ({ contact: 'https://farm.example.org/' }),
    problem: /^placeholders: \S+, line \d+: "farm\.example\.org" of the sample was not replaced/,
    fix: /^put your own value into line \d+ of \S+master\.conf$/,
  },
  {
    title: 'a placeholder is left in the configuration of nats-server',
    role: 'master',
    view: etcWith('nats/cluster.conf', 'routes = ["nats-route://route:ROUTE_SECRET@nats-1:6222"]', '600'),
    problem:
      /^placeholders: \/etc\/nats\/cluster\.conf, line 1: "ROUTE_SECRET" of the sample was not replaced/,
    fix: /^put your own value into line 1 of \/etc\/nats\/cluster\.conf$/,
  },
  {
    title: 'everybody can read the passwords of nats-server',
    role: 'master',
    view: etcWith('nats/accounts.conf', 'users: [{ user: master, password: hunter2 }]', '644'),
    problem: /^secrets: \/etc\/nats\/accounts\.conf, line 1: everybody can read the secret/,
    fix: /^chmod o= \/etc\/nats\/accounts\.conf$/,
  },
  {
    title: 'Node is too old',
    role: 'master',
    break: (site) => ({ program: site.programThatNeeds('>=99.1.0') }),
    problem: /^node: this is Node [\d.]+, but piw needs >=99\.1\.0/,
    fix: /^install a newer Node/,
  },
  {
    title: "nothing keeps the machine's clock right",
    role: 'master',
    break: (site) => ({ path: [stub(site, 'timedatectl', 'echo no')] }),
    problem: /^clock: this machine's clock is not synchronised/,
    fix: /^sudo timedatectl set-ntp true/,
  },
  {
    title: 'root examines the master',
    role: 'master',
    view: { asRoot: true },
    problem: /^user: this is root, but the master runs as an ordinary user/,
    fix: /^sudo -u piwheels piw doctor$/,
  },
];

const DATABASE_FAULTS: readonly Fault[] = [
  {
    title: 'PostgreSQL is not running',
    role: 'master',
    settings: (site) => dsnWith(site, (url) => (url.port = String(NOBODYS_PORT))),
    problem: /^database: .*ECONNREFUSED/,
    fix: /^start PostgreSQL \(sudo systemctl start postgresql\)/,
  },
  {
    title: "the database server's name is unknown",
    role: 'master',
    settings: (site) => dsnWith(site, (url) => (url.hostname = 'db.nowhere.invalid')),
    problem: /^database: .*(ENOTFOUND|EAI_AGAIN)/,
    fix: /^correct the host db\.nowhere\.invalid in dsn/,
  },
  {
    title: 'the DSN is not a DSN',
    role: 'master',
    settings: () => ({ dsn: 'mysql://db/piw' }),
    problem: /^database: the DSN is not of the form postgres:/,
    fix: /piw config show/,
  },
  {
    title: 'the database is missing',
    role: 'master',
    settings: (site) => dsnWith(site, (url) => (url.pathname = '/missing')),
    restore: (site) => dropDatabase(site, 'missing'),
    problem: /^database: PostgreSQL has no database "missing"/,
    fix: /^sudo -u postgres createdb .*missing && sudo -u postgres piw initdb .* -u \S+ -y$/,
    isCommand: true,
    remains: otherInstallation,
  },
  {
    title: 'the role is missing',
    role: 'master',
    settings: (site) => dsnWith(site, (url) => Object.assign(url, { username: PEER_ROLE, password: '' })),
    restore: async (site) => {
      await masterSql(site, `drop owned by ${PEER_ROLE}`);
      await sql(site, `drop role ${PEER_ROLE}`);
    },
    problem: new RegExp(`^database: PostgreSQL has no role "${PEER_ROLE}"`),
    fix: new RegExp(
      `^sudo -u postgres createuser .*${PEER_ROLE} && sudo -u postgres piw initdb .* -u ${PEER_ROLE} -y$`,
    ),
    isCommand: true,
  },
  {
    title: 'the password of the role is wrong',
    role: 'master',
    settings: (site) => dsnWith(site, (url) => (url.password = 'wrong')),
    problem: /^database: PostgreSQL does not let in role .*password authentication failed/,
    fix: /^set dsn \(or dsn-file\) to the role and password/,
  },
  {
    title: 'the database has no tables',
    role: 'master',
    break: (site) => sql(site, 'create database empty'),
    settings: (site) => dsnWith(site, (url) => (url.pathname = '/empty')),
    restore: (site) => dropDatabase(site, 'empty'),
    problem: /^schema: the database has no tables yet/,
    fix: /^sudo -u postgres piw initdb .*empty.* -u \S+ -y$/,
    isCommand: true,
    remains: otherInstallation,
  },
  {
    title: 'the schema is too old',
    role: 'master',
    break: async (site) => {
      await sql(site, 'create database older');
      const db = await site.database('older');
      await db.transaction(async (transaction) => {
        await applyMigrations(transaction, 0, schemaVersion() - 1);
        await transaction.query(`grant all on all tables in schema public to "${roleOf(site)}"`);
      });
      await db.close();
    },
    settings: (site) => dsnWith(site, (url) => (url.pathname = '/older')),
    restore: (site) => dropDatabase(site, 'older'),
    problem: /^schema: the database is at schema version \d+, but this piw needs version/,
    fix: /^sudo -u postgres piw initdb .*older.* -u \S+ -y$/,
    isCommand: true,
    also: [/^identity: /],
    remains: otherInstallation,
  },
  {
    title: 'the schema is too new',
    role: 'master',
    break: (site) => masterSql(site, 'update configuration set schema_version = schema_version + 1'),
    restore: (site) => masterSql(site, 'update configuration set schema_version = $1', [schemaVersion()]),
    problem: /^schema: the database is at schema version \d+, which is newer than/,
    fix: /^Install the version of piw that upgraded it/,
  },
  {
    title: 'the database belongs to another program',
    role: 'master',
    break: (site) => withTables(site, 'foreign_one', 'create table packages (id int)'),
    settings: (site) => dsnWith(site, (url) => (url.pathname = '/foreign_one')),
    restore: (site) => dropDatabase(site, 'foreign_one'),
    problem: /^schema: the database \w+ contains tables of another program/,
    fix: /^sudo -u postgres createdb .*-E UTF8 -T template0 piw, and set dsn/,
  },
  {
    title: 'the database belongs to piwheels',
    role: 'master',
    break: (site) => withTables(site, 'pw', 'create table build_abis (abi_tag varchar)'),
    settings: (site) => dsnWith(site, (url) => (url.pathname = '/pw')),
    restore: (site) => dropDatabase(site, 'pw'),
    problem: /^schema: the database \w+ belongs to piwheels/,
    fix: /^sudo -u postgres createdb .*-E UTF8 -T template0 piw, and set dsn/,
  },
  {
    title: 'the role lacks rights',
    role: 'master',
    break: (site) => masterSql(site, `revoke all on all tables in schema public from "${roleOf(site)}"`),
    restore: (site) => migrateMaster(site),
    problem: /^schema: the role of the DSN may not write to the tables/,
    fix: /^sudo -u postgres piw initdb .* -u \S+ -y$/,
    isCommand: true,
  },
  {
    title: 'the role is a superuser',
    role: 'master',
    break: (site) => sql(site, `alter role "${roleOf(site)}" superuser`),
    restore: (site) => sql(site, `alter role "${roleOf(site)}" nosuperuser`),
    problem: /^schema: the DSN's role is a PostgreSQL superuser/,
    fix: /^sudo -u postgres createuser .*, and set dsn to that role .*nosuperuser/,
  },
  {
    title: 'the role may open no more connections',
    role: 'master',
    break: (site) => sql(site, `alter role "${roleOf(site)}" connection limit 0`),
    restore: (site) => sql(site, `alter role "${roleOf(site)}" connection limit -1`),
    problem: /^database: .*too many connections for role/,
    fix: /^sudo -u postgres psql .* -c 'alter role .* connection limit -1'$/,
    isCommand: true,
  },
  standby(),
  {
    title: 'the database takes no changes',
    role: 'master',
    break: (site) => sql(site, `alter database "${nameOf(site)}" set default_transaction_read_only = on`),
    restore: (site) => sql(site, `alter database "${nameOf(site)}" reset default_transaction_read_only`),
    problem: /^schema: the database \S+ takes no changes: default_transaction_read_only is on/,
    fix: /^sudo -u postgres psql .*default_transaction_read_only = off'$/,
    isCommand: true,
  },
  {
    title: 'the encoding of the database lacks characters',
    role: 'master',
    break: async (site) => {
      await sql(site, `create database latin encoding 'LATIN1' locale 'C' template template0`);
      await migrate(site.dsnOf(site.parts.adminDsn, 'latin'), { user: roleOf(site) });
    },
    settings: (site) => dsnWith(site, (url) => (url.pathname = '/latin')),
    restore: (site) => dropDatabase(site, 'latin'),
    problem: /^schema: the database latin has the encoding LATIN1/,
    fix: /^sudo -u postgres createdb .*-E UTF8 -T template0 piw, and set dsn/,
    also: [/^identity: /],
  },
  {
    title: "the clock of the database's machine is wrong",
    role: 'master',
    break: async (site) => {
      await masterSql(
        site,
        `create function public.clock_timestamp() returns timestamptz language sql
         as $$ select pg_catalog.clock_timestamp() + interval '1 hour' $$`,
      );
      await sql(site, `alter database "${nameOf(site)}" set search_path = public, pg_catalog`);
    },
    restore: async (site) => {
      await sql(site, `alter database "${nameOf(site)}" reset search_path`);
      await masterSql(site, 'drop function public.clock_timestamp()');
    },
    problem: /^clock: the database's clock is 3\d{3} s ahead of this machine's/,
    fix: /^sudo timedatectl set-ntp true, on both machines$/,
  },
  {
    title: 'the database is that of another farm',
    role: 'master',
    break: async (site) => {
      await sql(site, 'create database other');
      await migrate(site.dsnOf(site.parts.adminDsn, 'other'), { user: roleOf(site) });
    },
    settings: (site) => dsnWith(site, (url) => (url.pathname = '/other')),
    restore: (site) => dropDatabase(site, 'other'),
    problem: /^identity: prefix piw of these NATS servers belongs to installation /,
    fix: /^set prefix to a name of its own for each farm, or correct dsn$/,
  },
];

/** Certificates, and nats-servers that are not the farm's. */
const NATS_FAULTS: readonly Fault[] = [
  {
    title: 'nats-server is not running',
    role: 'master',
    settings: () => ({ nats: `nats://localhost:${NOBODYS_PORT}` }),
    problem: /^nats: can't connect to .*ECONNREFUSED/,
    fix: /^start nats-server \(sudo systemctl start nats-server\), or set nats/,
  },
  {
    title: "nats-server's name is unknown",
    role: 'master',
    settings: () => ({ nats: 'nats://nats.nowhere.invalid' }),
    problem: /^nats: .*(ENOTFOUND|EAI_AGAIN)/,
    fix: /^correct the host name in nats, or make it known: DNS/,
  },
  {
    title: 'the address of nats-server is not an address',
    role: 'master',
    settings: () => ({ nats: 'http://farm:4222' }),
    problem: /^nats: .*not a valid NATS address/,
    fix: /^set nats to nats:\/\/HOST:PORT/,
  },
  {
    title: 'the password for nats-server is wrong',
    role: 'master',
    settings: (site) => {
      const url = new URL(site.parts.natsMaster);
      url.password = 'wrong';
      return { nats: url.href };
    },
    problem: /^nats: .*it refuses these credentials/,
    fix: /^set nats-key, or nats-file/,
  },
  {
    title: 'everybody can read the key for nats-server',
    role: 'master',
    break: (site) => {
      site.write(join(site.path, 'etc', 'master.nk'), 'SUAM\n', 0o644);
    },
    settings: (site) => ({ 'nats-key': join(site.path, 'etc', 'master.nk') }),
    problem: /^nats: everybody can read the secret in \S+master\.nk/,
    fix: /^chmod 600 \S+master\.nk$/,
  },
  {
    title: 'the key for nats-server is missing',
    role: 'master',
    settings: () => ({ 'nats-key': '/nowhere/master.nk' }),
    problem: /^nats: the secret \/nowhere\/master\.nk can't be read/,
    fix: /^set nats-key to a file that this user can read/,
  },
  otherNats({
    title: 'nats-server has no JetStream',
    config: () => '',
    problem: /^jetstream: JetStream is off for this user/,
    fix: /jetstream \{ … \}/,
    also: [noMaster],
  }),
  otherNats({
    title: "the storage of nats-server is too small for the farm's messages",
    config: (folder) => `jetstream { store_dir: ${JSON.stringify(folder)}, max_file_store: 1GB }`,
    problem: /^jetstream: JetStream has no room for the farm's large messages: insufficient storage/,
    fix: /max_file_store/,
    also: [noMaster],
  }),
  otherNats({
    title: "the account's storage is too small for the farm's messages",
    config: (folder) => `jetstream { store_dir: ${JSON.stringify(folder)}, max_file_store: 1TB }
accounts { FARM: { jetstream { max_file: 1GB }, users: [{ user: master, password: apple }] } }
no_auth_user: master`,
    problem: /^jetstream: JetStream has no room for the farm's large messages: /,
    fix: /limits of account FARM/,
    also: [noMaster],
  }),
  otherNats({
    title: 'the authority of the certificate of nats-server is not known',
    certificate: { name: 'localhost' },
    isUntrusted: true,
    problem: /^nats: .*its certificate is not trusted/,
    fix: /^set tls-ca to the authority/,
  }),
  otherNats({
    title: 'the certificate of nats-server has expired',
    certificate: { name: 'localhost', isExpired: true },
    // The master trusts this very certificate.
    problem: /^tls: tls-ca: \S+ has expired on /,
    fix: /^renew the certificate, and put it into /,
    also: [/^nats: .*its certificate is not trusted: certificate has expired/],
  }),
  otherNats({
    title: 'the certificate of nats-server has another name',
    certificate: { name: 'nats.other.net' },
    problem: /^nats: .*its certificate is not trusted: .*altnames/,
    fix: /^set nats to a name that the certificate has, or renew/,
  }),
  {
    title: 'tls-ca is not a certificate',
    role: 'master',
    settings: (site) => ({ 'tls-ca': site.file('web') }),
    problem: /^tls: tls-ca: \S+ is not a certificate/,
    fix: /^set tls-ca to a PEM file$/,
    also: [/^nats: /],
  },
  tlsFiles({
    title: 'only the certificate is set, and not its key',
    settings: (folder) => ({ 'tls-cert': issue(folder, { name: 'a' }).cert }),
    problem: /^tls: only one of tls-cert and tls-key is set/,
    fix: /^set both, or neither$/,
  }),
  tlsFiles({
    title: 'the private key is that of another certificate',
    settings: (folder) => ({
      'tls-cert': issue(folder, { name: 'a' }).cert,
      'tls-key': issue(folder, { name: 'b' }).key,
    }),
    problem: /^tls: tls-key: \S+ does not belong to the certificate/,
    fix: /^set tls-key to the key of tls-cert$/,
  }),
  tlsFiles({
    title: 'the client certificate expires in a day',
    settings: (folder) => {
      const { cert, key } = issue(folder, { name: 'a', days: 1 });
      return { 'tls-cert': cert, 'tls-key': key };
    },
    problem: /^tls: tls-cert: \S+ expires on /,
    fix: /^renew the certificate/,
  }),
  tlsFiles({
    title: 'the client certificate has expired',
    settings: (folder) => {
      const { cert, key } = issue(folder, { name: 'a', isExpired: true });
      return { 'tls-cert': cert, 'tls-key': key };
    },
    problem: /^tls: tls-cert: \S+ has expired on /,
    fix: /^renew the certificate/,
  }),
];

const OUTPUT_FAULTS: readonly Fault[] = [
  {
    title: 'the output path is missing',
    role: 'master',
    settings: (site) => ({ 'output-path': join(site.path, 'etc', 'absent') }),
    restore: (site) => {
      rmSync(join(site.path, 'etc', 'absent'), { recursive: true, force: true });
    },
    problem: /^output-path: the output path \S+absent does not exist/,
    fix: /^sudo install -d -o \S+ \S+absent$/,
    isCommand: true,
  },
  {
    title: 'the output path is a file',
    role: 'master',
    settings: (site) => ({ 'output-path': site.file('web') }),
    problem: /^output-path: the output path \S+ is not a folder/,
    fix: /^set output-path to a folder$/,
  },
  {
    title: 'the output path belongs to root',
    role: 'master',
    break: (site) => {
      chownSync(join(site.path, 'www'), 0, 0);
    },
    restore: (site) => {
      chownSync(join(site.path, 'www'), site.account.uid, site.account.gid);
    },
    problem: /^output-path: the output path \S+ belongs to another user \(0\)/,
    fix: /^sudo chown -R \S+ \S+www$/,
    isCommand: true,
  },
  {
    title: 'a command of root has left a folder in the output path',
    role: 'master',
    break: (site) => {
      mkdirSync(join(site.path, 'www', 'stray'));
    },
    restore: (site) => {
      rmSync(join(site.path, 'www', 'stray'), { recursive: true });
    },
    problem: /^output-path: \S+stray belongs to another user \(0\)/,
    fix: /^sudo chown -R \S+ \S+www$/,
    isCommand: true,
  },
  {
    title: 'the output path is mounted read-only',
    role: 'master',
    break: (site) => ({
      mounts: [`mount --bind ${site.path}/www ${site.path}/www`, `mount -o remount,ro,bind ${site.path}/www`],
    }),
    problem: /^output-path: the output path \S+ is on a file system that is mounted read-only/,
    fix: /^sudo mount -o remount,rw /,
  },
  {
    title: 'the disk of the output path is almost full',
    role: 'master',
    break: (site) => ({ mounts: [tmpfs(site, 'www', 'size=50m')] }),
    problem: /^output-path: the disk of the output path \S+ has \d+ MB left/,
    fix: /^free space on it: df -h /,
  },
  {
    title: 'the disk of the output path has no inodes left',
    role: 'master',
    break: (site) => ({ mounts: [tmpfs(site, 'www', 'size=2g,nr_inodes=100')] }),
    problem: /^output-path: the disk of the output path \S+ has room for only \d+ more files/,
    fix: /^delete files on it \(df -i /,
  },
  {
    title: 'a part of the output path is on another file system',
    role: 'master',
    break: (site) => ({ mounts: [tmpfs(site, 'www/simple', 'size=2g')] }),
    problem: /^output-path: \S+simple is on another file system than the output path/,
    fix: /^mount that disk at \S+www itself$/,
  },
];

const FARM_FAULTS: readonly Fault[] = [
  {
    title: 'the index is unreachable',
    role: 'master',
    settings: () => ({ 'pypi-simple': `http://127.0.0.1:${NOBODYS_PORT}/simple` }),
    problem: /^index: http:\/\/127\.0\.0\.1:1\/simple\/pip\/ can't be read/,
    fix: /^check the network and the proxy \(HTTPS_PROXY\) of this user: curl -I /,
  },
  {
    title: 'the index wants a password',
    role: 'master',
    settings: (site) => ({
      'pypi-simple': String(site.settings.master['pypi-simple']).replace('/simple', '/private/simple'),
    }),
    problem: /^index: \S+ answers with status 401: the user and password are missing or wrong/,
    fix: /^set pypi-simple .*USER:PASSWORD@HOST/,
  },
  {
    title: 'no master is running',
    role: 'master',
    settings: () => ({ prefix: 'elsewhere' }),
    problem: noMaster,
    fix: /^sudo systemctl start piw-master, or piw master$/,
  },
  {
    title: 'the farm is paused',
    role: 'master',
    break: (site) => piw(site, 'pause'),
    restore: (site) => piw(site, 'resume'),
    problem: /^farm: the farm is paused/,
    fix: /^piw resume$/,
    isCommand: true,
  },
  {
    title: 'one task is paused',
    role: 'master',
    break: (site) => piw(site, 'pause', 'the-architect'),
    restore: (site) => piw(site, 'resume', 'the-architect'),
    problem: /^farm: the-architect is paused/,
    fix: /^piw resume the-architect$/,
    isCommand: true,
  },
  {
    title: "a slave's ABI is not registered",
    role: 'master',
    break: async (site) => {
      await piw(site, 'abi', 'add', 'cp39', '--platform', 'linux_armv7l');
      await piw(site, 'abi', 'remove', 'cp311', '-y');
    },
    restore: (site) => piw(site, 'abi', 'remove', 'cp39', '-y'),
    problem: /^farm: slave \S+ gets no builds: its ABI cp311 on linux_x86_64 is not registered/,
    fix: /^piw abi add cp311 --platform linux_x86_64$/,
    isCommand: true,
  },
  {
    title: 'no ABI is registered',
    role: 'master',
    break: (site) => piw(site, 'abi', 'remove', 'cp311', '-y'),
    problem: /^farm: no ABI is registered, so nothing is built/,
    fix: /piw abi add cp311 --platform linux_x86_64$/,
    restore: (site) => piw(site, 'abi', 'add', 'cp311', '--platform', 'linux_x86_64'),
  },
  {
    title: 'every ABI is skipped',
    role: 'master',
    break: (site) => piw(site, 'abi', 'skip', 'cp311', '--reason', 'maintenance'),
    restore: (site) => piw(site, 'abi', 'unskip', 'cp311'),
    problem: /^farm: every registered ABI is skipped/,
    fix: /^piw abi unskip cp311 --platform linux_x86_64$/,
    isCommand: true,
  },
  {
    title: 'no slave is connected',
    role: 'master',
    break: (site) => site.stopService('builder'),
    restore: (site) => {
      site.startService('builder', ['slave']);
    },
    problem: /^farm: no slave is connected, so nothing is built/,
    fix: /^piw slaves add NAME, and start piw slave on that machine$/,
  },
];

const BUILDER_FAULTS: readonly Fault[] = [
  {
    title: 'the slave runs as root',
    role: 'builder',
    view: { asRoot: true },
    problem: /^user: this is root, and builds run the code of strangers/,
    fix: /as an ordinary user$/,
  },
  {
    title: "the master's address is wrong",
    role: 'builder',
    settings: (site) => ({ master: String(site.settings.builder.master).replace(/@.*/, '@localhost:1') }),
    problem: /^nats: can't connect to .*ECONNREFUSED/,
    fix: /^start nats-server .*, or set master to its address$/,
  },
  {
    title: "the master's name is unknown",
    role: 'builder',
    settings: (site) => ({
      master: String(site.settings.builder.master).replace(/@.*/, '@farm.nowhere.invalid'),
    }),
    problem: /^nats: .*(ENOTFOUND|EAI_AGAIN)/,
    fix: /^correct the host name in master/,
  },
  {
    title: "the slave's credentials are refused",
    role: 'builder',
    settings: (site) => {
      const url = new URL(site.parts.natsMaster);
      return { master: `nats://builder:wrong@${url.host}` };
    },
    problem: /^nats: .*it refuses these credentials/,
    fix: /^run piw slaves add on the master/,
  },
  {
    title: 'the slave has no credentials',
    role: 'builder',
    settings: (site) => ({ master: new URL(site.parts.natsMaster).host }),
    problem: /^nats: the slave has no credentials/,
    fix: /piw slaves add/,
  },
  {
    title: 'there is no such interpreter',
    role: 'builder',
    settings: () => ({ python: ['/nowhere/python3'] }),
    problem: /^build-tools: \/nowhere\/python3 cannot build wheels: there is no such program/,
    fix: /^sudo apt install python3 python3-pip, or set python/,
  },
  {
    title: 'the interpreter is too old',
    role: 'builder',
    lacks: () => (oldPython() === undefined ? 'there is no Python before 3.9 in ~/.pyenv' : undefined),
    break: (site) => {
      mkdirSync(join(site.path, 'python'), { recursive: true });
      return { mounts: [`mount --bind ${oldPython() ?? ''} ${site.path}/python`] };
    },
    settings: (site) => {
      const program = join(site.path, 'old-python');
      const folder = join(site.path, 'python');
      const script = `LD_LIBRARY_PATH='${folder}/lib' exec '${folder}/bin/python3' "$@"`;
      writeFileSync(program, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      return { python: [program] };
    },
    problem: /^build-tools: \S+ cannot build wheels: it is Python 3\.[0-8]\S*, but 3\.9 or later is required/,
    fix: /set python to an interpreter of 3\.9 or later$/,
  },
  {
    title: 'the interpreter has no pip',
    role: 'builder',
    break: (site) => {
      const [python] = site.settings.builder.python as readonly string[];
      execFileSync(python ?? '', ['-m', 'venv', '--without-pip', join(site.path, 'venv')]);
    },
    settings: (site) => ({ python: [join(site.path, 'venv', 'bin', 'python3')] }),
    problem: /^build-tools: \S+ cannot build wheels: it has no pip/,
    fix: /^sudo apt install python3-pip$/,
  },
  {
    title: 'there is no compiler',
    role: 'builder',
    settings: () => ({ 'build-env': ['CC=/nowhere/cc'] }),
    problem: /^build-tools: \S+: it has no working C compiler/,
    fix: /^sudo apt install build-essential$/,
  },
  {
    title: "Python's headers are missing",
    role: 'builder',
    break: (site) => {
      const [python] = site.settings.builder.python as readonly string[];
      const script = 'import sysconfig; print(sysconfig.get_path("include"))';
      const include = execFileSync(python ?? '', ['-c', script], { encoding: 'utf8' }).trim();
      return { mounts: [`mount -t tmpfs tmpfs ${include}`] };
    },
    problem: /^build-tools: \S+: it has no Python headers/,
    fix: /^sudo apt install python3-dev$/,
  },
  {
    title: 'bubblewrap is not installed',
    role: 'builder',
    lacks: lacksProgram('bwrap'),
    view: { mounts: ['mount --bind /dev/null "$(command -v bwrap)"'] },
    problem: /^build-tools: builds would run without a sandbox: bubblewrap is not installed/,
    fix: /^sudo apt install bubblewrap$/,
    also: [/^build-tools: builds could /],
  },
  {
    title: 'ordinary users may not create namespaces',
    role: 'builder',
    lacks: lacksProgram('bwrap'),
    break: (site) => ({
      // As a kernel with user.max_user_namespaces = 0 makes it answer: the setting of this machine is left alone.
      path: [
        stub(
          site,
          'bwrap',
          'echo "bwrap: Creating new namespace failed: Operation not permitted" >&2; exit 1',
        ),
      ],
    }),
    problem:
      /^build-tools: builds would run without a sandbox: bubblewrap does not work here: .*not permitted/,
    fix: /^let ordinary users create user namespaces|^sudo sysctl -w /,
    also: [/^build-tools: builds could /],
  },
  {
    title: 'a sandbox is required, and there is none',
    role: 'builder',
    lacks: lacksProgram('bwrap'),
    settings: () => ({ sandbox: 'required' }),
    view: { mounts: ['mount --bind /dev/null "$(command -v bwrap)"'] },
    problem: /^build-tools: sandbox = required, but bubblewrap is not installed/,
    fix: /^sudo apt install bubblewrap$/,
  },
  {
    title: 'the folder of builds belongs to root',
    role: 'builder',
    break: (site) => {
      mkdirSync(join(site.path, 'roots'), { mode: 0o700 });
    },
    settings: (site) => ({ 'work-dir': join(site.path, 'roots') }),
    restore: (site) => {
      rmSync(join(site.path, 'roots'), { recursive: true, force: true });
    },
    problem: /^work-dir: \S+roots/,
    fix: /^sudo install -d -o \S+ -m 700 \S+roots, or set work-dir/,
    isCommand: true,
  },
  {
    title: 'programs in the folder of builds may not be run',
    role: 'builder',
    break: (site) => ({ mounts: [tmpfs(site, 'work', 'size=2g,noexec')] }),
    problem: /^work-dir: programs in the folder of builds, \S+, can't be run: it is mounted noexec/,
    fix: /^sudo mount -o remount,exec .*, or set work-dir/,
  },
  {
    title: 'the disk of builds is almost full',
    role: 'builder',
    break: (site) => ({ mounts: [tmpfs(site, 'work', 'size=200m')] }),
    problem: /^resources: the slave would take no work: .*free disk/,
    fix: /^free space, or set work-dir to a larger disk$/,
  },
  {
    title: 'there is too little memory',
    role: 'builder',
    settings: () => ({ 'min-memory-free': 2 ** 40 }),
    problem: /^resources: the slave would take no work: .*free memory/,
    fix: /^end other programs, or set min-memory-free lower$/,
  },
  {
    title: 'sandbox has an unknown value',
    role: 'builder',
    settings: () => ({ sandbox: 'perhaps' }),
    problem: /sandbox = perhaps/,
    fix: /./,
  },
];

const WEB_FAULTS: readonly Fault[] = [
  {
    title: 'the web server is not running',
    role: 'web',
    settings: () => ({ 'public-url': 'http://127.0.0.1:1/' }),
    problem: /^web: http:\/\/127\.0\.0\.1:1\/: /,
    fix: /^start the web server \(sudo systemctl start nginx/,
  },
  {
    title: "the web server's name is unknown",
    role: 'web',
    settings: () => ({ 'public-url': 'http://wheels.nowhere.invalid/' }),
    problem: /^web: .*(ENOTFOUND|EAI_AGAIN)/,
    fix: /^correct the host name in public-url/,
  },
  otherWebServer({
    title: 'the web server serves another folder',
    answer: () => ({ status: 404 }),
    problem: /^web: \S+ \S+simple\/ is not a package index/,
    fix: /^set the web server's root to \S+www$/,
  }),
  otherWebServer({
    title: 'the web server sends the wrong content type',
    answer: ({ headers }) => ({ headers: { ...headers, 'content-type': 'text/plain' } }),
    problem: /^web: /,
    fix: /./,
  }),
  otherWebServer({
    title: 'the web server sends no index for pip’s JSON',
    answer: ({ headers }) => ({
      headers: { ...headers, 'content-type': String(headers['content-type']).replace(/\+json/, '+html') },
    }),
    problem: /^web: \S+ does not answer like an index|^web: .*not a package index/,
    fix: /piw check|root/,
  }),
  otherWebServer({
    title: 'the web server serves the empty index of another farm',
    answer: ({ path, headers }) =>
      path !== '/simple/'
        ? {}
        : {
            body: String(headers['content-type']).includes('json')
              ? '{"meta":{"api-version":"1.4"},"projects":[]}'
              : '<!DOCTYPE html>\n<html><head><meta name="pypi:repository-version" content="1.4"><title>Simple index</title></head><body></body></html>\n',
          },
    also: [/^web: \S+ serves an empty index, although \S+ has projects/],
    problem: /^web: /,
    fix: /./,
  }),
  otherWebServer({
    title: 'the certificate of the web server is not trusted',
    isTls: true,
    answer: () => ({}),
    problem: /^web: .*certificate/,
    fix: /^renew the certificate of the web server/,
  }),
];

/** The log of the site, which belongs to root alone. */
const secretLog = (site: SoundInstallation): string => join(site.path, 'root.log');

const LOG_FAULTS: readonly Fault[] = [
  {
    title: 'piw logger reads another log than nginx writes',
    role: 'web',
    break: (site) => etcWithLog(secretLog(site), '/var/log/nginx/access.log'),
    problem:
      /^web-log: nginx writes the log of the site to \S+root\.log \(\S+\), and piw-logger\.service reads another/,
    fix: /^name \S+root\.log in ExecStart of piw-logger\.service, or set access_log /,
  },
  {
    title: 'the log of nginx is not there',
    role: 'web',
    break: (site) => etcWithLog(secretLog(site), secretLog(site)),
    problem: /^web-log: \S+root\.log, the log of the site \(\S+\), does not exist/,
    fix: /^sudo systemctl reload nginx$/,
  },
  {
    title: 'piw logger may not read the log of nginx',
    role: 'web',
    break: (site) => {
      writeFileSync(secretLog(site), '', { mode: 0o600 });
      return etcWithLog(secretLog(site), secretLog(site));
    },
    restore: (site) => {
      rmSync(secretLog(site));
    },
    problem:
      /^web-log: \S+root\.log, the log of the site, can't be read by \S+, the user of piw-logger\.service/,
    fix: /^sudo chgrp adm \S+root\.log && sudo chmod g\+r \S+root\.log; /,
  },
  {
    title: 'the spool of piw logger belongs to root',
    role: 'web',
    settings: () => ({ spool: '/var/spool/piw-of-root' }),
    problem: /^web-log: the spool folder \/var\/spool\/piw-of-root, .* can't be written/,
    fix: /^sudo install -d -o \S+ -m 700 \/var\/spool\/piw-of-root$/,
  },
];

/** All faults, in the order in which an administrator sets things up; what removes the farm's builds is last. */
export const FAULTS: readonly Fault[] = [
  ...CONFIGURATION_FAULTS,
  ...DATABASE_FAULTS,
  ...NATS_FAULTS,
  ...OUTPUT_FAULTS,
  ...BUILDER_FAULTS,
  ...WEB_FAULTS,
  ...LOG_FAULTS,
  ...FARM_FAULTS,
];

const roleOf = (site: SoundInstallation): string => new URL(String(site.settings.master.dsn)).username;
const nameOf = (site: SoundInstallation): string =>
  new URL(String(site.settings.master.dsn)).pathname.slice(1);

/** Runs a statement as the superuser, in the database of that name or else in the superuser's own. */
async function sql(
  site: SoundInstallation,
  statement: string,
  { name, values = [] }: { readonly name?: string; readonly values?: readonly unknown[] } = {},
): Promise<void> {
  const db = await Database.open(site.dsnOf(site.parts.adminDsn, name ?? 'postgres'), 'doctor', {
    connections: 1,
  });
  try {
    await db.query(statement, values);
  } finally {
    await db.close();
  }
}

const masterSql = (
  site: SoundInstallation,
  statement: string,
  values: readonly unknown[] = [],
): Promise<void> => sql(site, statement, { name: nameOf(site), values });

const dropDatabase = (site: SoundInstallation, name: string): Promise<void> =>
  sql(site, `drop database if exists ${name} with (force)`);

/** Creates a database with a table of another program. */
async function withTables(site: SoundInstallation, name: string, statement: string): Promise<void> {
  await sql(site, `create database ${name}`);
  await sql(site, statement, { name });
  await sql(site, `grant all on all tables in schema public to "${roleOf(site)}"`, { name });
}

async function migrateMaster(site: SoundInstallation): Promise<void> {
  await migrate(site.dsnOf(site.parts.adminDsn, nameOf(site)), { user: roleOf(site) });
}

async function piw(site: SoundInstallation, ...args: readonly string[]): Promise<void> {
  const { code, err } = await site.piw(args, 'master');
  if (code !== 0) throw new Error(`piw ${args.join(' ')}: ${err}`);
}

/** Writes a program that stands in the place of one of the system's; returns its folder. */
function stub(site: SoundInstallation, name: string, script: string): string {
  const folder = join(site.path, `stub-${name}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return folder;
}

/** Returns a view with a copy of /etc that has one more file. */
function etcWith(name: string, line: string, mode: string): View {
  const file = `/mnt/${name}`;
  return {
    mounts: [
      'mount -t tmpfs tmpfs /mnt',
      'cp -a /etc/. /mnt/',
      `install -d ${file.replace(/\/[^/]*$/, '')}`,
      `printf '%s\\n' '${line}' > ${file}`,
      `chown "$1" ${file}`,
      `chmod ${mode} ${file}`,
      'mount --bind /mnt /etc',
    ],
  };
}

/** Returns a view in which nginx writes the log of the site to one file, and piw-logger.service reads another. */
function etcWithLog(written: string, read: string): View {
  const { mounts = [] } = etcWith('nginx/sites-enabled/piwheels', `access_log ${written} piwheels;`, '644');
  const unit = '/mnt/systemd/system/piw-logger.service';
  const lines = `'[Service]' "User=$(id -un "$1")" 'ExecStart=/usr/local/bin/piw logger ${read}'`;
  const addUnit = [`install -d ${unit.replace(/\/[^/]*$/, '')}`, `printf '%s\\n' ${lines} > ${unit}`];
  return { mounts: [...mounts.slice(0, -1), ...addUnit, ...mounts.slice(-1)] };
}

/** Starts a standby of a database like the farm's; returns what ends it, and its DSN for an ordinary role. */
async function startStandby(site: SoundInstallation): Promise<{ stop: () => Promise<void>; dsn: string }> {
  const { bin } = await findPostgres(site.account, () => undefined, new AbortController().signal);
  const [data, port] = [join(site.path, 'standby'), await freePort()];
  mkdirSync(data);
  chownTo(data, site.account);
  const options = { ...runAs(site.account), cwd: site.path, stdio: 'ignore' } as const;
  execFileSync(
    join(bin, 'initdb'),
    ['-D', data, '-U', 'root', '-A', 'trust', '-E', 'UTF8', '--no-sync'],
    options,
  );
  const settings = { listen_addresses: '127.0.0.1', port, unix_socket_directories: '' };
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  let server: ChildProcess;
  const start = async () => {
    server = spawn(join(bin, 'postgres'), ['-D', data, ...args], options);
    await until(() => Database.open(adminDsn, 'doctor', { connections: 1 }).then(closed, () => false));
  };
  const closed = async (db: Database) => {
    await db.close();
    return true;
  };
  const stop = async () => {
    const ended = new Promise((resolve) => server.once('exit', resolve));
    server.kill('SIGINT');
    await ended;
  };
  const adminDsn = `postgres://root@127.0.0.1:${port}/postgres`;
  await start();
  const db = await Database.open(adminDsn, 'doctor', { connections: 1 });
  await db.query('create role master login');
  await db.close();
  await migrate(adminDsn, { user: 'master' });
  await stop();
  // Without a primary server, it waits for one for ever.
  writeFileSync(join(data, 'standby.signal'), '');
  await start();
  return { stop, dsn: `postgres://master@127.0.0.1:${port}/postgres` };
}

/** Returns the command that covers a folder of the installation with a file system of its own. */
const tmpfs = (site: SoundInstallation, folder: string, options: string): string =>
  `mount -t tmpfs -o ${options},uid=${site.account.uid},gid=${site.account.gid} tmpfs ${site.path}/${folder}`;

interface CertificateOptions {
  readonly name: string;
  readonly days?: number;
  readonly isExpired?: boolean;
}

/** Creates a self-signed certificate and its key. */
function issue(folder: string, { name, days = 90, isExpired = false }: CertificateOptions) {
  const [cert, key, request] = ['pem', 'key', 'csr'].map((end) => join(folder, `${name}.${end}`)) as [
    string,
    string,
    string,
  ];
  const openssl = (...args: readonly string[]) => execFileSync('openssl', args, { stdio: 'ignore' });
  const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name}`];
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key];
  if (isExpired) {
    openssl('req', ...newKey, ...subject, '-out', request);
    const extensions = join(folder, `${name}.ext`);
    writeFileSync(extensions, `subjectAltName=DNS:${name}\n`);
    openssl(
      ...[
        'x509',
        '-req',
        '-in',
        request,
        '-signkey',
        key,
        '-days',
        '-1',
        '-extfile',
        extensions,
        '-out',
        cert,
      ],
    );
  } else openssl('req', '-x509', ...newKey, ...subject, '-days', String(days), '-out', cert);
  return { cert, key };
}

/** Returns a fault of the files of TLS, in a folder of its own. */
function tlsFiles({
  settings,
  ...fault
}: Pick<Fault, 'title' | 'problem' | 'fix'> & { readonly settings: (folder: string) => Changes }): Fault {
  return {
    ...fault,
    role: 'master',
    // The servers of this farm have no TLS.
    also: [/^nats: /],
    lacks: lacksProgram('openssl'),
    settings: (site) => {
      const folder = mkdtempSync(join(site.path, 'tls-'));
      const changes = settings(folder);
      for (const name of readdirSync(folder))
        chownSync(join(folder, name), site.account.uid, site.account.gid);
      chownSync(folder, site.account.uid, site.account.gid);
      return changes;
    },
  };
}

interface OtherNats extends Pick<Fault, 'title' | 'problem' | 'fix' | 'also'> {
  /** Returns the server's configuration, given a folder for its data. */
  readonly config?: (folder: string) => string;
  /** The certificate that it has; the master trusts it unless `isUntrusted`. */
  readonly certificate?: CertificateOptions;
  readonly isUntrusted?: boolean;
}

/** Returns a fault of a nats-server, for which a server of its own is started. */
function otherNats({ config, certificate, isUntrusted, ...fault }: OtherNats): Fault {
  let server: ChildProcess | undefined;
  return {
    ...fault,
    role: 'master',
    lacks: lacksProgram('openssl'),
    break: async (site) => {
      const folder = mkdtempSync(join(site.path, 'nats-'));
      chmodSync(folder, 0o755);
      const port = await freePort();
      const files = certificate === undefined ? undefined : issue(folder, certificate);
      const tls = files === undefined ? '' : `tls { cert_file: "${files.cert}", key_file: "${files.key}" }\n`;
      const log = join(folder, 'log');
      writeFileSync(
        join(folder, 'nats.conf'),
        `listen: "127.0.0.1:${port}"\nlog_file: "${log}"\n${tls}${config?.(join(folder, 'store')) ?? ''}\n`,
      );
      server = spawn(site.parts.natsBinary, ['-c', join(folder, 'nats.conf')], { stdio: 'ignore' });
      await until(() => existsSync(log) && readFileSync(log, 'utf8').includes('Server is ready'));
      const scheme = files === undefined ? 'nats' : 'tls';
      const trust = files === undefined || isUntrusted === true ? {} : { 'tls-ca': files.cert };
      site.configure('master', { nats: `${scheme}://localhost:${port}`, ...trust });
    },
    restore: async (site) => {
      const ended = new Promise((resolve) => server?.once('exit', resolve));
      server?.kill();
      await ended;
      site.configure('master');
    },
  };
}

interface OtherWebServer extends Pick<Fault, 'title' | 'problem' | 'fix' | 'also'> {
  /** Returns what differs in its answer from that of the farm's own web server. */
  readonly answer: (response: { headers: IncomingHttpHeaders; path: string }) => {
    readonly status?: number;
    readonly headers?: IncomingHttpHeaders;
    readonly body?: string;
  };
  readonly isTls?: boolean;
}

/** Returns a fault of the web server, for which a proxy is started that changes what it answers. */
function otherWebServer({ answer, isTls = false, ...fault }: OtherWebServer): Fault {
  let server: Server | undefined;
  return {
    ...fault,
    role: 'web',
    lacks: lacksProgram('openssl'),
    break: async (site) => {
      const handle = (incoming: IncomingMessage, response: ServerResponse) => {
        const { url: path = '/', method, headers } = incoming;
        const target = new URL(path, site.parts.publicUrl);
        const onward = request(target, {
          method: method ?? 'GET',
          headers: { ...headers, host: target.host },
        });
        onward.on('response', (served) => {
          const { statusCode = 502, headers: servedHeaders } = served;
          const changed = answer({ headers: servedHeaders, path });
          const sent = { ...(changed.headers ?? servedHeaders) };
          if (changed.body !== undefined) delete sent['content-length'];
          response.writeHead(changed.status ?? statusCode, sent);
          if (changed.body === undefined) served.pipe(response);
          else served.resume().once('end', () => response.end(changed.body));
        });
        onward.end();
      };
      const files = isTls ? issue(mkdtempSync(join(site.path, 'web-')), { name: 'localhost' }) : undefined;
      const created = files
        ? createTlsServer({ cert: readFileSync(files.cert), key: readFileSync(files.key) }, handle)
        : createServer(handle);
      server = created;
      created.listen(0, '127.0.0.1');
      await new Promise((resolve) => created.once('listening', resolve));
      const { port } = created.address() as AddressInfo;
      site.configure('web', { 'public-url': `${isTls ? 'https' : 'http'}://localhost:${port}/` });
    },
    restore: (site) => {
      server?.close();
      site.configure('web');
    },
  };
}

/** Returns the folder of a Python that is too old to build; undefined if there is none. */
function oldPython(): string | undefined {
  const versions = join(homedir(), '.pyenv', 'versions');
  const name = existsSync(versions)
    ? readdirSync(versions).find((each) => /^3\.[0-8]\./.test(each))
    : undefined;
  return name === undefined ? undefined : join(versions, name);
}
