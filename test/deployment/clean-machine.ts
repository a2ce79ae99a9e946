import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const SYSTEMCTL = fileURLToPath(new URL('systemctl.js', import.meta.url));
const SCRIPTS = fileURLToPath(new URL('../../../test/deployment/', import.meta.url));
const SHELL_USER = 'admin';
const HOME = `/home/${SHELL_USER}`;
/** Variables by which this machine's programs find their proxies, for everybody there. */
const PROXY_VARIABLES = /^(?:https?|no)_proxy$/i;
/** The variable by which the master trusts what this machine trusts between it and PyPI, for services alone. */
const SERVICE_VARIABLES = /^NODE_EXTRA_CA_CERTS$/;

export interface CleanMachineOptions {
  readonly name: string;
  /** Its full name; its host name is the part before the first dot. */
  readonly fqdn: string;
  /** The lines of its /etc/hosts after that of localhost. */
  readonly hosts: readonly string[];
  /** The folder of its log, and of everything else that it writes. */
  readonly folder: string;
  /** A folder for each machine, by its name: the home of its `admin`. */
  readonly homes: Readonly<Record<string, string>>;
  /** A folder that several machines share, as /var/www/piwheels. */
  readonly shared?: string;
  /** The beginning of a command line that runs the rest in a network of its own; by default, this machine's is used. */
  readonly launcher?: readonly string[];
}

/**
 * A machine for one chapter: this machine's files under an overlay, so that nothing that happens there stays; mounts,
 * processes and a host name of its own; this machine's network or one of its own. It has a user `admin` who may use sudo, whose shell
 * runs the chapter's blocks. Two programs there are stand-ins: systemctl (systemctl.ts), and scp, which copies to the
 * `admin` of another clean machine.
 *
 * Needs root. All of its processes end with close().
 */
export class CleanMachine {
  #shell: ChildProcess | undefined;
  #onLine: (line: string) => void = () => undefined;
  #onClose: (code: number | null) => void = () => undefined;

  private constructor(
    readonly name: string,
    readonly log: string,
    private readonly holder: ChildProcess,
    private readonly pid: number,
  ) {}

  static async start(options: CleanMachineOptions): Promise<CleanMachine> {
    const { name, fqdn, hosts, folder, homes, shared = '', launcher = [] } = options;
    const base = mkdtempSync(join(folder, `${name}-`));
    const namespaces = ['--mount', '--uts', '--pid', '--fork', '--kill-child', '--propagation', 'private'];
    const command = [...launcher, 'unshare', ...namespaces, 'bash', '-eu', `${SCRIPTS}boot.sh`];
    const holder = spawn(command[0] ?? '', command.slice(1), {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {
        PATH: process.env['PATH'],
        BASE: base,
        FQDN: fqdn,
        HOSTS: hosts.join('\n'),
        HOMES: Object.entries(homes)
          .map(([machine, home]) => `${machine} ${home}`)
          .join('\n'),
        OWN_HOME: homes[name],
        SHARED: shared,
        SYSTEMCTL: `#!/bin/sh\nexec '${process.execPath}' '${SYSTEMCTL}' "$@"\n`,
      },
    });
    await new Promise<void>((resolve, reject) => {
      createInterface(holder.stdout).once('line', () => {
        resolve();
      });
      holder.once('exit', () => {
        reject(new Error(`the clean machine ${name} did not start`));
      });
    });
    const children = readFileSync(`/proc/${String(holder.pid)}/task/${String(holder.pid)}/children`, 'utf8');
    return new CleanMachine(name, join(folder, `${name}.log`), holder, Number(children.trim()));
  }

  /** Installs sudo and the user, and makes PostgreSQL, if this machine has it, as new. */
  prepare(): void {
    const variables = (pattern: RegExp): string =>
      Object.entries(process.env)
        .filter(([variable]) => pattern.test(variable))
        .map(([variable, value]) => `${variable}=${value ?? ''}\n`)
        .join('');
    this.#asRoot(readFileSync(`${SCRIPTS}prepare.sh`, 'utf8'), {
      ENVIRONMENT: variables(PROXY_VARIABLES),
      SERVICE_ENVIRONMENT: variables(SERVICE_VARIABLES),
    });
  }

  /** Runs a script as root; returns what it prints. */
  asRoot(script: string): string {
    return this.#asRoot(script, {});
  }

  #asRoot(script: string, environment: Readonly<Record<string, string>>): string {
    return execFileSync('nsenter', [...this.#namespaces(), 'bash', '-euc', script], {
      encoding: 'utf8',
      env: {
        PATH: ROOT_PATH,
        HOME: '/root',
        LANG: 'C.UTF-8',
        DEBIAN_FRONTEND: 'noninteractive',
        ...environment,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
      maxBuffer: 64 * 1024 * 1024,
    });
  }

  /**
   * Runs a script in the shell of `admin`, which keeps its variables and its folder; what it prints goes to the log.
   * Returns whether every command in it succeeded; if not, the shell has ended.
   */
  async run(script: string): Promise<boolean> {
    const shell = (this.#shell ??= this.#openShell());
    const file = join(this.log.replace(/\.log$/, ''), 'block.sh');
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, `${script}\n`);
    appendFileSync(this.log, `\n$ ${script.replaceAll('\n', '\n> ')}\n`);
    return new Promise((resolve) => {
      this.#onLine = (line) => {
        if (line === DONE) resolve(true);
        else appendFileSync(this.log, `${line}\n`);
      };
      this.#onClose = () => {
        resolve(false);
      };
      shell.stdin?.write(`. '${file}' < /dev/null\necho\necho ${DONE}\n`);
    });
  }

  #openShell(): ChildProcess {
    const environment = ['-i', `HOME=${HOME}`, `USER=${SHELL_USER}`, `LOGNAME=${SHELL_USER}`, 'LANG=C.UTF-8'];
    const user = ['setpriv', `--reuid=${SHELL_USER}`, `--regid=${SHELL_USER}`, '--init-groups'];
    const variables = this.asRoot('cat /etc/environment').split('\n').filter(Boolean);
    const shell = spawn(
      'nsenter',
      [
        ...this.#namespaces(),
        ...user,
        'env',
        ...environment,
        `PATH=${USER_PATH}`,
        'DEBIAN_FRONTEND=noninteractive',
        ...variables,
        'bash',
      ],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    createInterface(shell.stdout).on('line', (line) => {
      this.#onLine(line);
    });
    shell.once('close', (code) => {
      this.#onClose(code);
    });
    shell.stdin.on('error', () => undefined);
    shell.stdin.write(`exec 2>&1\ncd ${HOME}\nset -eE -o pipefail\n`);
    return shell;
  }

  #namespaces(): readonly string[] {
    return ['--target', String(this.pid), '--mount', '--uts', '--net', '--pid', '--'];
  }

  /** Ends all processes of the machine; its files are gone with them. */
  async close(): Promise<void> {
    if (this.holder.exitCode !== null || this.holder.signalCode !== null) return;
    const ended = new Promise((resolve) => this.holder.once('exit', resolve));
    this.holder.kill('SIGKILL');
    await ended;
  }
}

const DONE = '@@ the block has ended';
const ROOT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const USER_PATH = '/usr/local/bin:/usr/bin:/bin';
