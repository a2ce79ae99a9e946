import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { PiwError } from '../errors.js';

/** An interpreter that builds wheels, and the machine that it runs on. */
export interface Interpreter {
  readonly path: string;
  /** `3.11.7` */
  readonly version: string;
  /** `CPython`, `PyPy` */
  readonly implementation: string;
  /** `cp311`, `pp39` */
  readonly pyVersionTag: string;
  /** `cp311`, `cp313t`, `pypy39_pp73` */
  readonly abiTag: string;
  /** `linux_x86_64` */
  readonly platformTag: string;
  readonly pipVersion: string;
  /** Whether its C compiler supports -ffile-prefix-map (GCC 8, Clang 10 and later). */
  readonly supportsPrefixMap: boolean;
  /** The folders that it is installed in: the virtual environment's, and the base installation's. */
  readonly prefixes: readonly string[];
  readonly osName: string;
  readonly osVersion: string;
  /** The board's name in the device tree; null on machines without one. */
  readonly board: string | null;
}

/** The timeout is long because the machine may be busy. */
const PROBE_EXEC_OPTIONS = { timeout: 120_000, maxBuffer: 1024 * 1024 };

/**
 * Prints the tags of wheels for this interpreter (as packaging.tags and bdist_wheel compute them) and other facts
 * about it. A 32-bit Python on a 64-bit kernel is recognised by the size of its integers, because its platform is not
 * the kernel's. Old Pythons can run this script, too, so that they can be reported as too old.
 */
const PROBE_SCRIPT = `
import json, os, platform, subprocess, sys, sysconfig
try:
    import pip
    pip = pip.__version__
except ImportError:
    pip = ''
v = sys.version_info
py = '%s%d%d' % ({'CPython': 'cp', 'PyPy': 'pp'}.get(platform.python_implementation(), 'py'), v[0], v[1])
soabi = sysconfig.get_config_var('SOABI') or ''
abi = soabi.replace('-', '_') if py.startswith('pp') else py + getattr(sys, 'abiflags', '')
plat = sysconfig.get_platform().replace('-', '_').replace('.', '_')
if sys.maxsize <= 2 ** 32:
    plat = {'linux_x86_64': 'linux_i686', 'linux_aarch64': 'linux_armv7l'}.get(plat, plat)
maps = False
try:
    with open(os.devnull, 'w') as null:
        words = (sysconfig.get_config_var('CC') or 'cc').split()
        words += ['-ffile-prefix-map=/a=/b', '-E', '-x', 'c', os.devnull]
        maps = subprocess.call(words, stdout=null, stderr=null) == 0
except OSError:
    pass
print(json.dumps({
    'path': sys.executable, 'version': platform.python_version(), 'py': py, 'abi': abi,
    'implementation': platform.python_implementation(), 'platform': plat, 'pip': pip, 'maps': maps,
    'prefixes': [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix],
}))
`;

/**
 * Runs an interpreter (a path or a name on PATH) once, for at most 120 s and with only `env` and this process's PATH
 * as its environment, and returns the facts about it. Throws PIW_NO_PYTHON if it is older than 3.9, has no pip or
 * does not answer.
 */
export async function probeInterpreter(
  python: string,
  env: Readonly<Record<string, string>>,
): Promise<Interpreter> {
  const answer = await runProbeScript(python, env);
  const readField = (key: string, pattern: RegExp): string => {
    const value = answer[key];
    if (typeof value === 'string' && pattern.test(value)) return value;
    throw unusable(python, `piw does not support this interpreter (unexpected value of "${key}")`);
  };
  const version = readField('version', /^\d+\.\d+/);
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < 3 || (major === 3 && minor < 9)) {
    throw unusable(python, `it is Python ${version}, but 3.9 or later is required`);
  }
  const pipVersion = readField('pip', /^/);
  if (pipVersion === '')
    throw unusable(
      python,
      `it has no pip (on Debian: apt install python3-pip; elsewhere: ${python} -m ensurepip)`,
    );
  const path = readField('path', /^/);
  const os = await osRelease();
  return {
    path: path === '' ? python : path,
    version,
    implementation: readField('implementation', /^\w+$/),
    pyVersionTag: readField('py', /^[a-z]+\d+$/),
    abiTag: readField('abi', /^[a-z0-9_]+$/),
    platformTag: readField('platform', /^[a-z0-9_]+$/),
    pipVersion,
    supportsPrefixMap: answer['maps'] === true,
    prefixes: Array.isArray(answer['prefixes']) ? [...new Set(answer['prefixes'].map(String))] : [],
    osName: os.get('NAME') ?? process.platform,
    osVersion: os.get('VERSION_ID') ?? '',
    board: await board(),
  };
}

async function runProbeScript(
  python: string,
  env: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, unknown>>> {
  try {
    const { stdout } = await promisify(execFile)(python, ['-I', '-c', PROBE_SCRIPT], {
      ...PROBE_EXEC_OPTIONS,
      cwd: '/',
      env: { ...env, PATH: process.env['PATH'], LANG: 'C.UTF-8' },
    });
    const answer: unknown = JSON.parse(stdout);
    return typeof answer === 'object' && answer !== null ? { ...answer } : {};
  } catch (error) {
    throw unusable(python, describeExecError(error), { cause: error });
  }
}

/** Returns why a command could not be run, for people. */
function describeExecError(error: unknown): string {
  const { code, killed, stderr } = error as { code?: unknown; killed?: boolean; stderr?: string };
  if (code === 'ENOENT') return 'there is no such program';
  if (code === 'EACCES') return 'this user may not run it';
  if (killed) return `it did not answer within ${PROBE_EXEC_OPTIONS.timeout / 1000} s`;
  if (stderr?.includes('Unknown option: -I')) return 'it is older than Python 3.4';
  const lastLine = (stderr ?? '').trim().split('\n').at(-1) ?? '';
  return lastLine === '' ? 'it does not answer like a Python interpreter' : lastLine.slice(0, 200);
}

function unusable(python: string, text: string, options?: ErrorOptions): PiwError {
  return new PiwError('PIW_NO_PYTHON', `${python} cannot build wheels: ${text}`, options);
}

async function osRelease(): Promise<ReadonlyMap<string, string>> {
  const contents = await readFile('/etc/os-release', 'utf8').catch(() => '');
  return new Map(
    contents.split('\n').flatMap((line) => {
      const match = /^([A-Z_]+)=["']?([^"']*)["']?$/.exec(line);
      return match ? [[match[1] ?? '', match[2] ?? ''] as const] : [];
    }),
  );
}

async function board(): Promise<string | null> {
  const model = await readFile('/proc/device-tree/model', 'utf8').catch(() => '');
  return model.replaceAll('\0', '').trim() || null;
}
