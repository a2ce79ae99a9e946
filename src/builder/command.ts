import { isPep440 } from '../wheels/versions.js';
import type { IndexAccess } from './access.js';

/** The package that pip builds, the path of the requirements file that names it, and the folder for its wheels. */
interface PipWheelOptions {
  readonly package: string;
  readonly requirements: string;
  readonly wheelDir: string;
}

/** The options of every pip command here. */
const COMMON_PIP_OPTIONS = ['--no-input', '--disable-pip-version-check', '--no-color'];

/**
 * Returns pip's arguments for one build.
 *
 * `--no-binary` names the package, not `:all:`: pip passes that option unchanged to the pip that installs the build
 * requirements (build_env.py), so `:all:` would build setuptools, Cython and CMake from source for each build, too
 * (pyyaml: 257 s with `:all:`, 16 s without). `--no-deps` and the version make sure that nothing but that one package
 * is built.
 *
 * `--verbose` makes pip forward the build's output as it is written.
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
 * Returns the text of the requirements file of one build. `==` matches every spelling of a PEP 440 version; `===`
 * compares the text, which is the only way to match other versions (with a pip that still supports them).
 *
 * If the master knows the hash of the source, pip takes the file with this hash from the slave's index, whichever
 * mirror that is, and verifies the download before it runs any of its code. The URL that the master knows is not
 * used, because a slave may be able to reach only its own index. Another pip installs the build requirements; it gets
 * neither this file nor its hash requirement (tested with pip 23.0 and 26.3).
 */
export function requirementsFileText(name: string, version: string, sha256: string | null): string {
  const hash = sha256 === null ? '' : ` --hash=sha256:${sha256}`;
  return `${name}${isPep440(version) ? '==' : '==='}${version}${hash}\n`;
}

/** Returns pip's arguments to fetch a package's page from the index and to report the result. */
export function pipIndexVersionsArguments(name: string): readonly string[] {
  return ['index', 'versions', ...COMMON_PIP_OPTIONS, '-vv', '--', name];
}

/**
 * Returns the environment for pip. The addresses of indexes are in variables, where no other user sees them.
 * PIP_USE_PEP517 is always set, as pip 25.3 and later support nothing else: then the result does not depend on
 * whether the slave has setuptools and wheel, and in which version.
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

/** Returns the standard proxy variables: pip 26 passes its own proxy setting on as an argument, but not these. */
function proxies(proxy: string): Readonly<Record<string, string>> {
  const address = proxy.includes('://') ? proxy : `http://${proxy}`;
  return Object.fromEntries(
    ['http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'].map((name) => [name, address]),
  );
}
