import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { PiwError, errorMessage } from '../errors.js';
import { BuildFolder } from './environment.js';
import type { Interpreter } from './interpreter.js';
import type { Confinement } from './sandbox.js';

/** What a slave may lack that most extensions need. */
export type MissingTool = 'compiler' | 'python-headers';

/** What people are told of each. */
export const MISSING_TOOL_MESSAGES: Readonly<Record<MissingTool, string>> = {
  compiler: 'it has no working C compiler (on Debian: apt install build-essential)',
  'python-headers': 'it has no headers of Python (on Debian: apt install python3-dev)',
};

const TRIAL_EXEC_OPTIONS = { timeout: 60_000, maxBuffer: 1024 * 1024 };

/**
 * Compiles a program of a few lines, and an extension, as setuptools does: with the compiler that the environment or
 * the interpreter itself names. Prints what did not compile.
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
lacks = []
if not compiles('program', ['#include <stdio.h>', 'int main(void) { return puts("") < 0; }']):
    lacks.append('compiler')
elif not compiles('extension', ['#include <Python.h>', 'int x(void) { return Py_IsInitialized(); }'],
        '-I' + include, '-I' + plat, '-fPIC', '-shared'):
    lacks.append('python-headers')
print(json.dumps(lacks))
`;

export interface ToolchainOptions {
  readonly interpreter: Interpreter;
  readonly workDir: string;
  readonly env: Readonly<Record<string, string>>;
  readonly programs: readonly string[];
  readonly confinement: Confinement;
  readonly log: (line: string) => void;
}

/**
 * What the builds of this slave lack, found by compiling something in the environment that they have. A trial that
 * can't be made tells nothing.
 */
export async function findMissingTools(options: ToolchainOptions): Promise<readonly MissingTool[]> {
  const { interpreter, workDir, env, programs, confinement, log } = options;
  let folder: BuildFolder | undefined;
  try {
    folder = await BuildFolder.create(workDir, {
      ...{ interpreter, programs, extraEnv: env, mountPoint: confinement.mountPoint },
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
      ? (Object.keys(MISSING_TOOL_MESSAGES) as MissingTool[]).filter((lack) => answer.includes(lack))
      : [];
  } catch (error) {
    // A disk without room or a folder that can't be written to is another matter, and said by the first build.
    if (!(error instanceof PiwError))
      log(`whether this slave has a compiler could not be found out: ${errorMessage(error)}`);
    return [];
  } finally {
    await folder?.wipe().catch((error: unknown) => {
      log(`${folder?.path ?? ''} could not be removed: ${errorMessage(error)}`);
    });
  }
}
