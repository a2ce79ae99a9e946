import { execFile } from 'node:child_process';
import { access, constants, lstat, mkdir, realpath, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { PiwError, errorMessage } from '../errors.js';
import { withDiskErrors } from '../wheels/disk.js';
import { normalise } from '../wheels/names.js';
import { createTemporaryBuildFolder, SANDBOX_BUILD_PATH } from './environment.js';
import { hookRanOffline, pipCommandWithIsolatedHooks, writeProbeProject } from './hooks.js';
import type { Interpreter } from './interpreter.js';
import { reaperCommand } from './reaper.js';

/** What stands between a build and the rest of the slave. */
export interface Confinement {
  /** What every log begins with where nothing does. */
  readonly notice: string | undefined;
  /** Why there is no sandbox although one was asked for, and what to install; undefined if there is one, or none is to be. */
  readonly unavailableReason?: string;
  /** The command, and the first of its arguments, that a build in this folder is run by; empty: none. */
  readonly commandPrefix: (folder: string) => readonly string[];
  /** Where a build sees its folder in there, as well as where it is. */
  readonly mountPoint?: string;
  /** In there, what a backend's hooks are run by if they are to have less than pip; `kept` is theirs to read only. */
  readonly hookPrefix?: (readOnlyFolder: string) => readonly string[];
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
const PROBE_TIMEOUT_MS = 20_000;

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
  const unsandboxed = (why: string): Confinement => ({
    notice: `piw: no sandbox is around this build: ${why}${network === 'on' ? '' : ' (and so it has the network)'}`,
    commandPrefix: () => reaperCommand(interpreter.path),
  });
  if (mode === 'none') return unsandboxed('the configuration says so');
  const scratch = await withDiskErrors(workDir, () => createTemporaryBuildFolder(workDir));
  try {
    await mkdir(join(scratch, 'tmp'));
    // Builds have another PATH than this process.
    const resolvedOptions = { ...options, program: await findOnPath(options.program ?? 'bwrap') };
    const commandPrefix = await bubblewrapPrefix(resolvedOptions);
    const runProbe = async (command: readonly string[]): Promise<unknown> => {
      const [program = '', ...args] = [...commandPrefix(scratch), ...command];
      return await promisify(execFile)(program, args, {
        timeout: PROBE_TIMEOUT_MS,
        cwd: '/',
        env: { PATH: process.env['PATH'], LANG: 'C.UTF-8', TMPDIR: join(scratch, 'tmp') },
      });
    };
    await runProbe([interpreter.path, '-I', '-c', 'import pip']);
    if (network !== 'requirements')
      return { notice: undefined, commandPrefix, mountPoint: SANDBOX_BUILD_PATH };
    // Of root's processes, bubblewrap covers parts of /proc, and then the kernel refuses walls inside.
    if (process.getuid?.() === 0)
      throw new PiwError('PIW_CONFIG', "sandbox-network = requirements can't be had as root");
    const hookPrefix = hookSandboxPrefix(resolvedOptions);
    const project = await writeProbeProject(scratch);
    const pip = await pipCommandWithIsolatedHooks(scratch, interpreter.path, normalise('probe'), hookPrefix);
    // It fails, as the project means it to.
    const probeOutcome = await runProbe([...pip, 'wheel', '--no-index', '--no-deps', project]).catch(
      describeBubblewrapError,
    );
    if (!(await hookRanOffline(project)))
      throw new PiwError(
        'PIW_CONFIG',
        `sandbox-network = requirements can't be had here, on and off can (${String(probeOutcome)})`,
      );
    return { notice: undefined, commandPrefix, mountPoint: SANDBOX_BUILD_PATH, hookPrefix };
  } catch (error) {
    if (error instanceof PiwError) throw error;
    const explanation = describeBubblewrapError(error);
    if (mode === 'required') throw new PiwError('PIW_CONFIG', `sandbox = required, and ${explanation}`);
    return { ...unsandboxed(explanation), unavailableReason: explanation };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Returns where a program is on this process's PATH; as it is named, if it isn't there. */
async function findOnPath(program: string): Promise<string> {
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

function describeBubblewrapError(error: unknown): string {
  const { code, killed, stderr } = error as { code?: unknown; killed?: boolean; stderr?: string };
  // EACCES: a folder of PATH is not for this user.
  if (code === 'ENOENT' || code === 'EACCES')
    return 'bubblewrap is not installed here (on Debian: apt install bubblewrap)';
  if (killed) return `bubblewrap did not end within ${String(PROBE_TIMEOUT_MS / 1000)} s`;
  const last =
    (stderr === undefined || stderr === '' ? errorMessage(error) : stderr).trim().split('\n').at(-1) ?? '';
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
async function bubblewrapPrefix(options: SandboxOptions): Promise<(folder: string) => readonly string[]> {
  const { program = 'bwrap', network } = options;
  const workDir = await realpath(options.workDir);
  const needed = await resolveExisting([
    ...options.interpreter.prefixes,
    dirname(options.interpreter.path),
    ...(options.programs ?? []).flatMap(withLibraries),
    ...Object.values(options.env).flatMap((value) => value.split(/\s+/)),
    '/etc/resolv.conf',
    '/etc/localtime',
  ]);
  const masked = (await resolveExisting(options.masked)).filter(({ path }) => !NEVER_MASKED.has(path));
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
  const temporaryFolders = [
    ...(await resolveExisting(['/tmp', '/var/tmp'])).map(({ path }) => path),
    '/dev/shm',
  ];
  const hasRun = (await resolveExisting(['/run'])).length > 0;
  const readOnlyMounts = ['/dev', ...(hasRun ? ['/run'] : []), workDir].concat(
    masked.flatMap(({ path, folder }) => (folder ? [path] : [])),
  );
  return (folder) => [
    program,
    ...['--unshare-pid', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try', '--die-with-parent'],
    ...['--cap-drop', 'ALL', ...(network === 'off' ? ['--unshare-net'] : [])],
    ...['--ro-bind', '/', '/', '--dev', '/dev', '--proc', '/proc'],
    ...(hasRun ? ['--tmpfs', '/run'] : []),
    ...temporaryFolders.flatMap((path) => ['--bind', join(folder, 'tmp'), path]),
    ...mounts.flatMap(({ args }) => args),
    ...[
      '--tmpfs',
      workDir,
      '--bind',
      folder,
      folder,
      '--bind',
      folder,
      SANDBOX_BUILD_PATH,
      '--chdir',
      folder,
    ],
    ...readOnlyMounts.flatMap((path) => ['--remount-ro', path]),
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
function hookSandboxPrefix({
  program = 'bwrap',
}: SandboxOptions): (readOnlyFolder: string) => readonly string[] {
  return (readOnlyFolder) => [
    ...[
      program,
      '--unshare-user',
      '--unshare-net',
      '--unshare-pid',
      '--die-with-parent',
      '--cap-drop',
      'ALL',
    ],
    ...['--dev-bind', '/', '/', '--proc', '/proc', '--ro-bind', readOnlyFolder, readOnlyFolder, '--'],
  ];
}

const depth = (path: string): number => path.split('/').length;

/** Those that are absolute and there for this user, as they are without links; each once. */
async function resolveExisting(
  paths: readonly string[],
): Promise<readonly { readonly path: string; readonly folder: boolean }[]> {
  const isFolderByPath = new Map<string, boolean>();
  for (const path of paths.filter((one) => one.startsWith('/'))) {
    try {
      const real = await realpath(path);
      isFolderByPath.set(real, (await lstat(real)).isDirectory());
    } catch {
      // What this user can't see, a build can't either.
    }
  }
  return [...isFolderByPath].map(([path, folder]) => ({ path, folder }));
}
