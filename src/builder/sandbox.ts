import { execFile } from 'node:child_process';
import { access, constants, lstat, mkdir, realpath, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { PiwError, reason } from '../errors.js';
import { onDisk } from '../wheels/disk.js';
import { normalise } from '../wheels/names.js';
import { newFolder, SEEN_AT } from './environment.js';
import { cutsOff, pipWithWalls, probeProject } from './hooks.js';
import type { Interpreter } from './interpreter.js';
import { reaper } from './reaper.js';

/** What stands between a build and the rest of the slave. */
export interface Confinement {
  /** What every log begins with where nothing does. */
  readonly notice: string | undefined;
  /** Why there is no sandbox although one was asked for, and what to install; undefined if there is one, or none is to be. */
  readonly unavailable?: string;
  /** The command, and the first of its arguments, that a build in this folder is run by; empty: none. */
  readonly around: (folder: string) => readonly string[];
  /** Where a build sees its folder in there, as well as where it is. */
  readonly seenAt?: string;
  /** In there, what a backend's hooks are run by if they are to have less than pip; `kept` is theirs to read only. */
  readonly hooks?: (kept: string) => readonly string[];
}

export interface SandboxOptions {
  /** `auto`: if there is one. `required`: or else no build is made. `none`: without. */
  readonly mode: string;
  /**
   * `on`: a build has it. `requirements`: pip has it, to download the package and what its build requires,
   * and no code of a package has. `off`: nor has pip, and a build gets only what lies on this machine.
   */
  readonly network: string;
  readonly interpreter: Interpreter;
  /** How pip reaches the index: the files that are named there stay in sight. */
  readonly env: Readonly<Record<string, string>>;
  /** Folders of further programs, which stay in sight. */
  readonly programs?: readonly string[];
  readonly workDir: string;
  /** Files and folders that no build may see: the slave's home, its key and its code. */
  readonly masked: readonly string[];
  /** Default `bwrap`, from PATH. */
  readonly program?: string;
}

/** The system's own folders: what is in one of them can be hidden, and not all of it. */
const NEVER_MASKED = new Set(
  ['', 'bin', 'dev', 'etc', 'lib', 'lib64', 'opt', 'proc', 'run', 'sbin', 'sys', 'tmp', 'usr', 'usr/bin']
    .concat(['usr/lib', 'usr/local', 'usr/local/bin', 'usr/local/etc', 'usr/local/lib', 'usr/share', 'var'])
    .map((path) => `/${path}`),
);
const PROBE_MS = 20_000;

/**
 * What builds are confined by: bubblewrap, where it is installed and works for this user, which is tried
 * out once, here. Raises PIW_CONFIG if it is required and doesn't, or if the configuration is wrong.
 */
export async function confine(options: SandboxOptions): Promise<Confinement> {
  const { mode, network, workDir, interpreter } = options;
  if (!['auto', 'required', 'none'].includes(mode))
    throw new PiwError('PIW_CONFIG', `sandbox = ${mode}: it is auto, required or none`);
  if (!['on', 'requirements', 'off'].includes(network))
    throw new PiwError('PIW_CONFIG', `sandbox-network = ${network}: it is on, requirements or off`);
  const without = (why: string): Confinement => ({
    notice: `piw: no sandbox is around this build: ${why}${network === 'on' ? '' : ' (and so it has the network)'}`,
    around: () => reaper(interpreter.path),
  });
  if (mode === 'none') return without('the configuration says so');
  const scratch = await onDisk(workDir, () => newFolder(workDir));
  try {
    await mkdir(join(scratch, 'tmp'));
    // Builds have another PATH than this process.
    const found = { ...options, program: await onPath(options.program ?? 'bwrap') };
    const around = await bubblewrap(found);
    const probe = async (command: readonly string[]): Promise<unknown> => {
      const [program = '', ...args] = [...around(scratch), ...command];
      return await promisify(execFile)(program, args, {
        timeout: PROBE_MS,
        cwd: '/',
        env: { PATH: process.env['PATH'], LANG: 'C.UTF-8', TMPDIR: join(scratch, 'tmp') },
      });
    };
    await probe([interpreter.path, '-I', '-c', 'import pip']);
    if (network !== 'requirements') return { notice: undefined, around, seenAt: SEEN_AT };
    // Of root's processes, bubblewrap covers parts of /proc, and then the kernel refuses walls inside.
    if (process.getuid?.() === 0)
      throw new PiwError('PIW_CONFIG', "sandbox-network = requirements can't be had as root");
    const hooks = wallsInside(found);
    const project = await probeProject(scratch);
    const pip = await pipWithWalls(scratch, interpreter.path, normalise('probe'), hooks);
    // It fails, as the project means it to.
    const said = await probe([...pip, 'wheel', '--no-index', '--no-deps', project]).catch(whyNot);
    if (!(await cutsOff(project)))
      throw new PiwError(
        'PIW_CONFIG',
        `sandbox-network = requirements can't be had here, on and off can (${String(said)})`,
      );
    return { notice: undefined, around, seenAt: SEEN_AT, hooks };
  } catch (error) {
    if (error instanceof PiwError) throw error;
    const why = whyNot(error);
    if (mode === 'required') throw new PiwError('PIW_CONFIG', `sandbox = required, and ${why}`);
    return { ...without(why), unavailable: why };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Returns where a program is on this process's PATH; as it is named, if it isn't there. */
async function onPath(program: string): Promise<string> {
  if (program.includes('/')) return program;
  for (const folder of (process.env['PATH'] ?? '').split(':').filter((path) => path.startsWith('/'))) {
    const path = join(folder, program);
    const runs = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (runs) return path;
  }
  return program;
}

function whyNot(error: unknown): string {
  const { code, killed, stderr } = error as { code?: unknown; killed?: boolean; stderr?: string };
  // EACCES: a folder of PATH is not for this user.
  if (code === 'ENOENT' || code === 'EACCES')
    return 'bubblewrap is not installed here (on Debian: apt install bubblewrap)';
  if (killed) return `bubblewrap did not end within ${String(PROBE_MS / 1000)} s`;
  const last =
    (stderr === undefined || stderr === '' ? reason(error) : stderr).trim().split('\n').at(-1) ?? '';
  return `bubblewrap does not work here: ${last === '' ? 'it says nothing' : last.slice(0, 200)}`;
}

/**
 * The walls: process, IPC, host name, cgroup and mount namespaces of its own; everything can be read and
 * nothing written but the build's folder, of which a part is /tmp, /var/tmp and /dev/shm as well; no capability, even of
 * root's. Out of sight: what is masked, /run with its sockets, and the other builds. What lies upon these is
 * empty and can't be written either: what a build put there would take memory that is counted as nobody's.
 * When the slave ends, so does what is in there.
 *
 * What is needed and lies in what is masked is shown again, and what is masked and lies in that, hidden
 * again: so they are mounted in the order of their depth.
 */
async function bubblewrap(options: SandboxOptions): Promise<(folder: string) => readonly string[]> {
  const { program = 'bwrap', network } = options;
  const workDir = await realpath(options.workDir);
  const needed = await existing([
    ...options.interpreter.prefixes,
    dirname(options.interpreter.path),
    ...(options.programs ?? []).flatMap(withLibraries),
    ...Object.values(options.env).flatMap((value) => value.split(/\s+/)),
    '/etc/resolv.conf',
    '/etc/localtime',
  ]);
  const masked = (await existing(options.masked)).filter(({ path }) => !NEVER_MASKED.has(path));
  const covers = [...masked.map(({ path }) => path), '/run', '/tmp', '/var/tmp'];
  const mounts = [
    ...masked.map(({ path, folder }) => ({
      path,
      args: folder ? ['--tmpfs', path] : ['--ro-bind', '/dev/null', path],
    })),
    ...needed
      .filter(({ path }) => covers.some((cover) => path === cover || path.startsWith(`${cover}/`)))
      .map(({ path }) => ({ path, args: ['--ro-bind', path, path] })),
  ].sort((a, b) => depth(a.path) - depth(b.path));
  const own = [...(await existing(['/tmp', '/var/tmp'])).map(({ path }) => path), '/dev/shm'];
  const hasRun = (await existing(['/run'])).length > 0;
  const empty = ['/dev', ...(hasRun ? ['/run'] : []), workDir].concat(
    masked.flatMap(({ path, folder }) => (folder ? [path] : [])),
  );
  return (folder) => [
    program,
    ...['--unshare-pid', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try', '--die-with-parent'],
    ...['--cap-drop', 'ALL', ...(network === 'off' ? ['--unshare-net'] : [])],
    ...['--ro-bind', '/', '/', '--dev', '/dev', '--proc', '/proc'],
    ...(hasRun ? ['--tmpfs', '/run'] : []),
    ...own.flatMap((path) => ['--bind', join(folder, 'tmp'), path]),
    ...mounts.flatMap(({ args }) => args),
    ...['--tmpfs', workDir, '--bind', folder, folder, '--bind', folder, SEEN_AT, '--chdir', folder],
    ...empty.flatMap((path) => ['--remount-ro', path]),
    // A shell's exit code tells what can't be run from what failed.
    ...['--', '/bin/sh', '-c', 'exec "$0" "$@"'],
  ];
}

/** A folder of programs, and where these have their libraries. */
const withLibraries = (folder: string): readonly string[] =>
  basename(folder) === 'bin'
    ? [folder, ...['lib', 'libexec'].map((name) => join(folder, '..', name))]
    : [folder];

/**
 * What stands, within those walls, between pip and the hooks of a build: no network, and processes of
 * their own, so that they can't take pip's over.
 */
function wallsInside({ program = 'bwrap' }: SandboxOptions): (kept: string) => readonly string[] {
  return (kept) => [
    ...[
      program,
      '--unshare-user',
      '--unshare-net',
      '--unshare-pid',
      '--die-with-parent',
      '--cap-drop',
      'ALL',
    ],
    ...['--dev-bind', '/', '/', '--proc', '/proc', '--ro-bind', kept, kept, '--'],
  ];
}

const depth = (path: string): number => path.split('/').length;

/** Those that are absolute and there for this user, as they are without links; each once. */
async function existing(
  paths: readonly string[],
): Promise<readonly { readonly path: string; readonly folder: boolean }[]> {
  const found = new Map<string, boolean>();
  for (const path of paths.filter((one) => one.startsWith('/'))) {
    try {
      const real = await realpath(path);
      found.set(real, (await lstat(real)).isDirectory());
    } catch {
      // What this user can't see, a build can't either.
    }
  }
  return [...found].map(([path, folder]) => ({ path, folder }));
}
