/**
 * PostgreSQL on another machine, in the two ways of docs/master.md: by password and TLS, and through an SSH tunnel of the
 * socket. It is one of its own here, because both depend on pg_hba.conf.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { Database } from '../../src/database/pool.js';
import { freePort } from '../../src/servers/ports.js';
import { findPostgres } from '../../src/servers/postgres-binaries.js';
import { chownTo, runAs, unprivilegedAccount } from '../../src/servers/privileges.js';
import { until } from '../helpers/bus.js';
import { piwRunner } from '../helpers/command.js';
import { debianFiles } from '../helpers/debian.js';
import { orSkipReason, skipUnlessInstalled } from '../helpers/missing.js';

t.setTimeout(200_000);

const CONFIG = fileURLToPath(new URL('../../../config/', import.meta.url));
const PASSWORD = 'not-on-any-command-line';
/** The account that PostgreSQL and sshd run as. */
const account = unprivilegedAccount();
const accountName = account?.name ?? userInfo().username;
const piw = piwRunner({});

interface Installation {
  readonly folder: string;
  readonly port: number;
  /** The authority of PostgreSQL's certificate, which is for localhost. */
  readonly ca: string;
}

/** Returns a folder of the account. */
function newFolder(prefix: string): string {
  const folder = mkdtempSync(join(tmpdir(), prefix));
  chmodSync(folder, 0o700);
  chownTo(folder, account);
  return folder;
}

function writeOwn(file: string, contents: string): string {
  writeFileSync(file, contents, { mode: 0o600 });
  chownTo(file, account);
  return file;
}

/** Starts a program as the account, until the test ends. */
function startProgram(
  t: Test,
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  stopSignal: NodeJS.Signals = 'SIGTERM',
): ChildProcess {
  const child = spawn(program, args, {
    ...runAs(account),
    cwd: '/',
    stdio: 'ignore',
    env: { PATH: process.env['PATH'], LC_ALL: 'C', ...env },
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill(stopSignal);
      await ended;
    }
  });
  return child;
}

const socketDsn = (folder: string, port: number, user: string, database = 'piwheels'): string =>
  `postgres://${user}@localhost:${port}/${database}?host=${encodeURIComponent(folder)}`;

/** Starts PostgreSQL with the database piwheels, prepared through the socket by its superuser. */
async function startDatabaseServer(): Promise<Installation> {
  const folder = newFolder('pg-');
  const { bin } = await findPostgres(account, () => undefined, new AbortController().signal);
  const [data, port] = [join(folder, 'data'), await freePort()];
  execFileSync(join(bin, 'initdb'), ['-D', data, '-U', 'postgres', '--auth=peer', '--no-sync'], {
    ...runAs(account),
    cwd: '/',
    stdio: 'ignore',
  });
  const certificates = join(folder, 'authority');
  execFileSync('sh', [`${CONFIG}certificates.sh`, certificates, 'localhost'], { stdio: 'ignore' });
  chownTo(certificates, account);
  chownTo(join(certificates, 'localhost.key'), account);
  chownTo(join(certificates, 'localhost.pem'), account);
  writeOwn(
    join(folder, 'hba'),
    'local all all peer map=here\nhostssl piwheels piwheels 127.0.0.1/32 scram-sha-256\n',
  );
  const users = [...new Set([accountName, userInfo().username])];
  writeOwn(
    join(folder, 'ident'),
    [`here ${accountName} ${accountName}`, ...users.map((user) => `here ${user} postgres`)].join('\n') + '\n',
  );
  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: folder,
    hba_file: join(folder, 'hba'),
    ident_file: join(folder, 'ident'),
    ssl: 'on',
    ssl_cert_file: join(certificates, 'localhost.pem'),
    ssl_key_file: join(certificates, 'localhost.key'),
    fsync: 'off',
  };
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  startProgram(t, join(bin, 'postgres'), ['-D', data, ...args], {}, 'SIGINT');
  let admin: Database | undefined;
  await until(async () => {
    admin = await Database.open(socketDsn(folder, port, 'postgres', 'postgres'), t.name).catch(
      () => undefined,
    );
    return admin !== undefined;
  });
  await admin?.query(`create role piwheels login password '${PASSWORD}'`);
  await admin?.query(`create role ${accountName} login`);
  await admin?.query('create database piwheels');
  await admin?.close();
  for (const role of ['piwheels', accountName]) {
    const { code, err } = await piw('initdb', '-d', socketDsn(folder, port, 'postgres'), '-u', role, '-y');
    if (code !== 0) throw new Error(err);
  }
  return { folder, port, ca: join(certificates, 'ca.pem') };
}

const skip = skipUnlessInstalled('openssl');
const installation = skip === false ? startDatabaseServer() : undefined;

void t.test('PostgreSQL elsewhere, by password and TLS', { skip }, async (t) => {
  if (installation === undefined) return;
  const { folder, port, ca } = await installation;
  const dsn = (host: string, parameters: Readonly<Record<string, string>>): string =>
    `postgres://piwheels:${PASSWORD}@${host}:${port}/piwheels?${new URLSearchParams(parameters).toString()}`;

  // As in /etc/piwheels.conf of a master: the DSN is in a file.
  const file = join(folder, 'dsn');
  writeFileSync(file, dsn('localhost', { sslmode: 'verify-full', sslrootcert: ca }), { mode: 0o600 });
  const conf = join(folder, 'piwheels.conf');
  writeFileSync(conf, `dsn-file = ${file}\n`);
  const { out } = await piw('config', 'show', '-c', conf);
  t.notMatch(out, PASSWORD);
  const db = await Database.open(readFileSync(file, 'utf8'), t.name);
  t.same(
    await db.query(
      'select current_user as role, ssl, (select schema_version > 0 from configuration) as prepared from pg_stat_ssl where pid = pg_backend_pid()',
    ),
    [{ role: 'piwheels', ssl: true, prepared: true }],
  );
  await db.close();

  const verifyCa = await Database.open(dsn('127.0.0.1', { sslmode: 'verify-ca', sslrootcert: ca }), t.name);
  await verifyCa.close();
  for (const [title, refused, expected] of [
    ['without TLS', dsn('localhost', {}), { code: 'PIW_DATABASE_LOGIN' }],
    [
      'by a superuser',
      dsn('localhost', { sslmode: 'require' }).replace('//piwheels', '//postgres'),
      { code: 'PIW_DATABASE_LOGIN' },
    ],
    [
      'an unknown authority',
      dsn('localhost', { sslmode: 'verify-full' }),
      { message: /self-signed|certificate/ },
    ],
    ['another name', dsn('127.0.0.1', { sslmode: 'verify-full', sslrootcert: ca }), { message: /IP: 127/ }],
    ['no file', dsn('localhost', { sslmode: 'verify-ca', sslrootcert: '/nowhere' }), { code: 'PIW_CONFIG' }],
  ] as const)
    await t.rejects(Database.open(refused, t.name), expected, title);
});

const clients = skip === false ? skipUnlessInstalled('ssh', 'ssh-keygen') : skip;
const sshd =
  clients === false ? await orSkipReason(() => debianFiles(['openssh-server'], '/usr/sbin/sshd')) : clients;

void t.test(
  'PostgreSQL elsewhere, through an SSH tunnel of its socket',
  {
    skip: typeof sshd === 'string' ? sshd : false,
  },
  async (t) => {
    if (typeof sshd === 'string' || installation === undefined) return;
    const { folder, port } = await installation;
    const sshPort = await freePort();
    for (const name of ['host', 'user'])
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)], {
        ...runAs(account),
        cwd: '/',
      });
    writeOwn(
      join(folder, 'authorized_keys'),
      `restrict,port-forwarding ${readFileSync(join(folder, 'user.pub'), 'utf8')}`,
    );
    const sshdConfig = writeOwn(
      join(folder, 'sshd_config'),
      [
        `Port ${sshPort}`,
        'ListenAddress 127.0.0.1',
        `HostKey ${join(folder, 'host')}`,
        `AuthorizedKeysFile ${join(folder, 'authorized_keys')}`,
        'PasswordAuthentication no',
        'KbdInteractiveAuthentication no',
        'StrictModes no',
        // Without PAM, an account without a password counts as locked.
        'UsePAM yes',
        'PidFile none',
        '',
      ].join('\n'),
    );
    startProgram(t, `${sshd.root}/usr/sbin/sshd`, ['-D', '-e', '-f', sshdConfig], sshd.env);
    writeOwn(
      join(folder, 'known_hosts'),
      `[127.0.0.1]:${sshPort} ${readFileSync(join(folder, 'host.pub'), 'utf8')}`,
    );

    // The command of the unit, with this test's paths.
    const unit = readFileSync(`${CONFIG}systemd/piw-database-tunnel.service`, 'utf8');
    const tunnel = join(folder, 'tunnel');
    mkdirSync(tunnel, { mode: 0o700 });
    chownTo(tunnel, account);
    const [, command = ''] = /^ExecStart=\/usr\/bin\/ssh (.*)$/m.exec(unit) ?? [];
    const args = command
      .replace(
        '/run/piw-database/.s.PGSQL.5432:/run/postgresql/.s.PGSQL.5432',
        `${tunnel}/.s.PGSQL.5432:${folder}/.s.PGSQL.${port}`,
      )
      .replace(
        'db.example.org',
        `-F none -p ${sshPort} -i ${folder}/user -o UserKnownHostsFile=${folder}/known_hosts ${accountName}@127.0.0.1`,
      )
      .split(' ');
    t.ok(args.length > 15, command);

    const dsn = socketDsn(tunnel, 5432, accountName);
    const open = (): Promise<Database | undefined> => Database.open(dsn, t.name).catch(() => undefined);
    // sshd may not listen yet: systemd would restart the unit.
    const startTunnel = async (): Promise<ChildProcess> => {
      for (;;) {
        const ssh = startProgram(t, 'ssh', args);
        await until(async () => {
          const db = await open();
          await db?.close();
          return db !== undefined || ssh.exitCode !== null;
        });
        if (ssh.exitCode === null) return ssh;
        await sleep(100);
      }
    };
    const tunnelProcess = await startTunnel();
    const db = await Database.open(dsn, t.name);
    t.teardown(() => db.close());
    const role = 'select current_user as role, (select schema_version > 0 from configuration) as prepared';
    t.same(await db.query(role), [{ role: accountName, prepared: true }]);
    await t.rejects(Database.open(socketDsn(tunnel, 5432, 'piwheels'), t.name), {
      code: 'PIW_DATABASE_LOGIN',
    });

    tunnelProcess.kill('SIGKILL');
    await t.rejects(db.query(role));
    await startTunnel();
    await until(async () => (await db.query(role).catch(() => [])).length === 1);
    t.pass('the same pool works through the next tunnel');
  },
);
