/** What the tags of an interpreter's own wheels are, in the order in which a filename has them. */
export interface OwnTags {
  readonly pyVersionTag: string;
  readonly abiTag: string;
  readonly platformTag: string;
}

/** A package of the index: what it stands for, and what its wheel has to be tagged with. */
export interface Kind {
  readonly name: string;
  readonly version: string;
  readonly standsFor: string;
  /** Tags of a wheel, or a failure's class; PY, ABI and PLATFORM stand for the interpreter's own. */
  readonly expected: string;
  /** Without this program on PATH it is passed over. */
  readonly needs?: string;
}

const kind = (name: string, version: string, standsFor: string, expected: string, needs?: string): Kind => ({
  ...{ name, version, standsFor, expected },
  ...(needs === undefined ? {} : { needs }),
});

const NATIVE = 'PY-ABI-PLATFORM';
const PURE = 'py3-none-any';
const BOTH = 'py2.py3-none-any';

/** Small packages of as many kinds as there are; each is built from its sdist. */
export const KINDS: readonly Kind[] = [
  kind('docopt', '0.6.2', 'setup.py alone, of 2014', BOTH),
  kind('wincertstore', '0.2', 'an sdist that is a zip file', BOTH),
  kind('six', '1.17.0', 'setuptools, for Python 2 and 3', BOTH),
  kind('idna', '3.10', 'flit', PURE),
  kind('iniconfig', '2.0.0', 'hatchling, with a plugin', PURE),
  kind('tomlkit', '0.13.2', 'poetry-core', PURE),
  kind('findpython', '0.6.2', 'pdm-backend', PURE),
  kind('pluggy', '1.5.0', 'setuptools-scm', PURE),
  kind('os-service-types', '1.7.0', 'pbr', PURE),
  kind('mccabe', '0.6.1', 'setup_requires: asked for when it is asked', BOTH),
  kind('setuptools', '75.6.0', 'a backend of its own in its source', PURE),
  kind('certifi', '2024.7.4', 'a date as its version', PURE),
  kind('pytz-deprecation-shim', '0.1.0.post0', 'a post-release', BOTH),
  kind('click', '8.0.0rc1', 'a release candidate', PURE),
  kind('zope.event', '5.0', 'a namespace package', PURE),
  kind('zope.interface', '7.2', 'a namespace package with an extension', NATIVE),
  kind('Products.PluginRegistry', '2.0', 'dots and capitals in its name', PURE),
  kind('markupsafe', '3.0.2', 'a C extension that may be missing', NATIVE),
  kind('wrapt', '1.17.0', 'a C extension', NATIVE),
  kind('kiwisolver', '1.4.7', 'a C++ extension', NATIVE),
  kind('pyyaml', '6.0.2', 'Cython', NATIVE),
  kind('psutil', '6.1.1', 'the stable ABI (abi3)', 'cp36-abi3-PLATFORM'),
  kind('argon2-cffi-bindings', '21.2.0', 'cffi, and the stable ABI', 'PY-abi3-PLATFORM'),
  kind('dumb-init', '1.2.5.post1', 'a program for any Python', 'py2.py3-none-PLATFORM'),
  kind('contourpy', '1.3.1', 'meson-python', NATIVE),
  kind('levenshtein', '0.27.1', 'scikit-build-core', NATIVE),
  kind('rpds-py', '0.22.3', 'maturin', NATIVE, 'cargo'),
  kind('bcrypt', '4.2.1', 'setuptools-rust', NATIVE, 'cargo'),
  kind('bottleneck', '1.4.2', "numpy's headers", NATIVE),
  kind('python-ldap', '3.4.4', 'a header that is missing here', 'missing-header'),
  kind('intel-openmp', '2024.2.1', 'a release with no source', 'no-sdist'),
];

/** The kind's expectation for an interpreter. */
export function expectedTags({ expected }: Kind, own: OwnTags): string {
  return expected
    .replace('PY-', `${own.pyVersionTag}-`)
    .replace('-ABI-', `-${own.abiTag}-`)
    .replace('PLATFORM', own.platformTag);
}
