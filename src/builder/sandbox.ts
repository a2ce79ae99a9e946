import { execFile } from 'node:child_process';
import { access, constants, lstat, mkdir, realpath, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { PiwError, errorMessage } from '../errors.js';
import { withDiskErrors } from '../files/disk.js';
import { normalise } from '../wheels/names.js';
import { createTemporaryBuildFolder, SANDBOX_BUILD_PATH } from './environment.js';
import { hookRanOffline, pipCommandWithIsolatedHooks, writeProbeProject } from './hooks.js';
import type { Interpreter } from './interpreter.js';
import { reaperCommand } from './reaper.js';

/** What separates builds from the rest of the slave's machine. */
export interface Confinement {
  /** The first line of every build log if builds run without a sandbox; else undefined. */
  readonly notice: string | undefined;
  /** Why there is no sandbox although one was requested, and what to install; undefined in all other cases. */
  readonly unavailableReason?: string;
  /** Returns the command and first arguments that run a build in this folder; empty for none. */
  readonly commandPrefix: (folder: string) => readonly string[];
  /** The path at which builds see their folder in the sandbox, in addition to its real path. */
  readonly mountPoint?: string;
  /**
   * Returns the command that runs a backend's hooks inside the sandbox, if they may do less than pip; they can only
   * read `readOnlyFolder`.
   */
  readonly hookPrefix?: (readOnlyFolder: string) => readonly string[];
}

interface SandboxOptions {
  /** `auto`: with a sandbox if it works. `required`: no builds without it. `none`: without it. */
  readonly mode: string;
  /**
   * `on`: builds have network access. `requirements`: pip has it, to download the package and its build requirements,
   * but the code of packages does not. `off`: pip does not have it either; builds can use only files of this machine.
   */
  readonly network: string;
  readonly interpreter: Interpreter;
  /** How pip reaches the index; files that it names stay visible. */
  readonly env: Readonly<Record<string, string>>;
  /** Folders of further programs, which stay visible. */
  readonly programs?: readonly string[];
  readonly workDir: string;
  /** Files and folders that builds must not see: the slave's home, its key and its code. */
  readonly masked: readonly string[];
  /** The bubblewrap program; default `bwrap`, from PATH. */
  readonly program?: string;
}

/** Folders of the system: their contents can be masked, but not they themselves. */
const NEVER_MASKED = new Set(
  ['', 'bin', 'dev', 'etc', 'lib', 'lib64', 'opt', 'proc', 'run', 'sbin', 'sys', 'tmp', 'usr', 'usr/bin']
    .concat(['usr/lib', 'usr/local', 'usr/local/bin', 'usr/local/etc', 'usr/local/lib', 'usr/share', 'var'])
    .map((path) => `/${path}`),
);
const PROBE_TIMEOUT_MS = 20_000;

/**
 * Tests whether bubblewrap is installed and works for this user, and returns how builds are confined. Throws
 * PIW_CONFIG if a sandbox is required and does not work, or if the configuration is invalid.
 */
export async function confine(options: SandboxOptions): Promise<Confinement> {
  const { mode, network, workDir, interpreter } = options;
  if (!['auto', 'required', 'none'].includes(mode))
    throw new PiwError('PIW_CONFIG', `sandbox = ${mode} is not valid; use auto, required or none`);
  if (!['on', 'requirements', 'off'].includes(network))
    throw new PiwError(
      'PIW_CONFIG',
      `sandbox-network = ${network} is not valid; use on, requirements or off`,
    );
  const unsandboxed = (reason: string): Confinement => ({
    notice: `piw: this build runs without a sandbox: ${reason}${network === 'on' ? '' : ' (so it has network access)'}`,
    commandPrefix: () => reaperCommand(interpreter.path),
  });
  if (mode === 'none') return unsandboxed('the configuration turns it off');
  const scratch = await withDiskErrors(workDir, () => createTemporaryBuildFolder(workDir));
  try {
    await mkdir(join(scratch, 'tmp'));
    // Builds have a different PATH from this process.
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
    // For root, bubblewrap covers parts of /proc, and the kernel then refuses a sandbox inside the sandbox.
    if (process.getuid?.() === 0)
      throw new PiwError(
        'PIW_CONFIG',
        'sandbox-network = requirements does not work as root; run the slave as another user',
      );
    const hookPrefix = hookSandboxPrefix(resolvedOptions);
    const project = await writeProbeProject(scratch);
    const pip = await pipCommandWithIsolatedHooks(scratch, interpreter.path, normalise('probe'), hookPrefix);
    // The probe project always fails to build.
    const probeOutcome = await runProbe([...pip, 'wheel', '--no-index', '--no-deps', project]).catch(
      describeBubblewrapError,
    );
    if (!(await hookRanOffline(project)))
      throw new PiwError(
        'PIW_CONFIG',
        `sandbox-network = requirements does not work on this machine; use on or off (${String(probeOutcome)})`,
      );
    return { notice: undefined, commandPrefix, mountPoint: SANDBOX_BUILD_PATH, hookPrefix };
  } catch (error) {
    if (error instanceof PiwError) throw error;
    const explanation = describeBubblewrapError(error);
    if (mode === 'required') throw new PiwError('PIW_CONFIG', `sandbox = required, but ${explanation}`);
    return { ...unsandboxed(explanation), unavailableReason: explanation };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Returns the path of a program on this process's PATH; its name unchanged if it is not found. */
async function findOnPath(program: string): Promise<string> {
  if (program.includes('/')) return program;
  for (const folder of (process.env['PATH'] ?? '').split(':').filter((path) => path.startsWith('/'))) {
    const path = join(folder, program);
    const isExecutable = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isExecutable) return path;
  }
  return program;
}

/** Returns why bubblewrap does not work, for people. */
function describeBubblewrapError(error: unknown): string {
  const { code, killed, stderr } = error as { code?: unknown; killed?: boolean; stderr?: string };
  // EACCES: this user may not read a folder of PATH.
  if (code === 'ENOENT' || code === 'EACCES')
    return 'bubblewrap is not installed (on Debian: apt install bubblewrap)';
  if (killed) return `bubblewrap did not exit within ${PROBE_TIMEOUT_MS / 1000} s`;
  const lastLine =
    (stderr === undefined || stderr === '' ? errorMessage(error) : stderr).trim().split('\n').at(-1) ?? '';
  return `bubblewrap does not work here: ${lastLine === '' ? 'it printed nothing' : lastLine.slice(0, 200)}`;
}

/**
 * Returns a function from a build's folder to the bubblewrap command that runs the build. The sandbox has its own
 * PID, IPC, UTS, cgroup and mount namespaces, and no capabilities, even for root. Everything is read-only except the
 * build's folder, a part of which is also mounted at /tmp, /var/tmp and /dev/shm. Hidden are the masked paths, /run
 * with its sockets, and other builds. The tmpfs that covers them is read-only, too, because files in it would use
 * memory that is not counted as the build's. All processes in the sandbox die with the slave.
 *
 * Needed paths inside masked paths are made visible again, and masked paths inside those are hidden again; that is
 * why the mounts are sorted by depth.
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
    // The shell's exit code distinguishes a command that can't be run from one that failed.
    ...['--', '/bin/sh', '-c', 'exec "$0" "$@"'],
  ];
}

/** Returns a folder of programs and the folders of their libraries. */
const withLibraries = (folder: string): readonly string[] =>
  basename(folder) === 'bin'
    ? [folder, ...['lib', 'libexec'].map((name) => join(folder, '..', name))]
    : [folder];

/**
 * Returns the command that runs a build's hooks in an inner sandbox: without network, and with their own PID
 * namespace, so that they can't take over pip's processes.
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

/** Returns the absolute paths that exist for this user, with symbolic links resolved and without duplicates. */
async function resolveExisting(
  paths: readonly string[],
): Promise<readonly { readonly path: string; readonly folder: boolean }[]> {
  const isFolderByPath = new Map<string, boolean>();
  for (const path of paths.filter((one) => one.startsWith('/'))) {
    try {
      const real = await realpath(path);
      isFolderByPath.set(real, (await lstat(real)).isDirectory());
    } catch {
      // What this user can't see, a build can't see either.
    }
  }
  return [...isFolderByPath].map(([path, folder]) => ({ path, folder }));
}
