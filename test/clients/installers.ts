import { DAY_MS } from '../../src/units.js';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder } from '../../src/servers/cache.js';
import { findPython } from '../../src/servers/python.js';
import { remainingFetchMs, MissingPrerequisite, fetchFailure } from '../helpers/missing.js';

const run = promisify(execFile);
/** The time limit for `--version`. */
const VERSION_TIMEOUT_MS = 60_000;
/** A cached client that is older than this is fetched again. */
const STALE_MS = 7 * DAY_MS;

/** Versions of pip that ignore metadata files and read whole wheels: the oldest that reads JSON, and Debian 12's. */
export const OLD_PIPS = ['pip 22.2', 'pip 23.0.1'] as const;
export const INSTALLERS = [...OLD_PIPS, 'pip newest', 'uv', 'Poetry'] as const;
export type InstallerName = (typeof INSTALLERS)[number];

/** A client of an index, ready to be run. */
export interface PackageInstaller {
  readonly name: InstallerName;
  readonly version: string;
  /** The Python that environments are created with. */
  readonly python: string;
  /** Returns the program and its leading arguments; the Python of the environment runs pip. */
  readonly command: (environment: string) => readonly [program: string, ...args: string[]];
}

/**
 * Returns a client. pip fetches it from the configured index into the user's cache, where the next run finds it. The
 * machine's own pip is not used: expectations must not depend on it. Throws MissingPrerequisite, with pip's last line, if
 * the client can't be fetched.
 */
export async function findInstaller(name: InstallerName): Promise<PackageInstaller> {
  const python = (await findPython(undefined, undefined)).path;
  const pip = (folder: string): PackageInstaller['command'] => {
    return (environment) => [join(environment, 'bin/python'), join(folder, 'pip')];
  };
  switch (name) {
    case 'pip 22.2':
    case 'pip 23.0.1': {
      const olderPythonPath = await olderPython(name, python);
      return installerOf(
        name,
        olderPythonPath,
        pip(await fetchWithPip(python, name, ['--no-deps', name.replace(' ', '==')])),
      );
    }
    case 'pip newest':
      return installerOf(name, python, pip(await fetchWithPip(python, name, ['--no-deps', 'pip'])));
    case 'uv': {
      const program = join(await fetchWithPip(python, name, ['--no-deps', 'uv']), 'bin/uv');
      return installerOf(name, python, () => [program]);
    }
    case 'Poetry': {
      const folder = await fetchWithPip(python, name, ['poetry']);
      return installerOf(name, python, () => [
        '/usr/bin/env',
        `PYTHONPATH=${folder}`,
        python,
        '-m',
        'poetry',
      ]);
    }
  }
}

/** A Python program that is not an installer, with the environment variables that it needs. */
export interface PythonProgram {
  readonly command: readonly [program: string, ...args: string[]];
  readonly env: Readonly<Record<string, string>>;
}

/** Returns bandersnatch, as findInstaller() returns clients. Throws MissingPrerequisite. */
export async function findBandersnatch(): Promise<PythonProgram> {
  const python = (await findPython(undefined, undefined)).path;
  const folder = await fetchWithPip(python, 'bandersnatch', ['bandersnatch>=6.7']);
  return { command: [python, '-m', 'bandersnatch.main'], env: { PYTHONPATH: folder } };
}

/** Returns the path of a Python older than 3.12: old versions of pip don't start with newer ones. */
async function olderPython(name: InstallerName, python: string): Promise<string> {
  const script = 'import sys; assert sys.version_info < (3, 12); import venv; print(sys.executable)';
  for (const candidate of [python, 'python3.11', 'python3.10', 'python3.9']) {
    const result = await run(candidate, ['-c', script], { cwd: '/' }).catch(() => undefined);
    if (result) return result.stdout.trim();
  }
  throw new MissingPrerequisite(`${name} needs a Python older than 3.12, and there is none on PATH`);
}

async function installerOf(
  name: InstallerName,
  python: string,
  command: PackageInstaller['command'],
): Promise<PackageInstaller> {
  // The version doesn't depend on the environment: use the machine's Python as one.
  const [program, ...args] = command(dirname(dirname(python)));
  const { stdout } = await run(existsSync(program) ? program : python, [...args, '--version'], {
    cwd: '/',
    timeout: VERSION_TIMEOUT_MS,
    env: { ...process.env, NO_COLOR: '1' },
  });
  return { name, version: /\d+(?:\.\d+)+/.exec(stdout)?.[0] ?? stdout.trim(), python, command };
}

/** Returns a cached folder with what pip installs for these arguments; refreshes it if it is stale and pip succeeds. */
async function fetchWithPip(
  python: string,
  name: InstallerName | 'bandersnatch',
  args: readonly string[],
): Promise<string> {
  const parent = cacheFolder('clients');
  const { stdout } = await run(python, ['-c', 'import sys; print("cp%d%d" % sys.version_info[:2])']);
  const folder = join(parent, `${name.toLowerCase().replace(' ', '-')}-${stdout.trim()}-${process.arch}`);
  if (existsSync(folder) && Date.now() - statSync(folder).mtimeMs < STALE_MS) return folder;
  const workDir = mkdtempSync(join(parent, '.fetch-'));
  try {
    const quiet = ['-q', '--no-input', '--disable-pip-version-check', '--no-warn-script-location'];
    await run(python, ['-m', 'pip', 'install', ...quiet, '--target', join(workDir, 'new'), ...args], {
      cwd: workDir,
      timeout: remainingFetchMs(name),
      maxBuffer: 16 * 1024 * 1024,
    });
    if (existsSync(folder)) renameSync(folder, join(workDir, 'old'));
    renameSync(join(workDir, 'new'), folder);
    utimesSync(folder, new Date(), new Date());
  } catch (error) {
    // A stale folder, or one that another test has created meanwhile, will do.
    if (existsSync(folder)) return folder;
    throw fetchFailure(name, error);
  } finally {
    rmSync(workDir, { recursive: true, force: true });
  }
  return folder;
}
