import { mkdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PackageName } from '../wheels/names.js';
import { pipCommand, writeLauncher } from './launcher.js';

const shellQuote = (word: string): string => `'${word.replaceAll("'", String.raw`'\''`)}'`;

/**
 * What pip is told is its interpreter. pip runs it for two things: another pip, which downloads and
 * installs what a build requires, and the hooks of build backends (PEP 517), which are the code of the
 * package, or of a requirement that comes as source. The other pip runs as it would, with this script in
 * its turn; everything else runs within the walls.
 */
const pythonWrapperScript = (
  python: string,
  launcherScript: string,
  name: PackageName,
  hookPrefix: readonly string[],
): string => `#!/bin/sh
case "$1" in
  */__pip-runner__.py | */pip) exec ${[python, '-I', launcherScript, name].map(shellQuote).join(' ')} "$0" "$@" ;;
  *) exec ${[...hookPrefix, python].map(shellQuote).join(' ')} "$@" ;;
esac
`;

/**
 * The beginning of a command line (its arguments are pip's) by which pip runs with the network, and the
 * package's own code within walls that keep the network out. pip goes its own way: it asks the backend for
 * what else it requires after it has installed what pyproject.toml names, so each requirement is found, and
 * none twice. The walls have to keep processes apart, too, and this script from being written, so that no
 * code can have pip do for it what it may not.
 *
 * That pip starts both as `sys.executable` is its way in all versions from 21 to 26.3, and no promise;
 * so it is tried out before builds rely on it (cutsOff).
 */
export async function pipCommandWithIsolatedHooks(
  folder: string,
  python: string,
  name: PackageName,
  hookPrefix: (readOnlyFolder: string) => readonly string[],
): Promise<readonly string[]> {
  const launcherFolder = await writeLauncher(folder);
  const wrapperPath = join(launcherFolder, 'python');
  await writeFile(
    wrapperPath,
    pythonWrapperScript(python, join(launcherFolder, 'launch.py'), name, hookPrefix(launcherFolder)),
    { mode: 0o700 },
  );
  return pipCommand(python, launcherFolder, name, wrapperPath);
}

/** Notes which network its hook sees, and goes no further. */
const PROBE_BACKEND = `
import os
def get_requires_for_build_wheel(config_settings=None):
    with open('network', 'w') as file:
        file.write(os.readlink('/proc/self/ns/net'))
    raise SystemExit('seen')
`;

/** A folder with a project by which it is tried out whether a backend's hook is cut off. */
export async function writeProbeProject(folder: string): Promise<string> {
  const project = join(folder, 'project');
  await mkdir(project);
  const about = '[build-system]\nrequires = []\nbuild-backend = "probe"\nbackend-path = ["."]\n';
  await writeFile(join(project, 'pyproject.toml'), about);
  await writeFile(join(project, 'probe.py'), PROBE_BACKEND);
  return project;
}

/** Whether the hook of that project ran, and saw another network than this process has. */
export async function hookRanOffline(project: string): Promise<boolean> {
  const theirs = await readFile(join(project, 'network'), 'utf8').catch(() => '');
  return theirs.startsWith('net:') && theirs !== (await readlink('/proc/self/ns/net'));
}
