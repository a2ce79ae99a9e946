import { mkdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PackageName } from '../wheels/names.js';
import { pipCommand, writeLauncher } from './launcher.js';

const shellQuote = (word: string): string => `'${word.replaceAll("'", String.raw`'\''`)}'`;

/**
 * Returns the script that pip takes for its interpreter. pip runs its interpreter for two things: another pip, which
 * downloads and installs build requirements, and the hooks of build backends (PEP 517), which are code of the package
 * or of a requirement that is built from source. The other pip runs as usual, with this script as its interpreter in
 * turn; everything else runs in the inner sandbox (`hookPrefix`).
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
 * Returns the beginning of a command line (pip's arguments follow) that runs pip with network access and the
 * package's own code in an inner sandbox without it. pip's procedure is unchanged: it installs the requirements that
 * pyproject.toml names and then asks the backend for more, so every requirement is installed, and none twice. The
 * inner sandbox must also hide pip's processes and make this script read-only, so that the package's code can't use
 * pip to get around it.
 *
 * All versions of pip from 21 to 26.3 start both as `sys.executable`, but do not promise to; so the sandbox tests it
 * before builds rely on it (hookRanOffline).
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

/** A backend whose hook writes down its network namespace and fails. */
const PROBE_BACKEND = `
import os
def get_requires_for_build_wheel(config_settings=None):
    with open('network', 'w') as file:
        file.write(os.readlink('/proc/self/ns/net'))
    raise SystemExit('seen')
`;

/** Writes a project that tests whether a backend's hook has no network, and returns its folder. */
export async function writeProbeProject(folder: string): Promise<string> {
  const project = join(folder, 'project');
  await mkdir(project);
  const pyproject = '[build-system]\nrequires = []\nbuild-backend = "probe"\nbackend-path = ["."]\n';
  await writeFile(join(project, 'pyproject.toml'), pyproject);
  await writeFile(join(project, 'probe.py'), PROBE_BACKEND);
  return project;
}

/** Returns whether the hook of that project ran in another network namespace than this process. */
export async function hookRanOffline(project: string): Promise<boolean> {
  const namespace = await readFile(join(project, 'network'), 'utf8').catch(() => '');
  return namespace.startsWith('net:') && namespace !== (await readlink('/proc/self/ns/net'));
}
