import { execFile } from 'node:child_process';
import { access, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

type PackagesByManager = Readonly<Record<string, readonly string[]>>;

/** How to ask a system's package manager which package owns a file. */
interface PackageManager {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Matches a line of its output; group 1 is the package without architecture and version. */
  readonly packagePattern: RegExp;
}

const PACKAGE_MANAGERS: readonly PackageManager[] = [
  {
    name: 'apt',
    command: 'dpkg-query',
    args: ['--search'],
    packagePattern: /^([a-z0-9][a-z0-9.+-]*)(?::[a-z0-9-]+)?(?:, [^:\n]+(?::[a-z0-9-]+)?)*: \//m,
  },
  {
    name: 'rpm',
    command: 'rpm',
    args: ['--query', '--queryformat', '%{NAME}\n', '--file'],
    packagePattern: /^([A-Za-z0-9][\w.+-]*)$/m,
  },
  {
    name: 'apk',
    command: 'apk',
    args: ['info', '--who-owns'],
    packagePattern: / is owned by ([A-Za-z0-9][\w.+-]*?)-\d[^-\s]*-r\d+$/m,
  },
];

/** Where the system's commands are. */
const SYSTEM_PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
const EXEC_OPTIONS = { timeout: 30_000, maxBuffer: 16 * 1024 ** 2, cwd: '/' };
/** Where libraries are on systems without a list from ldconfig. */
const LIBRARY_FOLDERS = ['/lib', '/usr/lib', '/usr/local/lib', '/lib64', '/usr/lib64'];

/**
 * Returns the packages of this system that own these libraries (`libz.so.1`), sorted, by package manager; under ''
 * the libraries that no package owns or that are not on this system. The package manager, the first of dpkg, rpm and
 * apk in the folders of `searchPath`, is a key even if there are no packages.
 */
export async function findOwningPackages(
  libraries: readonly string[],
  searchPath = SYSTEM_PATH,
): Promise<PackagesByManager> {
  const manager = await detectPackageManager(searchPath);
  const packages = new Set<string>();
  const unowned: string[] = [];
  const libraryPaths = libraries.length > 0 ? await readLoaderCache(searchPath) : new Map<string, string>();
  for (const library of libraries) {
    const paths = await candidatePaths(libraryPaths.get(library), library);
    const owner = manager && (await findOwner(manager, paths, searchPath));
    if (owner === undefined) unowned.push(library);
    else packages.add(owner);
  }
  return {
    ...(manager ? { [manager.name]: [...packages].sort() } : {}),
    ...(unowned.length > 0 ? { '': unowned } : {}),
  };
}

async function detectPackageManager(searchPath: string): Promise<PackageManager | undefined> {
  for (const manager of PACKAGE_MANAGERS) {
    for (const folder of searchPath.split(':'))
      if (await exists(join(folder, manager.command))) return manager;
  }
  return undefined;
}

/** Returns the libraries in the loader's cache, each with the path that the loader would use. */
async function readLoaderCache(searchPath: string): Promise<ReadonlyMap<string, string>> {
  const libraryPaths = new Map<string, string>();
  for (const [, name = '', path = ''] of (await commandOutput('ldconfig', ['-p'], searchPath)).matchAll(
    /^\s*(\S+) \(.*\) => (\/.*)$/gm,
  ))
    if (!libraryPaths.has(name)) libraryPaths.set(name, path);
  return libraryPaths;
}

/**
 * Returns the paths under which a package may own a library: with and without symbolic links resolved, and each with
 * and without /usr, because packages list files in /lib that were moved to /usr/lib, or the other way round.
 */
async function candidatePaths(libraryPath: string | undefined, library: string): Promise<readonly string[]> {
  const candidates =
    libraryPath === undefined ? LIBRARY_FOLDERS.map((folder) => join(folder, library)) : [libraryPath];
  const paths = new Set<string>();
  for (const candidate of candidates) {
    if (!(await exists(candidate))) continue;
    for (const path of [candidate, await realpath(candidate)])
      for (const name of [path, path.startsWith('/usr/') ? path.slice(4) : `/usr${path}`]) paths.add(name);
  }
  return [...paths];
}

async function findOwner(
  manager: PackageManager,
  paths: readonly string[],
  searchPath: string,
): Promise<string | undefined> {
  for (const path of paths) {
    const owner = manager.packagePattern.exec(
      await commandOutput(manager.command, [...manager.args, path], searchPath),
    )?.[1];
    if (owner !== undefined) return owner;
  }
  return undefined;
}

/** Returns a command's output; empty if there is no such command, or it fails. */
async function commandOutput(command: string, args: readonly string[], searchPath: string): Promise<string> {
  try {
    const env = { PATH: searchPath, LC_ALL: 'C' };
    return (await promisify(execFile)(command, [...args], { ...EXEC_OPTIONS, env })).stdout;
  } catch {
    return '';
  }
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
