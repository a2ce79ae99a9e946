import { mkdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Runs pip, or the file that is named, with another program in the place of its interpreter. `-I` keeps
 * out of it whatever a build has left in its home.
 */
const LAUNCH = `
import runpy, sys
sys.executable = sys.argv[1]
del sys.argv[:2]
if sys.argv[0] == 'pip':
    runpy.run_module('pip', run_name='__main__', alter_sys=True)
else:
    runpy.run_path(sys.argv[0], run_name='__main__')
`;

const quoted = (word: string): string => `'${word.replaceAll("'", String.raw`'\''`)}'`;

/**
 * What pip is told is its interpreter. pip runs it for two things: another pip, which downloads and
 * installs what a build requires, and the hooks of build backends (PEP 517), which are the code of the
 * package, or of a requirement that comes as source. The other pip runs as it would, with this script in
 * its turn; everything else runs within the walls.
 */
const standIn = (python: string, launch: string, walls: readonly string[]): string => `#!/bin/sh
case "$1" in
  */__pip-runner__.py | */pip) exec ${quoted(python)} -I ${quoted(launch)} "$0" "$@" ;;
  *) exec ${[...walls, python].map(quoted).join(' ')} "$@" ;;
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
export async function pipWithWalls(
  folder: string,
  python: string,
  walls: (kept: string) => readonly string[],
): Promise<readonly string[]> {
  const kept = join(folder, 'pip');
  await mkdir(kept, { recursive: true, mode: 0o700 });
  const [launch, script] = [join(kept, 'launch.py'), join(kept, 'python')];
  await writeFile(launch, LAUNCH, { mode: 0o600 });
  await writeFile(script, standIn(python, launch, walls(kept)), { mode: 0o700 });
  return [python, '-I', launch, script, 'pip'];
}

/** Notes which network its hook sees, and goes no further. */
const PROBE = `
import os
def get_requires_for_build_wheel(config_settings=None):
    with open('network', 'w') as file:
        file.write(os.readlink('/proc/self/ns/net'))
    raise SystemExit('seen')
`;

/** A folder with a project by which it is tried out whether a backend's hook is cut off. */
export async function probeProject(folder: string): Promise<string> {
  const project = join(folder, 'project');
  await mkdir(project);
  const about = '[build-system]\nrequires = []\nbuild-backend = "probe"\nbackend-path = ["."]\n';
  await writeFile(join(project, 'pyproject.toml'), about);
  await writeFile(join(project, 'probe.py'), PROBE);
  return project;
}

/** Whether the hook of that project ran, and saw another network than this process has. */
export async function cutsOff(project: string): Promise<boolean> {
  const theirs = await readFile(join(project, 'network'), 'utf8').catch(() => '');
  return theirs.startsWith('net:') && theirs !== (await readlink('/proc/self/ns/net'));
}
