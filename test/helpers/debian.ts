import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder } from '../../src/farm/cache.js';
import { fetchTimeLeft, notFetched } from './missing.js';

const run = promisify(execFile);

/** A Debian package's files: on this machine (`/`), or unpacked somewhere, with the libraries that it needs. */
export interface Unpacked {
  /** Before every path that the package's files would have; empty for the machine's own. */
  readonly root: string;
  /** What a program of it needs in its environment. */
  readonly env: NodeJS.ProcessEnv;
}

/**
 * Returns the files of Debian packages: the machine's own where `witness`, a file of theirs, is there, else fetched
 * with apt-get and unpacked in the cache, which needs no root and changes nothing else. Throws Missing if they can
 * not be fetched in time (missing.ts).
 */
export async function debian(packages: readonly string[], witness: string): Promise<Unpacked> {
  if (existsSync(witness)) return { root: '', env: {} };
  const release = /^VERSION_CODENAME=(\w+)$/m.exec(
    await readFile('/etc/os-release', 'utf8').catch(() => ''),
  )?.[1];
  const folder = cacheFolder('debian', release ?? 'unknown', process.arch);
  const root = join(folder, packages.join('+'));
  if (!existsSync(root)) await fetchInto(folder, root, packages);
  if (!existsSync(root + witness))
    throw new Error(`Debian's ${packages.join(', ')} hold no ${witness}; remove ${root} to fetch them again`);
  return { root, env: { LD_LIBRARY_PATH: libraries(root).join(':') } };
}

/** apt-get's own folders are put aside, so that it works for anyone, and leaves the machine's lists as they are. */
async function fetchInto(folder: string, root: string, packages: readonly string[]): Promise<void> {
  const work = mkdtempSync(join(folder, '.fetch-'));
  try {
    for (const name of ['lists/partial', 'cache/archives/partial', 'root'])
      mkdirSync(join(work, name), { recursive: true });
    const options = [
      `Dir::State::lists=${join(work, 'lists')}`,
      `Dir::Cache=${join(work, 'cache')}`,
      'APT::Sandbox::User=',
      'Debug::NoLocking=1',
      'Acquire::Retries=2',
      'Acquire::http::Timeout=20',
      'Acquire::Languages=none',
    ].flatMap((option) => ['-o', option]);
    const limited = async (program: string, args: readonly string[]): Promise<void> => {
      const timeout = fetchTimeLeft(packages.join(', '));
      await run(program, args, { timeout, killSignal: 'SIGKILL', maxBuffer: 64 * 1024 * 1024 });
    };
    await limited('apt-get', ['-q', ...options, 'update']);
    const download = ['install', '--no-install-recommends', '--download-only'];
    await limited('apt-get', ['-q', '-y', ...options, ...download, ...packages]);
    const archives = join(work, 'cache/archives');
    for (const name of readdirSync(archives).filter((one) => one.endsWith('.deb')))
      await limited('dpkg', ['-x', join(archives, name), join(work, 'root')]);
    renameSync(join(work, 'root'), root);
  } catch (error) {
    // Another test may have been faster.
    if (existsSync(root)) return;
    throw notFetched(packages.join(', '), error);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function libraries(root: string): string[] {
  return ['usr/lib', 'lib'].flatMap((name) => {
    const folder = join(root, name);
    if (!existsSync(folder)) return [];
    const inner = readdirSync(folder).filter(
      (one) => one.endsWith('-linux-gnu') || one.includes('-linux-gnueabi'),
    );
    return [...inner.map((one) => join(folder, one)), folder];
  });
}
