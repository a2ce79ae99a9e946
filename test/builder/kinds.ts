/** The tags of wheels for one interpreter, in the order of a filename. */
export interface InterpreterTags {
  readonly pyVersionTag: string;
  readonly abiTag: string;
  readonly platformTag: string;
}

/** A package of the index: what it is an example of, and the expected tags of its wheel. */
export interface RealPackage {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  /** The tags of the wheel, or a failure class; PY, ABI and PLATFORM stand for the interpreter's tags. */
  readonly expected: string;
  /** The package is skipped without this program on PATH. */
  readonly requiredProgram?: string;
}

const realPackage = (
  name: string,
  version: string,
  description: string,
  expected: string,
  requiredProgram?: string,
): RealPackage => ({
  name,
  version,
  description,
  expected,
  ...(requiredProgram === undefined ? {} : { requiredProgram }),
});

const NATIVE = 'PY-ABI-PLATFORM';
const PURE = 'py3-none-any';
const PURE_PY2_PY3 = 'py2.py3-none-any';

/** Small packages of as many kinds as possible; each is built from its sdist. */
export const REAL_PACKAGES: readonly RealPackage[] = [
  realPackage('docopt', '0.6.2', 'only a setup.py, from 2014', PURE_PY2_PY3),
  realPackage('wincertstore', '0.2', 'an sdist that is a zip file', PURE_PY2_PY3),
  realPackage('six', '1.17.0', 'setuptools, for Python 2 and 3', PURE_PY2_PY3),
  realPackage('idna', '3.10', 'flit', PURE),
  realPackage('iniconfig', '2.0.0', 'hatchling, with a plugin', PURE),
  realPackage('tomlkit', '0.13.2', 'poetry-core', PURE),
  realPackage('findpython', '0.6.2', 'pdm-backend', PURE),
  realPackage('pluggy', '1.5.0', 'setuptools-scm', PURE),
  realPackage('os-service-types', '1.7.0', 'pbr', PURE),
  realPackage('mccabe', '0.6.1', 'setup_requires: requirements from the hook', PURE_PY2_PY3),
  realPackage('setuptools', '75.6.0', 'its own backend in its source', PURE),
  realPackage('certifi', '2024.7.4', 'a date as its version', PURE),
  realPackage('pytz-deprecation-shim', '0.1.0.post0', 'a post-release', PURE_PY2_PY3),
  realPackage('click', '8.0.0rc1', 'a release candidate', PURE),
  realPackage('zope.event', '5.0', 'a namespace package', PURE),
  realPackage('zope.interface', '7.2', 'a namespace package with an extension', NATIVE),
  realPackage('Products.PluginRegistry', '2.0', 'dots and capitals in its name', PURE),
  realPackage('markupsafe', '3.0.2', 'an optional C extension', NATIVE),
  realPackage('wrapt', '1.17.0', 'a C extension', NATIVE),
  realPackage('kiwisolver', '1.4.7', 'a C++ extension', NATIVE),
  realPackage('pyyaml', '6.0.2', 'Cython', NATIVE),
  realPackage('psutil', '6.1.1', 'the stable ABI (abi3)', 'cp36-abi3-PLATFORM'),
  realPackage('argon2-cffi-bindings', '21.2.0', 'cffi, and the stable ABI', 'PY-abi3-PLATFORM'),
  realPackage('dumb-init', '1.2.5.post1', 'a program for any Python', 'py2.py3-none-PLATFORM'),
  realPackage('contourpy', '1.3.1', 'meson-python', NATIVE),
  realPackage('levenshtein', '0.27.1', 'scikit-build-core', NATIVE),
  realPackage('rpds-py', '0.22.3', 'maturin', NATIVE, 'cargo'),
  realPackage('bcrypt', '4.2.1', 'setuptools-rust', NATIVE, 'cargo'),
  realPackage('bottleneck', '1.4.2', "numpy's headers", NATIVE),
  realPackage('python-ldap', '3.4.4', 'a header that is missing here', 'missing-header'),
  realPackage('intel-openmp', '2024.2.1', 'a release with no source', 'no-sdist'),
];

/** Returns what is expected of a package for an interpreter. */
export function expectedTags({ expected }: RealPackage, interpreterTags: InterpreterTags): string {
  return expected
    .replace('PY-', `${interpreterTags.pyVersionTag}-`)
    .replace('-ABI-', `-${interpreterTags.abiTag}-`)
    .replace('PLATFORM', interpreterTags.platformTag);
}
