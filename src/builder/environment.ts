import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, realpath, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { PiwError, reason } from '../errors.js';
import { codeOf, makeFolders, onDisk } from '../wheels/disk.js';
import type { Interpreter } from './interpreter.js';
import { killProcessesOf, lives, MARK, startTime } from './processes.js';

/** Nothing else of the slave's own environment reaches a build. */
const PATH = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

const PARTS = ['home', 'tmp', 'wheels', 'cache'] as const;

/** `build-<process>-<its start>-<random>`: a slave can tell its folders from those of one that was killed. */
const NAME = /^build-(\d+)-(\d+)-\w{6}$/;

/** How long the system's own commands may take to remove a folder, milliseconds. */
const REMOVAL_MS = 5 * 60_000;

/**
 * What builds get unless the configuration says otherwise.
 *
 * - As piwheels has it: packages look for PIWHEELS_BUILD (rapidfuzz then insists on its compiled part, SimplePyBLE
 *   takes the system's libfmt); and those that clone a repository while they are built, which is then no part of the
 *   sdist that is built, are refused it. Where that is allowed, git still asks nobody for a password.
 * - What a build yields depends on neither chance nor place: the order of sets of strings, the time zone, the language.
 */
const DEFAULTS = {
  PIWHEELS_BUILD: '1',
  GIT_ALLOW_PROTOCOL: 'file',
  GIT_TERMINAL_PROMPT: '0',
  PYTHONHASHSEED: '0',
  TZ: 'UTC',
  LANG: 'C.UTF-8',
  LC_ALL: 'C.UTF-8',
} as const;

/** Where builds in a sandbox see their folder: the same for all, for compilers write down where they were. */
export const SEEN_AT = '/tmp/piw-build';

/**
 * Makes GCC and Clang write down SEEN_AT for the folder in which they are. In CPPFLAGS, for there it comes in addition:
 * a package's configure script has defaults for CFLAGS, and takes none of them where CFLAGS is set.
 */
function withPrefixMap(
  given: Readonly<Record<string, string>>,
  path: string,
): Readonly<Record<string, string>> {
  // Shells and Makefiles split it into words.
  if (!/^[\w./+@-]+$/.test(path)) return {};
  const flags = [given['CPPFLAGS'] ?? '', `-ffile-prefix-map=${path}=${SEEN_AT}`];
  return { CPPFLAGS: flags.join(' ').trim() };
}

export interface Surroundings {
  readonly interpreter: Pick<Interpreter, 'path' | 'mapsPaths'>;
  /** Folders of further programs, as a Rust compiler's: absolute. */
  readonly programs: readonly string[];
  /** What the farm hands in: how pip reaches the index (addresses, certificates, proxies). */
  readonly given: Readonly<Record<string, string>>;
  /** Where the build sees its folder, if that is elsewhere. */
  readonly seenAt?: string | undefined;
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

  readonly #seenAt: string;

  private constructor(path: string, { interpreter, programs, given, seenAt }: Surroundings) {
    this.path = path;
    this.#seenAt = seenAt ?? path;
    const home = this.seen('home');
    this.env = {
      ...DEFAULTS,
      ...given,
      ...(interpreter.mapsPaths && seenAt === undefined ? withPrefixMap(given, path) : {}),
      PATH: [...new Set([dirname(interpreter.path), ...programs, ...PATH])].join(':'),
      HOME: home,
      TMPDIR: this.seen('tmp'),
      XDG_CACHE_HOME: this.seen('cache'),
      XDG_CONFIG_HOME: join(home, '.config'),
      XDG_DATA_HOME: join(home, '.local', 'share'),
      XDG_STATE_HOME: join(home, '.local', 'state'),
      PYTHONUNBUFFERED: '1',
      PIP_CONFIG_FILE: '/dev/null',
      [MARK]: path,
    };
  }

  /** Makes one in `workDir`. Raises PIW_DISK_FULL or PIW_NOT_WRITABLE. */
  static async create(workDir: string, surroundings: Surroundings): Promise<BuildFolder> {
    return await making(workDir, async () => {
      makeFolders(workDir, 0o700);
      const folder = new BuildFolder(await newFolder(workDir), surroundings);
      for (const part of PARTS) await mkdir(join(folder.path, part), { mode: 0o700 });
      return folder;
    });
  }

  get wheels(): string {
    return join(this.path, 'wheels');
  }

  /** Where the build sees a part of it. */
  seen(part: (typeof PARTS)[number]): string {
    return join(this.#seenAt, part);
  }

  /** Writes a file into it, mode 0600, and gives its path. Raises as create() does. */
  async write(name: string, contents: string): Promise<string> {
    const path = join(this.path, name);
    await this.making(() => writeFile(path, contents, { mode: 0o600 }));
    return path;
  }

  /** Runs what writes files into it. Throws as create() does. */
  async making<T>(what: () => Promise<T>): Promise<T> {
    return await making(this.path, what);
  }

  /**
   * What is done in a folder in it that the build has never had a chance to put anything into. That the disk has
   * no room for it raises PIW_DISK_FULL.
   */
  async inScratch<T>(what: (scratch: string) => Promise<T>): Promise<T> {
    const scratch = await making(this.path, () => mkdtemp(join(this.path, 'scratch-')));
    return await onDisk(scratch, () => what(scratch));
  }

  /** Ends what still runs of the build and removes all of its folder. Raises if something stays. */
  async wipe(): Promise<void> {
    await killProcessesOf(this.path);
    await remove(this.path);
  }
}

/** The variables of `NAME=VALUE` items; of two with one name the later counts. */
export const variablesOf = (items: readonly string[]): Readonly<Record<string, string>> =>
  Object.fromEntries(
    items.map((item) => [item.slice(0, item.indexOf('=')), item.slice(item.indexOf('=') + 1)]),
  );

/** A folder in `workDir`, absolute and without links, that wipeLeftovers() removes if this process doesn't. */
export async function newFolder(workDir: string): Promise<string> {
  const name = `build-${String(process.pid)}-${startTime(process.pid)}-`;
  return await mkdtemp(join(await realpath(workDir), name));
}

/** Raises PIW_DISK_FULL, or for whatever else is in the way PIW_NOT_WRITABLE. */
async function making<T>(folder: string, what: () => Promise<T>): Promise<T> {
  try {
    return await what();
  } catch (error) {
    const full = ['ENOSPC', 'EDQUOT'].includes(codeOf(error));
    throw new PiwError(
      full ? 'PIW_DISK_FULL' : 'PIW_NOT_WRITABLE',
      `no build can be made in ${folder}: ${reason(error)}`,
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
    const [, pid, began = ''] = NAME.exec(name) ?? [];
    if (pid === undefined || lives(Number(pid), began)) continue;
    const path = join(root, name);
    await killProcessesOf(path);
    await remove(path).catch((error: unknown) => {
      troubles.push(`${path} could not be removed: ${reason(error)}`);
    });
  }
  return troubles;
}

/**
 * Removes a folder, also where the build took away its own permission to write, or nested folders deeper
 * than a path can name: there, chmod and rm walk the tree in their own way, and follow no link.
 */
async function remove(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true, maxRetries: 3 });
  } catch {
    // Whatever it was, what follows either helps or says more.
    const run = promisify(execFile);
    const options = { timeout: REMOVAL_MS, cwd: '/', env: { PATH: PATH.join(':'), LANG: 'C' } };
    await run('chmod', ['-R', 'u+rwx', '--', path], options).catch(() => undefined);
    await run('rm', ['-rf', '--', path], options);
  }
}
