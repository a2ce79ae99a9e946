/**
 * A sound installation for test/doctor/broken-installations.ts: a master, a builder and a web server on this machine,
 * each with its configuration file, and run by an ordinary user. Needs root.
 */
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { RawSettings } from '../../src/config.js';
import { migrate } from '../../src/database/migrations.js';
import { Database } from '../../src/database/pool.js';
import { stageProgram } from '../../src/farm/stage.js';
import { DataFolder } from '../../src/servers/data-folder.js';
import { findNatsServer, startNats } from '../../src/servers/nats-server.js';
import { freePort } from '../../src/servers/ports.js';
import { startPostgres } from '../../src/servers/postgres.js';
import { chownTo, runAs, unprivilegedAccount, type Account } from '../../src/servers/privileges.js';
import { findPython } from '../../src/servers/python.js';
import { formatConfig } from '../../src/settings/config-file.js';
import type { Role } from '../../src/doctor/check.js';
import { makeWheel } from '../helpers/wheel.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
/** A role that pg_hba.conf lets in without a password, as peer login does over the local socket. */
export const PEER_ROLE = 'newcomer';

/** Changes to settings; null removes one. */
export type Changes = Readonly<Record<string, RawSettings[keyof RawSettings] | null>>;

/** How the machine looks to one run of the doctor. */
export interface View {
  /** Shell commands that run first, in a mount namespace of its own. `$1` is the user. */
  readonly mounts?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Folders before those of PATH. */
  readonly path?: readonly string[];
  readonly asRoot?: boolean;
  /** The folder with the program and its package.json. */
  readonly program?: string;
}

export interface CommandResult {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a program until it exits. */
const run = (
  command: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; uid?: number; gid?: number; cwd?: string } = {},
): Promise<CommandResult> =>
  new Promise((resolve) => {
    const child = execFile(command, args, { cwd: '/', ...options }, (error, out, err) => {
      resolve({ code: error === null ? 0 : (child.exitCode ?? -1), out, err });
    });
    child.stdin?.end();
  });

/** What a sound installation consists of. */
interface Parts {
  readonly path: string;
  readonly account: Account;
  readonly settings: Readonly<Record<Role, RawSettings>>;
  readonly adminDsn: string;
  readonly natsBinary: string;
  readonly natsMaster: string;
  readonly publicUrl: string;
}

export class SoundInstallation {
  readonly parts: Parts;
  readonly #program: { readonly node: string; readonly root: string };
  readonly #stops: readonly (() => unknown)[];
  readonly #processes = new Map<Role, ChildProcess>();

  private constructor(parts: Parts, stops: readonly (() => unknown)[]) {
    this.parts = parts;
    this.#stops = stops;
    this.#program = stageProgram(ROOT, parts.account);
  }

  get path(): string {
    return this.parts.path;
  }

  get account(): Account {
    return this.parts.account;
  }

  get settings(): Readonly<Record<Role, RawSettings>> {
    return this.parts.settings;
  }

  static async start(print: (line: string) => void): Promise<SoundInstallation> {
    const account = unprivilegedAccount();
    if (account === undefined) throw new Error('this script needs root');
    const path = mkdtempSync(join(tmpdir(), 'piw-broken-'));
    chmodSync(path, 0o755);
    const stops: (() => unknown)[] = [
      () => {
        rmSync(path, { recursive: true, force: true });
      },
    ];
    const folder = DataFolder.open(join(path, 'data'), account);
    stops.push(() => {
      folder.close();
    });
    const services = {
      folder,
      log: print,
      onFailure: (error: Error) => {
        print(error.message);
      },
      signal: new AbortController().signal,
    };
    const python = await findPython(undefined, account);
    const nats = await startNats({ ...services, python, prefix: 'piw', slaves: ['builder'] });
    stops.push(() => nats.process.stop());
    const postgres = await startPostgres(services);
    stops.push(() => postgres.process.stop());
    await migrate(postgres.adminDsn, { user: postgres.role });
    await letInWithoutPassword(postgres.adminDsn, PEER_ROLE);
    const index = await startIndex();
    stops.push(() => index.close());
    for (const name of ['etc', 'home', 'www', 'work', 'sudo']) {
      mkdirSync(join(path, name));
      chownTo(join(path, name), account);
    }
    const port = await freePort();
    const publicUrl = `http://127.0.0.1:${port}/`;
    const outputPath = join(path, 'www');
    const parts = {
      path,
      account,
      adminDsn: postgres.adminDsn,
      natsBinary: await findNatsServer({ ...services, python }),
      natsMaster: nats.master,
      publicUrl,
      settings: {
        master: {
          nats: nats.master,
          dsn: postgres.dsn,
          'output-path': outputPath,
          'pypi-simple': `http://127.0.0.1:${(index.address() as AddressInfo).port}/simple`,
          'nats-users': nats.usersFile,
          // Without it, the master writes no sitemap and no robots.txt.
          'public-url': publicUrl,
        },
        builder: {
          master: nats.slave,
          'slave-user': 'builder',
          'work-dir': join(path, 'work'),
          python: [python.path],
          'min-memory-free': 0,
          'max-temperature': 0,
        },
        web: { 'output-path': outputPath, 'public-url': publicUrl },
      },
    };
    const installation = new SoundInstallation(parts, stops);
    installation.#writeSudo();
    for (const role of ['master', 'builder', 'web'] as const) installation.configure(role);
    installation.startService('master', ['master']);
    await installation.untilAnswered(['abi', 'list'], 'master');
    installation.startService('web', ['web', '--port', String(port)]);
    const wheel = await makeWheel(path);
    const imported = await installation.piw(['import', '-y', '--abi', 'cp311', wheel], 'master');
    if (imported.code !== 0) {
      await installation.piw(['abi', 'add', 'cp311', '--platform', 'linux_x86_64'], 'master');
      await installation.untilAnswered(['import', '-y', wheel], 'master');
    }
    installation.startService('builder', ['slave']);
    return installation;
  }

  /** Returns the path of a role's configuration file. */
  file(role: Role): string {
    return join(this.path, 'etc', `${role}.conf`);
  }

  /** Writes a role's configuration, with these changes; null removes a setting. */
  configure(role: Role, changes: Changes = {}): void {
    const merged: Changes = { ...this.settings[role], ...changes };
    const entries = Object.entries(merged).filter(([, value]) => value !== null);
    this.write(this.file(role), formatConfig(Object.fromEntries(entries)));
  }

  /** Writes a file that only the user of the services can read. */
  write(file: string, contents: string, mode = 0o600): void {
    rmSync(file, { force: true });
    writeFileSync(file, contents, { mode });
    chmodSync(file, mode);
    chownTo(file, this.account);
  }

  startService(role: Role, args: readonly string[]): void {
    const log = openSync(join(this.path, `${role}.log`), 'a');
    const child = spawn(this.#program.node, [this.#bin(), ...args, '-c', this.file(role)], {
      ...runAs(this.account),
      cwd: this.path,
      stdio: ['ignore', log, log],
      env: this.#env(),
    });
    closeSync(log);
    this.#processes.set(role, child);
  }

  /** Ends a service, and waits until it has exited. */
  async stopService(role: Role): Promise<void> {
    const child = this.#processes.get(role);
    this.#processes.delete(role);
    if (child?.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await ended;
  }

  /** Runs `piw` as the user of the services. */
  piw(args: readonly string[], role: Role): Promise<CommandResult> {
    return run(this.#program.node, [this.#bin(), ...args, '-c', this.file(role)], {
      ...runAs(this.account),
      env: this.#env(),
    });
  }

  /** Repeats a command until it succeeds. Throws after a minute. */
  async untilAnswered(args: readonly string[], role: Role): Promise<void> {
    const deadline = Date.now() + 60_000;
    for (;;) {
      const { code, err } = await this.piw(args, role);
      if (code === 0) return;
      if (Date.now() > deadline) throw new Error(`piw ${args.join(' ')}: ${err}`);
    }
  }

  /** Runs `piw doctor` for one role, on a machine that looks like this. */
  doctor(role: Role, view: View = {}): Promise<CommandResult> {
    const { mounts = [], env = {}, path = [], asRoot = false, program } = view;
    const { uid, gid } = asRoot ? { uid: 0, gid: 0 } : this.account;
    const script = [...mounts, 'shift', `exec setpriv --reuid ${uid} --regid ${gid} --clear-groups -- "$@"`];
    const environment = Object.entries({ ...this.#env(path), ...env }).map(
      ([key, value]) => `${key}=${value}`,
    );
    return run('unshare', [
      ...['-m', '--', 'sh', '-ec', script.join('\n'), 'sh', this.account.name, 'env', '-i', ...environment],
      ...[this.#program.node, this.#bin(program), 'doctor', '-c', this.file(role), '--role', role],
    ]);
  }

  /** Runs a command line that the doctor advises, as an administrator types it. */
  shell(line: string): Promise<CommandResult> {
    return run('sh', ['-ec', line], { env: { ...this.#env([join(this.path, 'sudo')]) } });
  }

  /** Opens the database as its superuser; `name`: another database. */
  async database(name?: string): Promise<Database> {
    return await Database.open(this.dsnOf(this.parts.adminDsn, name), 'doctor');
  }

  dsnOf(dsn: string, name?: string): string {
    const url = new URL(dsn);
    if (name !== undefined) url.pathname = `/${name}`;
    return url.href;
  }

  /** Returns a copy of the program whose package.json is changed. */
  programThatNeeds(node: string): string {
    const target = join(this.path, 'program');
    cpSync(this.#program.root, target, {
      recursive: true,
      filter: (source) => !/[/](?:[.]git|dist[/](?:src|test|actors)|test)(?:[/]|$)/.test(source),
    });
    execFileSync('sed', ['-i', `s/"node": "[^"]*"/"node": "${node}"/`, join(target, 'package.json')]);
    return target;
  }

  async stop(): Promise<void> {
    for (const role of [...this.#processes.keys()]) await this.stopService(role);
    for (const stop of [...this.#stops].reverse()) await stop();
  }

  #bin(root = this.#program.root): string {
    return join(root, 'dist', 'run', 'bin.js');
  }

  #env(path: readonly string[] = []): Record<string, string> {
    return {
      PATH: [...path, '/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'].join(
        ':',
      ),
      HOME: join(this.path, 'home'),
    };
  }

  /**
   * Writes the programs `sudo` and `piw` for shell(): here no user `postgres` has peer login, so `sudo -u postgres`
   * passes the superuser's password.
   */
  #writeSudo(): void {
    const admin = new URL(this.parts.adminDsn);
    const { hostname, port, username, password } = admin;
    admin.pathname = '/';
    const script = `#!/bin/sh
if [ "$1" = -u ] && [ "$2" = postgres ]; then
  shift 2
  export PGHOST='${hostname}' PGPORT='${port}' PGUSER='${decodeURIComponent(username)}' PGPASSWORD='${decodeURIComponent(password)}'
  for word; do
    shift
    case $word in postgres:///*) word="${admin.href}\${word#postgres:///}"; word=\${word%%[?]*};; esac
    set -- "$@" "$word"
  done
fi
exec "$@"
`;
    const folder = join(this.path, 'sudo');
    writeFileSync(join(folder, 'sudo'), script, { mode: 0o755 });
    const piw = `#!/bin/sh
case " $* " in *" -c /dev/null "*) set -- "$@" ;; *) set -- "$@" -c '${this.file('master')}' ;; esac
exec '${this.#program.node}' '${this.#bin()}' "$@"
`;
    writeFileSync(join(folder, 'piw'), piw, { mode: 0o755 });
  }
}

/** Lets a role in without a password, before all other rules of pg_hba.conf. */
async function letInWithoutPassword(adminDsn: string, role: string): Promise<void> {
  const db = await Database.open(adminDsn, 'doctor');
  try {
    const [row] = await db.query<{ file: string }>("select current_setting('hba_file') as file");
    execFileSync('sed', ['-i', `1i host all ${role} 127.0.0.1/32 trust`, row?.file ?? '']);
    await db.query('select pg_reload_conf()');
  } finally {
    await db.close();
  }
}

/** Starts an index without projects; below /private/, it wants a password. */
async function startIndex(): Promise<Server> {
  const server = createServer((request, response) => {
    if (request.url?.startsWith('/private/') === true) response.writeHead(401).end();
    else if (request.url === '/simple/')
      response
        .writeHead(200, { 'content-type': 'application/vnd.pypi.simple.v1+json' })
        .end('{"meta":{"api-version":"1.1"},"projects":[]}');
    else response.writeHead(404).end();
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return server;
}
