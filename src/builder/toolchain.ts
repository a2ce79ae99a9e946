import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { PiwError } from '../errors.js';
import type { LogMethod } from '../log.js';
import { BuildFolder } from './environment.js';
import type { Interpreter } from './interpreter.js';
import type { Confinement } from './sandbox.js';

/** Tools that most extensions need and a slave may lack. */
export type MissingTool = 'compiler' | 'python-headers';

/** The message for people about each missing tool. */
export const MISSING_TOOL_MESSAGES: Readonly<Record<MissingTool, string>> = {
  compiler: 'it has no working C compiler (on Debian: apt install build-essential)',
  'python-headers': 'it has no Python headers (on Debian: apt install python3-dev)',
};

const TRIAL_EXEC_OPTIONS = { timeout: 60_000, maxBuffer: 1024 * 1024 };

/**
 * Compiles a short program and an extension as setuptools does: with the compiler that the environment or the
 * interpreter names. Prints the tools that are missing, as a JSON list.
 */
const COMPILE_TRIAL_SCRIPT = `
import json, os, shlex, subprocess, sysconfig
cc = shlex.split(os.environ.get('CC') or sysconfig.get_config_var('CC') or 'cc')
include = sysconfig.get_path('include')
plat = sysconfig.get_path('platinclude')
def compiles(name, lines, *flags):
    source = os.path.join(os.environ['TMPDIR'], name + '.c')
    with open(source, 'w') as f:
        f.write('\\n'.join(lines) + '\\n')
    try:
        run = subprocess.run(cc + list(flags) + [source, '-o', source + '.out'], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=25)
    except OSError:
        return False
    return run.returncode == 0
missing = []
if not compiles('program', ['#include <stdio.h>', 'int main(void) { return puts("") < 0; }']):
    missing.append('compiler')
elif not compiles('extension', ['#include <Python.h>', 'int x(void) { return Py_IsInitialized(); }'],
        '-I' + include, '-I' + plat, '-fPIC', '-shared'):
    missing.append('python-headers')
print(json.dumps(missing))
`;

interface ToolchainOptions {
  readonly interpreter: Interpreter;
  readonly workDir: string;
  readonly env: Readonly<Record<string, string>>;
  readonly programs: readonly string[];
  readonly confinement: Confinement;
  readonly log: LogMethod;
}

/**
 * Compiles something in the environment of builds, and returns the tools that are missing. If the trial can't be run,
 * logs that and returns none.
 */
export async function findMissingTools(options: ToolchainOptions): Promise<readonly MissingTool[]> {
  const { interpreter, workDir, env, programs, confinement, log } = options;
  let folder: BuildFolder | undefined;
  try {
    folder = await BuildFolder.create(workDir, {
      interpreter,
      programs,
      extraEnv: env,
      mountPoint: confinement.mountPoint,
    });
    const [command, ...args] = [
      ...confinement.commandPrefix(folder.path),
      interpreter.path,
      '-I',
      '-c',
      COMPILE_TRIAL_SCRIPT,
    ];
    const { stdout } = await promisify(execFile)(command, args, {
      ...TRIAL_EXEC_OPTIONS,
      cwd: folder.path,
      env: folder.env,
    });
    const answer: unknown = JSON.parse(stdout);
    return Array.isArray(answer)
      ? (Object.keys(MISSING_TOOL_MESSAGES) as MissingTool[]).filter((tool) => answer.includes(tool))
      : [];
  } catch (error) {
    // The first build reports a full disk or a folder that can't be written to.
    if (!(error instanceof PiwError))
      log('cannot check whether this slave has a compiler', { python: interpreter.path }, error);
    return [];
  } finally {
    await folder?.wipe().catch((error: unknown) => {
      log('cannot remove a folder', { path: folder?.path }, error);
    });
  }
}
