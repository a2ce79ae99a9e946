import { execFile } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { PiwError, errorMessage } from '../errors.js';
import { runAs, canAccess, type Account } from './privileges.js';

export interface PythonInterpreter {
  readonly path: string;
  readonly version: string;
}

/** Long, for a machine that is busy, milliseconds. */
const PYTHON_TIMEOUT_MS = 120_000;

/**
 * A Python 3.9 or later with pip that the account can run: the one that was named, else the first of
 * those on PATH and in the usual places. Raises PIW_NO_PYTHON with what was tried.
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
        tried.push(`${path}: can't be run by ${account?.name ?? 'this user'}`);
      continue;
    }
    const result = await probe(path, account);
    if (typeof result !== 'string') return result;
    tried.push(`${path}: ${result}`);
  }
  const detail = tried.length === 0 ? 'there is no python3 on PATH' : tried.join('; ');
  throw new PiwError('PIW_NO_PYTHON', `no usable Python was found (${detail})`);
}

async function probe(path: string, account: Account | undefined): Promise<PythonInterpreter | string> {
  const question = 'import sys, pip; print("%d.%d.%d" % sys.version_info[:3], sys.executable)';
  try {
    const { stdout } = await promisify(execFile)(path, ['-c', question], {
      ...runAs(account),
      timeout: PYTHON_TIMEOUT_MS,
      cwd: '/',
      env: { PATH: process.env['PATH'], LANG: 'C.UTF-8' },
    });
    const [version = '', executable = path] = stdout.trim().split(' ');
    const [major = 0, minor = 0] = version.split('.').map(Number);
    if (major < 3 || (major === 3 && minor < 9)) return `it is Python ${version}, and 3.9 is needed`;
    return { path: executable, version };
  } catch (error) {
    const message = errorMessage(error);
    if (message.includes("No module named 'pip'")) return 'it has no pip';
    return message.trim().split('\n').at(-1)?.slice(0, 200) ?? 'it does not run';
  }
}

/** What of pip's settings a build needs to reach the index; everything else stays behind. */
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
 * The index that pip is configured with for this user, and the environment by which builds reach it
 * in the same way: they have another home, and none of this process' variables.
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
    // A pip without `config` has no settings that could be told; its default index is known.
  }
  const env: Record<string, string> = {};
  for (const name of FORWARDED_PIP_OPTIONS) {
    const value = settings.get(name);
    if (value !== undefined) env[`PIP_${name.toUpperCase().replaceAll('-', '_')}`] = value;
  }
  for (const name of FORWARDED_VARIABLES) {
    for (const spelled of [name, name.toLowerCase()]) {
      const value = process.env[spelled];
      if (value !== undefined) env[spelled] = value;
    }
  }
  return { indexUrl: settings.get('index-url') ?? 'https://pypi.org/simple', env };
}

/** `global.index-url='…'` lines; what an environment variable says stands last, and counts. */
export function parsePipSettings(list: string): Map<string, string> {
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
