import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, realpath, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { PiwError, errorMessage } from '../errors.js';
import { codeOf, makeFolders, withDiskErrors } from '../wheels/disk.js';
import type { Interpreter } from './interpreter.js';
import { killBuildProcesses, isAlive, BUILD_MARK_VARIABLE, startTime } from './processes.js';

/** Nothing else of the slave's own environment reaches a build. */
const SYSTEM_PATH_FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

const SUBFOLDERS = ['home', 'tmp', 'wheels', 'cache'] as const;

/** `build-<process>-<its start>-<random>`: a slave can tell its folders from those of one that was killed. */
const BUILD_FOLDER_NAME = /^build-(\d+)-(\d+)-\w{6}$/;

/** How long the system's own commands may take to remove a folder, milliseconds. */
const REMOVAL_TIMEOUT_MS = 5 * 60_000;

/**
 * What builds get unless the configuration says otherwise.
 *
 * - As piwheels has it: packages look for PIWHEELS_BUILD (rapidfuzz then insists on its compiled part, SimplePyBLE
 *   takes the system's libfmt); and those that clone a repository while they are built, which is then no part of the
 *   sdist that is built, are refused it. Where that is allowed, git still asks nobody for a password.
 * - What a build yields depends on neither chance nor place: the order of sets of strings, the time zone, the language.
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

/** Where builds in a sandbox see their folder: the same for all, for compilers write down where they were. */
export const SANDBOX_BUILD_PATH = '/tmp/piw-build';

/**
 * Makes GCC and Clang write down SEEN_AT for the folder in which they are. In CPPFLAGS, for there it comes in addition:
 * a package's configure script has defaults for CFLAGS, and takes none of them where CFLAGS is set.
 */
function prefixMapFlags(
  extraEnv: Readonly<Record<string, string>>,
  path: string,
): Readonly<Record<string, string>> {
  // Shells and Makefiles split it into words.
  if (!/^[\w./+@-]+$/.test(path)) return {};
  const flags = [extraEnv['CPPFLAGS'] ?? '', `-ffile-prefix-map=${path}=${SANDBOX_BUILD_PATH}`];
  return { CPPFLAGS: flags.join(' ').trim() };
}

export interface BuildFolderOptions {
  readonly interpreter: Pick<Interpreter, 'path' | 'supportsPrefixMap'>;
  /** Folders of further programs, as a Rust compiler's: absolute. */
  readonly programs: readonly string[];
  /** What the farm hands in: how pip reaches the index (addresses, certificates, proxies). */
  readonly extraEnv: Readonly<Record<string, string>>;
  /** Where the build sees its folder, if that is elsewhere. */
  readonly mountPoint?: string | undefined;
}

/**
 * The folder of one build (mode 0700), with a home, a temporary folder and a cache of its own, and its
 * environment:
 *
 *   PATH       the interpreter's folder, those that the slave is configured with, the system's
 *   HOME, TMPDIR, XDG_CACHE_HOME, XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_STATE_HOME   below the folder, as the build sees it
 *   DEFAULTS   above; and CPPFLAGS, outside a sandbox
 *   PYTHONUNBUFFERED   1, so that what a build says is heard when it says it
 *   PIP_CONFIG_FILE    /dev/null: pip reads no file of the machine's or the user's
 *   PIW_BUILD  the folder: the mark of the build's processes
 *   and what the farm and the configuration hand in, which comes before DEFAULTS and no other
 */
export class BuildFolder {
  /** Absolute, without links. */
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

  /** Makes one in `workDir`. Raises PIW_DISK_FULL or PIW_NOT_WRITABLE. */
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

  /** Where the build sees a part of it. */
  pathInBuild(part: (typeof SUBFOLDERS)[number]): string {
    return join(this.#mountPoint, part);
  }

  /** Writes a file into it, mode 0600, and gives its path. Raises as create() does. */
  async write(name: string, contents: string): Promise<string> {
    const path = join(this.path, name);
    await this.mapDiskErrors(() => writeFile(path, contents, { mode: 0o600 }));
    return path;
  }

  /** Runs what writes files into it. Throws as create() does. */
  async mapDiskErrors<T>(operation: () => Promise<T>): Promise<T> {
    return await mapDiskErrors(this.path, operation);
  }

  /**
   * What is done in a folder in it that the build has never had a chance to put anything into. That the disk has
   * no room for it raises PIW_DISK_FULL.
   */
  async withScratchFolder<T>(operation: (scratch: string) => Promise<T>): Promise<T> {
    const scratch = await mapDiskErrors(this.path, () => mkdtemp(join(this.path, 'scratch-')));
    return await withDiskErrors(scratch, () => operation(scratch));
  }

  /** Ends what still runs of the build and removes all of its folder. Raises if something stays. */
  async wipe(): Promise<void> {
    await killBuildProcesses(this.path);
    await forceRemove(this.path);
  }
}

/** The variables of `NAME=VALUE` items; of two with one name the later counts. */
export const parseVariables = (items: readonly string[]): Readonly<Record<string, string>> =>
  Object.fromEntries(
    items.map((item) => [item.slice(0, item.indexOf('=')), item.slice(item.indexOf('=') + 1)]),
  );

/** A folder in `workDir`, absolute and without links, that wipeLeftovers() removes if this process doesn't. */
export async function createTemporaryBuildFolder(workDir: string): Promise<string> {
  const name = `build-${String(process.pid)}-${startTime(process.pid)}-`;
  return await mkdtemp(join(await realpath(workDir), name));
}

/** Raises PIW_DISK_FULL, or for whatever else is in the way PIW_NOT_WRITABLE. */
async function mapDiskErrors<T>(folder: string, operation: () => Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch (error) {
    const full = ['ENOSPC', 'EDQUOT'].includes(codeOf(error));
    throw new PiwError(
      full ? 'PIW_DISK_FULL' : 'PIW_NOT_WRITABLE',
      `no build can be made in ${folder}: ${errorMessage(error)}`,
      { cause: error },
    );
  }
}

/**
 * Ends and removes what is left of the builds of slaves that were killed; those of slaves that live are
 * not touched. Gives a line for each that could not be removed.
 */
export async function wipeLeftovers(workDir: string): Promise<readonly string[]> {
  const troubles: string[] = [];
  const root = await realpath(workDir).catch(() => workDir);
  for (const name of await readdir(root).catch(() => [])) {
    const [, pid, startTicks = ''] = BUILD_FOLDER_NAME.exec(name) ?? [];
    if (pid === undefined || isAlive(Number(pid), startTicks)) continue;
    const path = join(root, name);
    await killBuildProcesses(path);
    await forceRemove(path).catch((error: unknown) => {
      troubles.push(`${path} could not be removed: ${errorMessage(error)}`);
    });
  }
  return troubles;
}

/**
 * Removes a folder, also where the build took away its own permission to write, or nested folders deeper
 * than a path can name: there, chmod and rm walk the tree in their own way, and follow no link.
 */
async function forceRemove(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true, maxRetries: 3 });
  } catch {
    // Whatever it was, what follows either helps or says more.
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
