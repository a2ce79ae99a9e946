import { isPep440 } from '../wheels/versions.js';
import type { IndexAccess } from './access.js';

/** What pip is asked to build, the file that says so, and where it puts what it made. */
export interface PipWheelOptions {
  readonly package: string;
  readonly requirements: string;
  readonly wheelDir: string;
}

/** What holds for each of pip's commands here. */
const COMMON_PIP_OPTIONS = ['--no-input', '--disable-pip-version-check', '--no-color'];

/**
 * pip's arguments for one build.
 *
 * The package itself is named after `--no-binary`, not `:all:`: pip passes that option on, as it is, to
 * the pip that installs what the build requires (build_env.py), so that with `:all:` setuptools, Cython
 * and CMake would be built from source for each build, too (pyyaml: 257 s with `:all:`, 16 s without).
 * `--no-deps` and the version make sure that nothing but that one package is built.
 *
 * `--verbose` makes pip pass on what the build says while it says it.
 */
export function pipWheelArguments({
  package: name,
  requirements,
  wheelDir,
}: PipWheelOptions): readonly string[] {
  return [
    ...['wheel', '--no-deps', '--no-binary', name, '--wheel-dir', wheelDir],
    ...[...COMMON_PIP_OPTIONS, '--no-cache-dir', '--progress-bar', 'off', '--verbose'],
    ...['--requirement', requirements],
  ];
}

/**
 * The requirements file of one build. `==` finds every spelling of a version that is PEP 440's; `===`
 * compares the text, which is all that can be done with others (a pip that still knows them).
 *
 * With the hash that the master knows of the source, pip takes the file that has it, from whichever
 * mirror this slave's index is, and compares what it downloaded before it runs anything of it. The address
 * that the master knows is not used: a slave may reach its own index and nothing else. What the build
 * requires is installed by another pip, to which neither this file nor its demand for hashes is passed on
 * (tried with pip 23.0 and 26.3).
 */
export function requirementsFileText(name: string, version: string, sha256: string | null): string {
  const hash = sha256 === null ? '' : ` --hash=sha256:${sha256}`;
  return `${name}${isPep440(version) ? '==' : '==='}${version}${hash}\n`;
}

/** pip's arguments to look at the index's page of a package, and to say how that went. */
export function pipIndexVersionsArguments(name: string): readonly string[] {
  return ['index', 'versions', ...COMMON_PIP_OPTIONS, '-vv', '--', name];
}

/**
 * What pip is told by its environment, where it is seen by nobody else: the addresses. PEP 517's way to
 * build is asked for always, as pip 25.3 and later know no other: then what is built doesn't depend on
 * which setuptools and wheel the slave happens to have, nor whether it has any.
 */
export function pipEnvironment(
  baseEnv: Readonly<Record<string, string>>,
  access: IndexAccess,
): Readonly<Record<string, string>> {
  const { PIP_PROXY: proxy, ...rest } = baseEnv;
  const variables = {
    ...rest,
    ...(proxy === undefined ? {} : proxies(proxy)),
    PIP_INDEX_URL: access.indexUrl,
    PIP_EXTRA_INDEX_URL: access.extraIndexUrls.join(' '),
    PIP_FIND_LINKS: access.findLinks.join(' '),
    PIP_TRUSTED_HOST: access.trustedHosts.join(' '),
    PIP_USE_PEP517: '1',
  };
  return Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== ''));
}

/** pip 26 passes its own setting for a proxy on as an argument; the variables of everybody it doesn't. */
function proxies(proxy: string): Readonly<Record<string, string>> {
  const address = proxy.includes('://') ? proxy : `http://${proxy}`;
  return Object.fromEntries(
    ['http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'].map((name) => [name, address]),
  );
}
