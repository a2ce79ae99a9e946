import { execFile } from 'node:child_process';
import { access, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

type Owners = Readonly<Record<string, readonly string[]>>;

/** How the system's package manager says which package has a file. */
interface PackageManager {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** The package of a line that it prints, without its architecture and version. */
  readonly packageIn: RegExp;
}

const MANAGERS: readonly PackageManager[] = [
  {
    name: 'apt',
    command: 'dpkg-query',
    args: ['--search'],
    packageIn: /^([a-z0-9][a-z0-9.+-]*)(?::[a-z0-9-]+)?(?:, [^:\n]+(?::[a-z0-9-]+)?)*: \//m,
  },
  {
    name: 'rpm',
    command: 'rpm',
    args: ['--query', '--queryformat', '%{NAME}\n', '--file'],
    packageIn: /^([A-Za-z0-9][\w.+-]*)$/m,
  },
  {
    name: 'apk',
    command: 'apk',
    args: ['info', '--who-owns'],
    packageIn: / is owned by ([A-Za-z0-9][\w.+-]*?)-\d[^-\s]*-r\d+$/m,
  },
];

/** Where the system's own commands are. */
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
const OPTIONS = { timeout: 30_000, maxBuffer: 16 * 1024 ** 2, cwd: '/' };
/** Where libraries are on systems whose ldconfig keeps no list. */
const FOLDERS = ['/lib', '/usr/lib', '/usr/local/lib', '/lib64', '/usr/lib64'];

/**
 * The packages of this system that have these libraries (`libz.so.1`), sorted, by package manager; under
 * '' the libraries that none has, or that aren't here. The manager is named also where nothing is needed: the
 * first of dpkg, rpm and apk in the folders of `path`.
 */
export async function ownersOf(libraries: readonly string[], path = PATH): Promise<Owners> {
  const manager = await present(path);
  const packages = new Set<string>();
  const nobodys: string[] = [];
  const places = libraries.length > 0 ? await listed(path) : new Map<string, string>();
  for (const library of libraries) {
    const paths = await pathsOf(places.get(library), library);
    const owner = manager && (await ownerOf(manager, paths, path));
    if (owner === undefined) nobodys.push(library);
    else packages.add(owner);
  }
  return {
    ...(manager ? { [manager.name]: [...packages].sort() } : {}),
    ...(nobodys.length > 0 ? { '': nobodys } : {}),
  };
}

async function present(path: string): Promise<PackageManager | undefined> {
  for (const manager of MANAGERS) {
    for (const folder of path.split(':')) if (await exists(join(folder, manager.command))) return manager;
  }
  return undefined;
}

/** The libraries that the loader knows, each where it would take it from. */
async function listed(programs: string): Promise<ReadonlyMap<string, string>> {
  const places = new Map<string, string>();
  for (const [, name = '', path = ''] of (await said('ldconfig', ['-p'], programs)).matchAll(
    /^\s*(\S+) \(.*\) => (\/.*)$/gm,
  ))
    if (!places.has(name)) places.set(name, path);
  return places;
}

/**
 * The names under which a package may have a file: those without links, too, and each with and without
 * /usr, for packages name files in /lib that were moved to /usr/lib, or the other way round.
 */
async function pathsOf(place: string | undefined, library: string): Promise<readonly string[]> {
  const first = place === undefined ? FOLDERS.map((folder) => join(folder, library)) : [place];
  const paths = new Set<string>();
  for (const path of first) {
    if (!(await exists(path))) continue;
    for (const one of [path, await realpath(path)])
      for (const name of [one, one.startsWith('/usr/') ? one.slice(4) : `/usr${one}`]) paths.add(name);
  }
  return [...paths];
}

async function ownerOf(
  manager: PackageManager,
  paths: readonly string[],
  programs: string,
): Promise<string | undefined> {
  for (const path of paths) {
    const owner = manager.packageIn.exec(await said(manager.command, [...manager.args, path], programs))?.[1];
    if (owner !== undefined) return owner;
  }
  return undefined;
}

/** What a command prints; nothing where there is no such command, or it has nothing to say. */
async function said(command: string, args: readonly string[], path: string): Promise<string> {
  try {
    const env = { PATH: path, LC_ALL: 'C' };
    return (await promisify(execFile)(command, [...args], { ...OPTIONS, env })).stdout;
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
