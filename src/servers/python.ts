import { execFile } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { PiwError, errorMessage } from '../errors.js';
import { runAs, canAccess, type Account } from './privileges.js';

export interface PythonInterpreter {
  readonly path: string;
  readonly version: string;
}

/** Long enough for a busy machine, milliseconds. */
const PYTHON_TIMEOUT_MS = 120_000;

/**
 * Returns a Python 3.9 or later with pip that the account can run: the requested one, or else the first on PATH and
 * in the usual folders. Throws PIW_NO_PYTHON, naming what was tried.
 */
export async function findPython(
  requestedPath: string | undefined,
  account: Account | undefined,
): Promise<PythonInterpreter> {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/bin', '/usr/bin'];
  const candidates =
    requestedPath === undefined
      ? [...new Set(folders.map((folder) => join(folder, 'python3')))]
      : [requestedPath];
  const tried: string[] = [];
  for (const path of candidates) {
    if (path.includes('/') && !canAccess(account, 'x', path)) {
      if (requestedPath !== undefined || canAccess(undefined, 'x', path))
        tried.push(`${path}: ${account?.name ?? 'this user'} can't run it`);
      continue;
    }
    const result = await probe(path, account);
    if (typeof result !== 'string') return result;
    tried.push(`${path}: ${result}`);
  }
  const detail = tried.length === 0 ? 'there is no python3 on PATH' : tried.join('; ');
  throw new PiwError('PIW_NO_PYTHON', `no usable Python found (${detail})`);
}

/** Returns the interpreter, or the reason why it is unusable. */
async function probe(path: string, account: Account | undefined): Promise<PythonInterpreter | string> {
  const script = 'import sys, pip; print("%d.%d.%d" % sys.version_info[:3], sys.executable)';
  try {
    const { stdout } = await promisify(execFile)(path, ['-c', script], {
      ...runAs(account),
      timeout: PYTHON_TIMEOUT_MS,
      cwd: '/',
      env: { PATH: process.env['PATH'], LANG: 'C.UTF-8' },
    });
    const [version = '', executable = path] = stdout.trim().split(' ');
    const [major = 0, minor = 0] = version.split('.').map(Number);
    if (major < 3 || (major === 3 && minor < 9)) return `it is Python ${version}; 3.9 or later is needed`;
    return { path: executable, version };
  } catch (error) {
    const message = errorMessage(error);
    if (message.includes("No module named 'pip'")) return 'it has no pip';
    return message.trim().split('\n').at(-1)?.slice(0, 200) ?? 'it does not run';
  }
}

/** The settings of pip that builds need to reach the index; no others are passed on. */
const FORWARDED_PIP_OPTIONS = [
  'extra-index-url',
  'trusted-host',
  'cert',
  'client-cert',
  'proxy',
  'timeout',
  'retries',
];
const FORWARDED_VARIABLES = [
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'REQUESTS_CA_BUNDLE',
  'CURL_CA_BUNDLE',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'ALL_PROXY',
];

/**
 * Returns the index that this user's pip is configured with, and the environment with which builds reach it in the
 * same way: they have another home, and don't inherit this process's variables.
 */
export async function readPipSettings(
  python: PythonInterpreter,
): Promise<{ indexUrl: string; env: Readonly<Record<string, string>> }> {
  let settings = new Map<string, string>();
  try {
    const { stdout } = await promisify(execFile)(python.path, ['-m', 'pip', 'config', 'list'], {
      timeout: PYTHON_TIMEOUT_MS,
      cwd: '/',
    });
    settings = parsePipSettings(stdout);
  } catch {
    // A pip without `config` can't list its settings; its default index is known.
  }
  const env: Record<string, string> = {};
  for (const name of FORWARDED_PIP_OPTIONS) {
    const value = settings.get(name);
    if (value !== undefined) env[`PIP_${name.toUpperCase().replaceAll('-', '_')}`] = value;
  }
  for (const name of FORWARDED_VARIABLES) {
    for (const variable of [name, name.toLowerCase()]) {
      const value = process.env[variable];
      if (value !== undefined) env[variable] = value;
    }
  }
  return { indexUrl: settings.get('index-url') ?? 'https://pypi.org/simple', env };
}

/** Parses lines like `global.index-url='…'`. Environment variables (`:env:`) override sections, and those `global`. */
function parsePipSettings(list: string): Map<string, string> {
  const settings = new Map<string, string>();
  const rank = (section: string) => (section === ':env:' ? 2 : section === 'global' ? 0 : 1);
  const ranks = new Map<string, number>();
  for (const line of list.split('\n')) {
    const match = /^(.+)\.([a-z-]+)='(.*)'$/.exec(line.trim());
    if (!match) continue;
    const [, section = '', name = '', value = ''] = match;
    if (section !== ':env:' && section !== 'global' && section !== 'wheel') continue;
    if ((ranks.get(name) ?? -1) > rank(section)) continue;
    ranks.set(name, rank(section));
    settings.set(name, value.replaceAll('\\n', ' ').trim());
  }
  return settings;
}
