import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { PiwError, reason } from '../errors.js';

/** An interpreter that builds, and the machine that it runs on. */
export interface Interpreter {
  readonly path: string;
  /** `3.11.7` */
  readonly version: string;
  /** `cp311`, `pp39` */
  readonly pyVersionTag: string;
  /** `cp311`, `cp313t`, `pypy39_pp73` */
  readonly abiTag: string;
  /** `linux_x86_64` */
  readonly platformTag: string;
  readonly pipVersion: string;
  readonly osName: string;
  readonly osVersion: string;
  /** What the device tree calls the board; null on machines without one. */
  readonly board: string | null;
}

/** What pip's own code says of it; without that of pip, what can be told from the interpreter alone. */
const QUESTION = `
import json, platform, sys, sysconfig
import pip
v = sys.version_info
if platform.python_implementation() == 'PyPy':
    py = 'pp%d%d' % v[:2]
    abi = 'pypy%d%d_pp%d%d' % (v[:2] + sys.pypy_version_info[:2])
else:
    py = 'cp%d%d' % v[:2]
    abi = py + ('t' if sysconfig.get_config_var('Py_GIL_DISABLED') else '') + getattr(sys, 'abiflags', '').replace('t', '')
print(json.dumps({
    'path': sys.executable, 'version': platform.python_version(), 'py': py, 'abi': abi,
    'platform': sysconfig.get_platform().replace('-', '_').replace('.', '_'), 'pip': pip.__version__,
}))
`;

/** Asks an interpreter what it is. Raises PIW_NO_PYTHON if it is too old, has no pip, or doesn't answer. */
export async function probe(python: string, env: Readonly<Record<string, string>>): Promise<Interpreter> {
  let answer: Record<string, string>;
  try {
    const { stdout } = await promisify(execFile)(python, ['-c', QUESTION], {
      env: { PATH: process.env['PATH'], LANG: 'C.UTF-8', ...env },
      timeout: 20_000,
    });
    answer = JSON.parse(stdout) as Record<string, string>;
  } catch (error) {
    const last = reason(error).trim().split('\n').at(-1) ?? '';
    throw new PiwError('PIW_NO_PYTHON', `${python} can't be used: ${last}`, { cause: error });
  }
  const { version = '', py = '', abi = '', platform = '', pip = '', path = python } = answer;
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < 3 || (major === 3 && minor < 9))
    throw new PiwError('PIW_NO_PYTHON', `${python} is Python ${version}`);
  const os = await osRelease();
  return {
    path: path || python,
    version,
    pyVersionTag: py,
    abiTag: abi,
    platformTag: platform,
    pipVersion: pip,
    osName: os.get('NAME') ?? process.platform,
    osVersion: os.get('VERSION_ID') ?? '',
    board: await board(),
  };
}

async function osRelease(): Promise<ReadonlyMap<string, string>> {
  const contents = await readFile('/etc/os-release', 'utf8').catch(() => '');
  return new Map(
    contents.split('\n').flatMap((line) => {
      const match = /^([A-Z_]+)="?([^"]*)"?$/.exec(line);
      return match ? [[match[1] ?? '', match[2] ?? ''] as const] : [];
    }),
  );
}

async function board(): Promise<string | null> {
  const model = await readFile('/proc/device-tree/model', 'utf8').catch(() => '');
  return model.replaceAll('\0', '').trim() || null;
}
