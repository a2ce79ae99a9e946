import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, realpath, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { PiwError, errorMessage } from '../errors.js';
import { codeOf, makeFolders, withDiskErrors } from '../files/disk.js';
import type { LogMethod } from '../log.js';
import type { Interpreter } from './interpreter.js';
import { killBuildProcesses, isAlive, BUILD_MARK_VARIABLE, startTime } from './processes.js';

/** The system's part of a build's PATH; the slave's own PATH does not reach a build. */
const SYSTEM_PATH_FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

const SUBFOLDERS = ['home', 'tmp', 'wheels', 'cache'] as const;

/** `build-<pid>-<start time>-<random>`, so that a slave recognises the folders of slaves that were killed. */
const BUILD_FOLDER_NAME = /^build-(\d+)-(\d+)-\w{6}$/;

/** How long chmod and rm may take to remove a folder, milliseconds. */
const REMOVAL_TIMEOUT_MS = 5 * 60_000;

/**
 * The variables of builds unless the configuration overrides them.
 *
 * - As on piwheels: packages check for PIWHEELS_BUILD (rapidfuzz then insists on its compiled part, SimplePyBLE uses
 *   the system's libfmt), and builds may not clone Git repositories, which would not be a part of the sdist. Where
 *   the configuration allows it, git still never prompts for a password.
 * - For reproducible results: the order of sets of strings, the time zone and the locale are fixed.
 */
const DEFAULT_BUILD_ENV = {
  PIWHEELS_BUILD: '1',
  GIT_ALLOW_PROTOCOL: 'file',
  GIT_TERMINAL_PROMPT: '0',
  PYTHONHASHSEED: '0',
  TZ: 'UTC',
  LANG: 'C.UTF-8',
  LC_ALL: 'C.UTF-8',
} as const;

/** Where builds in a sandbox see their folder: the same path for all, because compilers record it. */
export const SANDBOX_BUILD_PATH = '/tmp/piw-build';

/**
 * Returns the variables that make GCC and Clang record SANDBOX_BUILD_PATH instead of the build's folder. It is
 * CPPFLAGS because that is added to other flags: a package's configure script has defaults for CFLAGS and drops them
 * if CFLAGS is set.
 */
function prefixMapFlags(
  extraEnv: Readonly<Record<string, string>>,
  path: string,
): Readonly<Record<string, string>> {
  // Shells and Makefiles would split the path into words.
  if (!/^[\w./+@-]+$/.test(path)) return {};
  const flags = [extraEnv['CPPFLAGS'] ?? '', `-ffile-prefix-map=${path}=${SANDBOX_BUILD_PATH}`];
  return { CPPFLAGS: flags.join(' ').trim() };
}

interface BuildFolderOptions {
  readonly interpreter: Pick<Interpreter, 'path' | 'supportsPrefixMap'>;
  /** Absolute folders with further programs, e.g. a Rust compiler. */
  readonly programs: readonly string[];
  /** The farm's variables: how pip reaches the index (addresses, certificates, proxies). */
  readonly extraEnv: Readonly<Record<string, string>>;
  /** The path at which the build sees its folder, if it differs from the real one. */
  readonly mountPoint?: string | undefined;
}

/**
 * The folder of one build (mode 0700), with a home, a temporary folder and a cache of its own, and the build's
 * environment:
 *
 *   PATH       the interpreter's folder, the slave's configured folders, the system's folders
 *   HOME, TMPDIR, XDG_CACHE_HOME, XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_STATE_HOME   in the folder, as the build sees it
 *   DEFAULT_BUILD_ENV  above; and CPPFLAGS outside a sandbox
 *   PYTHONUNBUFFERED   1, so that output arrives when it is written
 *   PIP_CONFIG_FILE    /dev/null: pip reads no configuration of the machine or the user
 *   PIW_BUILD  the folder: the mark of the build's processes
 *
 * The variables of the farm and the configuration override DEFAULT_BUILD_ENV, but none of the others.
 */
export class BuildFolder {
  /** Absolute, with symbolic links resolved. */
  readonly path: string;
  readonly env: Readonly<Record<string, string>>;

  readonly #mountPoint: string;

  private constructor(path: string, { interpreter, programs, extraEnv, mountPoint }: BuildFolderOptions) {
    this.path = path;
    this.#mountPoint = mountPoint ?? path;
    const home = this.pathInBuild('home');
    this.env = {
      ...DEFAULT_BUILD_ENV,
      ...extraEnv,
      ...(interpreter.supportsPrefixMap && mountPoint === undefined ? prefixMapFlags(extraEnv, path) : {}),
      PATH: [...new Set([dirname(interpreter.path), ...programs, ...SYSTEM_PATH_FOLDERS])].join(':'),
      HOME: home,
      TMPDIR: this.pathInBuild('tmp'),
      XDG_CACHE_HOME: this.pathInBuild('cache'),
      XDG_CONFIG_HOME: join(home, '.config'),
      XDG_DATA_HOME: join(home, '.local', 'share'),
      XDG_STATE_HOME: join(home, '.local', 'state'),
      PYTHONUNBUFFERED: '1',
      PIP_CONFIG_FILE: '/dev/null',
      [BUILD_MARK_VARIABLE]: path,
    };
  }

  /** Creates a build folder in `workDir`. Throws PIW_DISK_FULL or PIW_NOT_WRITABLE. */
  static async create(workDir: string, options: BuildFolderOptions): Promise<BuildFolder> {
    return await mapDiskErrors(workDir, async () => {
      makeFolders(workDir, 0o700);
      const folder = new BuildFolder(await createTemporaryBuildFolder(workDir), options);
      for (const part of SUBFOLDERS) await mkdir(join(folder.path, part), { mode: 0o700 });
      return folder;
    });
  }

  get wheelDir(): string {
    return join(this.path, 'wheels');
  }

  /** Returns the path at which the build sees a subfolder. */
  pathInBuild(part: (typeof SUBFOLDERS)[number]): string {
    return join(this.#mountPoint, part);
  }

  /** Writes a file into the folder, mode 0600, and returns its path. Throws as create() does. */
  async write(name: string, contents: string): Promise<string> {
    const path = join(this.path, name);
    await this.mapDiskErrors(() => writeFile(path, contents, { mode: 0o600 }));
    return path;
  }

  /** Runs an operation that writes files into the folder. Throws as create() does. */
  async mapDiskErrors<T>(operation: () => Promise<T>): Promise<T> {
    return await mapDiskErrors(this.path, operation);
  }

  /**
   * Runs an operation in a new subfolder that the build has had no chance to write to. Throws PIW_DISK_FULL if the
   * disk has no space for it.
   */
  async withScratchFolder<T>(operation: (scratch: string) => Promise<T>): Promise<T> {
    const scratch = await mapDiskErrors(this.path, () => mkdtemp(join(this.path, 'scratch-')));
    return await withDiskErrors(scratch, () => operation(scratch));
  }

  /** Kills the build's remaining processes and removes the whole folder. Throws if something can't be removed. */
  async wipe(): Promise<void> {
    await killBuildProcesses(this.path);
    await forceRemove(this.path);
  }
}

/** Parses `NAME=VALUE` items; of two items with the same name the later one counts. */
export const parseVariables = (items: readonly string[]): Readonly<Record<string, string>> =>
  Object.fromEntries(
    items.map((item) => [item.slice(0, item.indexOf('=')), item.slice(item.indexOf('=') + 1)]),
  );

/**
 * Creates a folder in `workDir` that wipeLeftovers() removes if this process does not. Returns its absolute path with
 * symbolic links resolved.
 */
export async function createTemporaryBuildFolder(workDir: string): Promise<string> {
  const name = `build-${process.pid}-${startTime(process.pid)}-`;
  return await mkdtemp(join(await realpath(workDir), name));
}

/** Runs an operation. Throws PIW_DISK_FULL if the disk is full, and PIW_NOT_WRITABLE for any other error. */
async function mapDiskErrors<T>(folder: string, operation: () => Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch (error) {
    const full = ['ENOSPC', 'EDQUOT'].includes(codeOf(error));
    throw new PiwError(
      full ? 'PIW_DISK_FULL' : 'PIW_NOT_WRITABLE',
      `cannot build in ${folder}: ${errorMessage(error)}`,
      { cause: error },
    );
  }
}

/**
 * Kills and removes what is left of the builds of slaves that were killed; builds of running slaves are not touched.
 * Logs each folder that could not be removed.
 */
export async function wipeLeftovers(workDir: string, log: LogMethod): Promise<void> {
  const root = await realpath(workDir).catch(() => workDir);
  for (const name of await readdir(root).catch(() => [])) {
    const [, pid, startTicks = ''] = BUILD_FOLDER_NAME.exec(name) ?? [];
    if (pid === undefined || isAlive(Number(pid), startTicks)) continue;
    const path = join(root, name);
    await killBuildProcesses(path);
    await forceRemove(path).catch((error: unknown) => {
      log('cannot remove a folder', { path }, error);
    });
  }
}

/**
 * Removes a folder, even if the build has made it read-only or has nested folders more deeply than a path can name:
 * the commands chmod and rm can walk such a tree, and follow no symbolic links.
 */
async function forceRemove(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true, maxRetries: 3 });
  } catch {
    // Whatever the error was, the commands below either succeed or report a better one.
    const run = promisify(execFile);
    const options = {
      timeout: REMOVAL_TIMEOUT_MS,
      cwd: '/',
      env: { PATH: SYSTEM_PATH_FOLDERS.join(':'), LANG: 'C' },
    };
    await run('chmod', ['-R', 'u+rwx', '--', path], options).catch(() => undefined);
    await run('rm', ['-rf', '--', path], options);
  }
}
