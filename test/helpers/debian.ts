import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder } from '../../src/servers/cache.js';
import { remainingFetchMs, fetchFailure } from './missing.js';

const run = promisify(execFile);

/**
 * The files of Debian packages: installed on this machine, or unpacked in a folder together with their dependencies.
 */
export interface DebianFiles {
  /** The folder in which the packages are unpacked; empty if they are installed. */
  readonly root: string;
  /** The environment variables that their programs need. */
  readonly env: NodeJS.ProcessEnv;
}

/**
 * Returns the files of Debian packages: the installed ones if `probeFile`, one of their files, exists; otherwise it
 * fetches them with apt-get and unpacks them in the cache, which does not need root and changes nothing else. Throws
 * MissingPrerequisite if they can't be fetched in time (missing.ts).
 */
export async function debianFiles(packages: readonly string[], probeFile: string): Promise<DebianFiles> {
  if (existsSync(probeFile)) return { root: '', env: {} };
  const release = /^VERSION_CODENAME=(\w+)$/m.exec(
    await readFile('/etc/os-release', 'utf8').catch(() => ''),
  )?.[1];
  const folder = cacheFolder('debian', release ?? 'unknown', process.arch);
  const root = join(folder, packages.join('+'));
  if (!existsSync(root)) await fetchInto(folder, root, packages);
  if (!existsSync(root + probeFile))
    throw new Error(
      `Debian's ${packages.join(', ')} do not contain ${probeFile}; remove ${root} to fetch them again`,
    );
  return { root, env: { LD_LIBRARY_PATH: libraryDirs(root).join(':') } };
}

/**
 * Fetches packages with their dependencies and unpacks them into `root`. apt-get works in folders of its own there,
 * so that any user can run it and the machine's package lists stay as they are.
 */
async function fetchInto(folder: string, root: string, packages: readonly string[]): Promise<void> {
  const workDir = mkdtempSync(join(folder, '.fetch-'));
  try {
    for (const name of ['lists/partial', 'cache/archives/partial', 'root'])
      mkdirSync(join(workDir, name), { recursive: true });
    const options = [
      `Dir::State::lists=${join(workDir, 'lists')}`,
      `Dir::Cache=${join(workDir, 'cache')}`,
      'APT::Sandbox::User=',
      'Debug::NoLocking=1',
      'Acquire::Retries=2',
      'Acquire::http::Timeout=20',
      'Acquire::Languages=none',
    ].flatMap((option) => ['-o', option]);
    const runWithTimeout = async (program: string, args: readonly string[]): Promise<void> => {
      const timeout = remainingFetchMs(packages.join(', '));
      await run(program, args, { timeout, killSignal: 'SIGKILL', maxBuffer: 64 * 1024 * 1024 });
    };
    await runWithTimeout('apt-get', ['-q', ...options, 'update']);
    const download = ['install', '--no-install-recommends', '--download-only'];
    await runWithTimeout('apt-get', ['-q', '-y', ...options, ...download, ...packages]);
    const archives = join(workDir, 'cache/archives');
    for (const name of readdirSync(archives).filter((file) => file.endsWith('.deb')))
      await runWithTimeout('dpkg', ['-x', join(archives, name), join(workDir, 'root')]);
    renameSync(join(workDir, 'root'), root);
  } catch (error) {
    // Another test may have been faster.
    if (existsSync(root)) return;
    throw fetchFailure(packages.join(', '), error);
  } finally {
    rmSync(workDir, { recursive: true, force: true });
  }
}

function libraryDirs(root: string): string[] {
  return ['usr/lib', 'lib'].flatMap((name) => {
    const folder = join(root, name);
    if (!existsSync(folder)) return [];
    const inner = readdirSync(folder).filter(
      (child) => child.endsWith('-linux-gnu') || child.includes('-linux-gnueabi'),
    );
    return [...inner.map((child) => join(folder, child)), folder];
  });
}
