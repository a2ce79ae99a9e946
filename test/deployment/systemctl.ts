/**
 * Stands for systemctl on the clean machines of run-docs.ts, where systemd does not run. It reads the real unit files
 * in /etc/systemd/system and starts their ExecStart as their User, with their groups, folders and environment; it
 * restarts what failed (Restart=on-failure) or ended (Restart=always), and it applies
 *
 *   ProtectSystem=strict, ReadWritePaths, ProtectHome, PrivateTmp, NoNewPrivileges
 *
 * and no other key that confines a service. A timer has to be OnCalendar=minutely. Services of Debian's packages, which
 * have no unit there, are started with their scripts in /etc/init.d.
 *
 *     systemctl daemon-reload
 *     systemctl [enable|disable [--now]|start|stop|restart|reload|is-active|kill] UNIT…
 *
 * What a service prints is in /var/log/units/UNIT.log. Services get the variables in /etc/environment and
 * /etc/units/environment, as by systemd's DefaultEnvironment.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { UnitFile } from './unit-file.js';

const UNITS = '/etc/systemd/system';
const PID_FILES = '/run/units';
const LOGS = '/var/log/units';
const TIMER_INTERVAL_MS = 60_000;
/** The folders that ProtectSystem=strict leaves writable are mounts of their own here: /proc, /sys and /dev. */
const READ_ONLY_MOUNTS = ['/', '/run', '/tmp'];

class Service {
  readonly #unit: UnitFile;

  /** `name` is that of the unit without its type: piw-actor@the-oracle. */
  constructor(readonly name: string) {
    const [template = '', instance] = name.split('@');
    const path = `${UNITS}/${instance === undefined ? name : `${template}@`}.service`;
    this.#unit = new UnitFile(path, instance ?? '');
  }

  /** The process that systemd would call MAINPID; null if there is none. */
  get mainPid(): number | null {
    return readPid(`${this.name}.main`);
  }

  get isOneShot(): boolean {
    return this.#unit.last('Service.Type') === 'oneshot';
  }

  /** Runs the service once; returns its exit code, or 128 and more for a signal. */
  run(): Promise<number> {
    const log = openSync(`${LOGS}/${this.name}.log`, 'a');
    const child = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-ec', this.#script()], {
      stdio: ['ignore', log, log],
      env: this.#environment(),
      cwd: '/',
    });
    writeFileSync(`${PID_FILES}/${this.name}.main`, `${String(child.pid)}\n`);
    return new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        rmSync(`${PID_FILES}/${this.name}.main`, { force: true });
        resolve(code ?? (signal === 'SIGKILL' ? 137 : 143));
      });
    });
  }

  /** Runs the service until it ends, and again when it failed, as Restart says. */
  async supervise(): Promise<void> {
    const restart = this.#unit.last('Service.Restart');
    const isFinal = (code: number): boolean =>
      restart !== 'always' &&
      (code === 0 ||
        restart !== 'on-failure' ||
        this.#unit.words('Service.RestartPreventExitStatus').includes(String(code)));
    while (!isFinal(await this.run()))
      await sleep(Number(this.#unit.last('Service.RestartSec') ?? '0.1') * 1000);
  }

  /** Runs ExecStop or ExecReload. */
  control(key: 'ExecStop' | 'ExecReload'): void {
    const pid = this.mainPid;
    if (pid === null) return;
    for (const command of this.#unit.all(`Service.${key}`)) {
      const [program = '', ...args] = command.replaceAll('$MAINPID', String(pid)).split(/\s+/);
      execFileSync(program, args, { stdio: 'inherit' });
    }
  }

  async stop(): Promise<void> {
    kill(readPid(`${this.name}.supervisor`), 'SIGKILL');
    this.control('ExecStop');
    if (this.#unit.last('Service.ExecStop') === undefined) kill(this.mainPid, 'SIGTERM');
    const limitS = Number(this.#unit.last('Service.TimeoutStopSec') ?? '90');
    for (let waitedS = 0; isAlive(this.mainPid) && waitedS < limitS; waitedS += 0.1) await sleep(100);
    kill(this.mainPid, 'SIGKILL');
    for (const kind of ['main', 'supervisor']) rmSync(`${PID_FILES}/${this.name}.${kind}`, { force: true });
  }

  /** Returns the commands of sh that prepare folders and mounts, and then become the service. */
  #script(): string {
    const unit = this.#unit;
    const user = unit.last('Service.User') ?? 'root';
    const group = unit.last('Service.Group') ?? idOf('-gn', user);
    const own = (folder: string): string => `install -d -o ${user} -g ${group} ${folder}`;
    const folders = [
      ...unit.words('Service.StateDirectory').map((name) => `/var/lib/${name}`),
      ...unit.words('Service.RuntimeDirectory').map((name) => `/run/${name}`),
    ];
    const writable = [...folders, ...unit.words('Service.ReadWritePaths')].flatMap((path) => {
      const folder = path.replace(/^-/, '');
      return path.startsWith('-') && !existsSync(folder) ? [] : [folder];
    });
    const lines = folders.map(own);
    if (unit.last('Service.ProtectSystem') === 'strict')
      lines.push(
        ...writable.map((folder) => `mount --bind ${folder} ${folder}`),
        ...READ_ONLY_MOUNTS.map((folder) => `mount -o remount,bind,ro ${folder}`),
      );
    if (unit.isOn('Service.PrivateTmp'))
      lines.push('mount -t tmpfs -o mode=1777 tmpfs /tmp', 'mount -t tmpfs -o mode=1777 tmpfs /var/tmp');
    if (unit.isOn('Service.ProtectHome'))
      lines.push(...['/home', '/root'].map((folder) => `mount -t tmpfs -o ro,mode=000 tmpfs ${folder}`));
    const groups = [...idOf('-G', user).split(' '), ...unit.words('Service.SupplementaryGroups')].join(',');
    const privileges = unit.isOn('Service.NoNewPrivileges') ? '--no-new-privs' : '';
    const command = unit.words('Service.ExecStart').map((word) => `'${word}'`);
    lines.push(
      `cd ${unit.last('Service.WorkingDirectory') ?? '/'}`,
      `exec setpriv --reuid=${user} --regid=${group} --groups=${groups} ${privileges} -- ${command.join(' ')}`,
    );
    return lines.join('\n');
  }

  #environment(): NodeJS.ProcessEnv {
    const user = this.#unit.last('Service.User') ?? 'root';
    const files = this.#unit.all('Service.EnvironmentFile').map((file) => file.replace(/^-/, ''));
    const home = execFileSync('getent', ['passwd', user], { encoding: 'utf8' }).split(':')[5];
    return {
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      LANG: 'C.UTF-8',
      HOME: home,
      USER: user,
      LOGNAME: user,
      ...Object.fromEntries(['/etc/environment', '/etc/units/environment', ...files].flatMap(variablesIn)),
      ...Object.fromEntries(this.#unit.words('Service.Environment').map(assignment)),
    };
  }
}

const idOf = (option: string, user: string): string =>
  execFileSync('id', [option, user], { encoding: 'utf8' }).trim();

function assignment(text: string): readonly [string, string] {
  const [name = '', value = ''] = text.split('=', 2);
  return [name, value];
}

function variablesIn(file: string): (readonly [string, string])[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').matchAll(/^([A-Za-z_]\w*)=(.*)$/gm);
  return [...lines].map(([, name = '', value = '']) => [name, value] as const);
}

function readPid(name: string): number | null {
  const file = `${PID_FILES}/${name}`;
  return existsSync(file) ? Number(readFileSync(file, 'utf8')) : null;
}

function isAlive(pid: number | null): boolean {
  if (pid === null) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function kill(pid: number | null, signal: NodeJS.Signals): void {
  if (pid !== null && isAlive(pid)) process.kill(pid, signal);
}

/** Starts this program again, without a terminal and beyond the end of this process. */
function detach(name: string, mode: string): void {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), mode, name], {
    detached: true,
    stdio: 'ignore',
    cwd: '/',
  });
  writeFileSync(`${PID_FILES}/${name}.supervisor`, `${String(child.pid)}\n`);
  child.unref();
}

async function start(unit: string): Promise<number> {
  const [name, type] = split(unit);
  if (type === 'timer') {
    const schedule = new UnitFile(`${UNITS}/${name}.timer`, '').last('Timer.OnCalendar');
    if (schedule !== 'minutely')
      throw new Error(`${unit}: no schedule but OnCalendar=minutely is known here`);
    detach(name, '--timer');
    return 0;
  }
  if (!isOurs(name)) return initScript(name, 'start');
  const service = new Service(name);
  if (service.isOneShot) return service.run();
  if (!isAlive(service.mainPid)) detach(name, '--supervise');
  return 0;
}

async function stop(unit: string): Promise<number> {
  const [name, type] = split(unit);
  if (type === 'timer') kill(readPid(`${name}.supervisor`), 'SIGKILL');
  else if (isOurs(name)) await new Service(name).stop();
  else return initScript(name, 'stop');
  return 0;
}

/** Returns the name and the type of a unit. */
const split = (unit: string): readonly [string, string] => {
  const [, name = unit, type = 'service'] = /^(.*?)(?:\.(service|timer))?$/.exec(unit) ?? [];
  return [name, type];
};

const isOurs = (name: string): boolean => existsSync(`${UNITS}/${name.replace(/@.*/, '@')}.service`);

const initScript = (name: string, verb: string): number =>
  spawnSync(`/etc/init.d/${name}`, [verb], { stdio: 'inherit' }).status ?? 1;

const verbs: Readonly<Record<string, (unit: string) => Promise<number> | number>> = {
  start,
  stop,
  restart: async (unit) => {
    const [name] = split(unit);
    if (!isOurs(name)) return initScript(name, 'restart');
    await stop(unit);
    return start(unit);
  },
  reload: (unit) => {
    if (!isOurs(unit)) return initScript(unit, 'reload');
    new Service(unit).control('ExecReload');
    return 0;
  },
  kill: (unit) => {
    kill(new Service(unit).mainPid, 'SIGKILL');
    return 0;
  },
  'is-active': (unit) => {
    const active = isAlive(new Service(unit).mainPid);
    process.stdout.write(active ? 'active\n' : 'inactive\n');
    return active ? 0 : 3;
  },
  '--supervise': async (name) => {
    await new Service(name).supervise();
    return 0;
  },
  '--timer': async (name) => {
    for (;;) {
      await new Service(name).run();
      await sleep(TIMER_INTERVAL_MS);
    }
  },
};

async function main([verb = '', ...words]: readonly string[]): Promise<number> {
  const units = words.filter((word) => !word.startsWith('--'));
  const now = words.includes('--now');
  for (const folder of [PID_FILES, LOGS]) mkdirSync(folder, { recursive: true });
  if (verb === 'daemon-reload') return 0;
  const action =
    verb === 'enable' ? (now ? start : () => 0) : verb === 'disable' ? (now ? stop : () => 0) : verbs[verb];
  if (action === undefined) throw new Error(`systemctl ${verb} is not known here`);
  for (const unit of units) {
    const code = await action(unit);
    if (code !== 0) return code;
  }
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
