import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { tarGz } from '../../src/farm/sdist.js';
import type { FailureClass } from '../../src/failures/classes.js';
import type { Sdist } from '../helpers/sdist.js';

/** A source distribution that does not build, and the diagnosis that is expected. */
export interface FailingSdist {
  readonly name: string;
  readonly version: string;
  readonly failureClass: FailureClass;
  readonly sentence: RegExp;
  /** A part of the line that the log's page must mark. */
  readonly marked: RegExp;
  /** The archive; if left out, it is on the index that pip is configured with. */
  readonly sdist?: Sdist;
}

type SourceFiles = Readonly<Record<string, string>>;

const SETUPTOOLS_PYPROJECT =
  '[build-system]\nrequires = ["setuptools<81", "wheel"]\nbuild-backend = "setuptools.build_meta"\n';
const setuptoolsProject = (body: string): SourceFiles => ({
  'setup.py': body,
  'pyproject.toml': SETUPTOOLS_PYPROJECT,
});
const extensionProject = (source: string): SourceFiles => ({
  ...setuptoolsProject(
    "from setuptools import Extension, setup\nsetup(name='NAME', version='1.0', ext_modules=[Extension('m', ['m.c'])])\n",
  ),
  'm.c': source,
});

let sdistCount = 0;

function failingSdist(
  label: string,
  failureClass: FailureClass,
  sentence: RegExp,
  marked: RegExp,
  files: SourceFiles | ((stem: string) => Buffer),
): FailingSdist {
  sdistCount += 1;
  const name = `piw-failing-${sdistCount}-${label}`;
  const stem = `${name.replaceAll('-', '_')}-1.0`;
  const pkgInfo = `Metadata-Version: 2.1\nName: ${name}\nVersion: 1.0\n`;
  const contents =
    typeof files === 'function'
      ? files(stem)
      : tarGz([
          ...Object.entries(files).map(
            ([path, text]) => [`${stem}/${path}`, Buffer.from(text.replaceAll('NAME', name))] as const,
          ),
          [`${stem}/PKG-INFO`, Buffer.from(pkgInfo)],
        ]);
  const sha256 = createHash('sha256').update(contents).digest('hex');
  const sdist = { name, filename: `${stem}.tar.gz`, contents, sha256, requiresPython: '>=3.9' };
  return { name, version: '1.0', failureClass, sentence, marked, sdist };
}

/** Returns a tar archive with one entry that is not a file: type `6` is a FIFO, `3` a character device, `2` a link. */
function specialTarEntry(name: string, type: string, link = ''): Buffer {
  const block = Buffer.alloc(512);
  block.write(name, 0, 100, 'latin1');
  for (const [at, width] of [
    [100, 8],
    [108, 8],
    [116, 8],
    [124, 12],
    [136, 12],
  ] as const)
    block.write(`${(at === 100 ? 0o644 : 0).toString(8).padStart(width - 1, '0')}\0`, at, 'latin1');
  block.write('        ', 148, 'latin1');
  block.write(type, 156, 'latin1');
  block.write(link, 157, 100, 'latin1');
  block.write('ustar\0', 257, 'latin1');
  block.write('00', 263, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return gzipSync(Buffer.concat([block, Buffer.alloc(1024)]));
}

const MINIMAL_SETUP_PY = "from setuptools import setup\nsetup(name='NAME', version='1.0')\n";

export const FAILING_SDISTS: readonly FailingSdist[] = [
  failingSdist(
    'setuptools-import',
    'build-requirement',
    /imports Distribution2 from setuptools/,
    /cannot import name 'Distribution2'/,
    setuptoolsProject(`from setuptools import Distribution2\n${MINIMAL_SETUP_PY}`),
  ),
  failingSdist(
    'distutils-import',
    'build-requirement',
    /imports log2 from setuptools/,
    /cannot import name 'log2'/,
    setuptoolsProject(`from distutils import log2\n${MINIMAL_SETUP_PY}`),
  ),
  failingSdist(
    'cython-sources',
    'build-requirement',
    /relies on cython_sources/,
    /cython_sources/,
    setuptoolsProject(`class A: pass\n${MINIMAL_SETUP_PY}raise AttributeError('cython_sources')\n`),
  ),
  failingSdist(
    'numpy-setup',
    'build-requirement',
    /relies on __NUMPY_SETUP__/,
    /__NUMPY_SETUP__/,
    setuptoolsProject(`{}.__NUMPY_SETUP__ = True\n${MINIMAL_SETUP_PY}`),
  ),
  failingSdist(
    'longintrepr',
    'python-version',
    /longintrepr\.h, which Python 3\.11 and later no longer have/,
    /longintrepr\.h: No such file/,
    extensionProject('#include <longintrepr.h>\n'),
  ),
  failingSdist(
    'print-statement',
    'python-version',
    /written for Python 2 \(Missing parentheses/,
    /SyntaxError: Missing parentheses/,
    setuptoolsProject(`print "hello"\n${MINIMAL_SETUP_PY}`),
  ),
  failingSdist(
    'except-comma',
    'python-version',
    /written for Python 2 \(multiple exception types/,
    /SyntaxError: multiple exception types/,
    setuptoolsProject(`try:\n    pass\nexcept ValueError, e:\n    pass\n${MINIMAL_SETUP_PY}`),
  ),
  failingSdist(
    'unicode-name',
    'python-version',
    /written for Python 2 \(name 'unicode'/,
    /NameError: name 'unicode'/,
    setuptoolsProject(`unicode('x')\n${MINIMAL_SETUP_PY}`),
  ),
  failingSdist(
    'urllib2',
    'python-version',
    /written for Python 2 \(No module named 'urllib2'/,
    /No module named 'urllib2'/,
    setuptoolsProject(`import urllib2\n${MINIMAL_SETUP_PY}`),
  ),
  failingSdist(
    'invalid-version',
    'bad-sdist',
    /invalid version or requirement: '?1\.0-nonsense-of-ours/,
    /Invalid version/,
    setuptoolsProject(
      "from packaging.version import Version\nVersion('1.0-nonsense-of-ours')\n".replace(
        'from packaging',
        'from setuptools._vendor.packaging',
      ) + MINIMAL_SETUP_PY,
    ),
  ),
  failingSdist(
    'invalid-specifier',
    'bad-sdist',
    /invalid version or requirement|rejects its setup\.py/,
    /Invalid specifier|python_requires|setup command/,
    setuptoolsProject(
      "from setuptools import setup\nsetup(name='NAME', version='1.0', python_requires='>=3.')\n",
    ),
  ),
  failingSdist(
    'invalid-requirement',
    'bad-sdist',
    /rejects its setup\.py: 'install_requires' must be/,
    /error in .* setup command/,
    setuptoolsProject(
      "from setuptools import setup\nsetup(name='NAME', version='1.0', install_requires=['a b c'])\n",
    ),
  ),
  failingSdist('truncated-gzip', 'bad-sdist', /truncated or damaged|archive is broken/, /Error/, (stem) => {
    const archive = tarGz([
      [`${stem}/setup.py`, Buffer.from(MINIMAL_SETUP_PY)],
      [`${stem}/data.bin`, createHash('sha512').update('x').digest()],
      ...Array.from({ length: 200 }, (_, n): [string, Buffer] => [
        `${stem}/${n}.txt`,
        createHash('sha512').update(String(n)).digest(),
      ]),
    ]);
    return archive.subarray(0, Math.floor(archive.length / 2));
  }),
  failingSdist('not-gzip', 'bad-sdist', /archive is broken|truncated or damaged/, /Error/, () =>
    Buffer.from('This is no archive.\n'.repeat(100)),
  ),
  failingSdist('fifo', 'bad-sdist', /archive|no Python project/, /./, (stem) =>
    specialTarEntry(`${stem}/pipe`, '6'),
  ),
  failingSdist('device', 'bad-sdist', /archive|no Python project/, /./, (stem) =>
    specialTarEntry(`${stem}/null`, '3'),
  ),
  failingSdist('outside', 'bad-sdist', /unsafe member|archive is broken/, /outside|Error/, (stem) =>
    tarGz([
      [`${stem}/setup.py`, Buffer.from(MINIMAL_SETUP_PY)],
      [`${stem}/../../escaped.txt`, Buffer.from('x')],
    ]),
  ),
  failingSdist(
    'asks',
    'other',
    /asks a question, .*EOFError: EOF when reading a line/,
    /EOFError: EOF when reading a line/,
    setuptoolsProject(`input('Which compiler? ')\n${MINIMAL_SETUP_PY}`),
  ),
  failingSdist(
    'asks-tty',
    'other',
    /asks a question/,
    /\/dev\/tty/,
    setuptoolsProject(`open('/dev/tty')\n${MINIMAL_SETUP_PY}`),
  ),
  failingSdist(
    'asks-password',
    'other',
    /asks a question/,
    /termios\.error|EOF when reading a line/,
    setuptoolsProject(`import getpass\ngetpass.getpass()\n${MINIMAL_SETUP_PY}`),
  ),
  failingSdist(
    'git',
    'bad-sdist',
    /takes its version from a Git repository/,
    /not a git repository/,
    setuptoolsProject(
      `import subprocess\nsubprocess.run(['git', '-C', '/', 'describe'], check=True)\n${MINIMAL_SETUP_PY}`,
    ),
  ),
  failingSdist('scm', 'bad-sdist', /takes its version from a Git repository/, /unable to detect version/, {
    'pyproject.toml':
      '[build-system]\nrequires = ["setuptools<81", "setuptools-scm<9"]\nbuild-backend = "setuptools.build_meta"\n[project]\nname = "NAME-x"\ndynamic = ["version"]\n[tool.setuptools_scm]\nparentdir_prefix_version = "no-"\nfallback_root = "/"\n',
  }),
  failingSdist(
    'abort',
    'other',
    /crashed: ".*exit code: -6/,
    /exit code: -6/,
    setuptoolsProject('import os\nos.abort()\n'),
  ),
  failingSdist(
    'segfault',
    'other',
    /crashed: ".*exit code: -11/,
    /exit code: -11/,
    setuptoolsProject('import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n'),
  ),
  failingSdist(
    'latin1-metadata',
    'other',
    /UnicodeDecodeError|not UTF-8|no known cause/,
    /UnicodeDecodeError|decod/,
    setuptoolsProject("open('x', 'wb').write(b'\\xe9')\nopen('x', encoding='utf-8').read()\n"),
  ),
  failingSdist(
    'missing-file',
    'bad-sdist',
    /lacks README\.rst, which its build reads/,
    /No such file or directory: 'README\.rst'/,
    setuptoolsProject(`open('README.rst').read()\n${MINIMAL_SETUP_PY}`),
  ),
  failingSdist(
    'missing-package',
    'bad-sdist',
    /lacks nowhere, which its build reads/,
    /package directory 'nowhere'/,
    setuptoolsProject(
      "from setuptools import setup\nsetup(name='NAME', version='1.0', packages=['nowhere'])\n",
    ),
  ),
  failingSdist(
    'flat-layout',
    'bad-sdist',
    /cannot tell which of its folders/,
    /Multiple top-level packages/,
    {
      'pyproject.toml': `${SETUPTOOLS_PYPROJECT}[project]\nname = "NAME"\nversion = "1.0"\n`,
      'one/__init__.py': '',
      'two/__init__.py': '',
    },
  ),
  failingSdist(
    'pyproject',
    'bad-sdist',
    /rejects its pyproject\.toml/,
    /invalid pyproject\.toml|configuration error|Failed to parse/,
    { 'pyproject.toml': `${SETUPTOOLS_PYPROJECT}[project]\nname = 5\n` },
  ),
  failingSdist(
    'sys-exit',
    'other',
    /last line was "This package needs the moon\."/,
    /needs the moon/,
    setuptoolsProject("import sys\nsys.exit('This package needs the moon.')\n"),
  ),
  failingSdist(
    'own-error',
    'other',
    /last error was "RuntimeError: of its own making"/,
    /RuntimeError: of its own making/,
    setuptoolsProject("raise RuntimeError('of its own making')\n"),
  ),
  failingSdist(
    'header',
    'missing-header',
    /the header lber\.h, .*apt install libldap/,
    /lber\.h: No such file/,
    extensionProject('#include <lber.h>\n'),
  ),
  failingSdist('library', 'missing-library', /the library nowhere/, /cannot find -lnowhere/, {
    ...extensionProject('#include <Python.h>\nPyMODINIT_FUNC PyInit_m(void) { return 0; }\n'),
    'setup.py':
      "from setuptools import Extension, setup\nsetup(name='NAME', version='1.0', ext_modules=[Extension('m', ['m.c'], libraries=['nowhere'])])\n",
  }),
  failingSdist(
    'compile',
    'compiler',
    /does not compile: .*undeclared|does not compile: unknown type name/,
    /m\.c:\d+:\d+: error/,
    extensionProject('#include <Python.h>\nint f(void) { return nothing; }\n'),
  ),
  failingSdist(
    'program',
    'missing-library',
    /the program gperf/,
    /gperf/,
    setuptoolsProject("import subprocess\nsubprocess.run(['gperf'])\n"),
  ),
  failingSdist(
    'no-module',
    'build-requirement',
    /needs the module numpy_of_old/,
    /No module named 'numpy_of_old'/,
    setuptoolsProject(`import numpy_of_old\n${MINIMAL_SETUP_PY}`),
  ),
  failingSdist(
    'python-range',
    'python-version',
    /refuses this version of Python: Cannot install on Python version/,
    /Cannot install on Python version/,
    setuptoolsProject(
      "raise RuntimeError('Cannot install on Python version 3.11.7; only versions >=3.6,<3.10 are supported.')\n",
    ),
  ),
  failingSdist(
    'removed',
    'python-version',
    /uses ImpImporter, which this version of Python no longer has|uses Mapping, which/,
    /cannot import name 'Mapping'/,
    setuptoolsProject(`from collections import Mapping\n${MINIMAL_SETUP_PY}`),
  ),
  failingSdist('requirement', 'build-requirement', /requires piw-nowhere-at-all/, /piw-nowhere-at-all/, {
    'pyproject.toml': '[build-system]\nrequires = ["piw-nowhere-at-all"]\nbuild-backend = "x"\n',
  }),
  failingSdist('backend', 'build-requirement', /./, /no_backend_of_this_name/, {
    'pyproject.toml': '[build-system]\nrequires = []\nbuild-backend = "no_backend_of_this_name"\n',
  }),
  failingSdist(
    'disk-word',
    'other',
    /last error was "ValueError: /,
    /ValueError: /,
    setuptoolsProject("raise ValueError('the data is not what it was')\n"),
  ),
  ...(
    [
      ['suds', '1.1.2', 'build-requirement', /imports normalize_path/, /normalize_path/],
      ['python-networkdays', '1.1', 'bad-sdist', /python_requires/, /python_requires/],
      ['pyyaml', '5.4.1', 'build-requirement', /cython_sources/, /cython_sources/],
      ['markupsafe', '1.0', 'build-requirement', /imports Feature from setuptools/, /Feature/],
      ['markupsafe', '0.9', 'python-version', /Python 2/, /SyntaxError/],
      ['pycrypto', '2.6.1', 'python-version', /longintrepr\.h/, /longintrepr\.h/],
      ['python-ldap', '3.4.4', 'missing-header', /lber\.h/, /lber\.h/],
      ['pygraphviz', '1.11', 'missing-header', /graphviz\/cgraph\.h/, /cgraph\.h/],
      ['mysqlclient', '2.2.4', 'missing-library', /mysqlclient/, /pkg-config/],
      ['dbus-python', '1.3.2', 'missing-library', /dbus/, /dbus/],
      ['pycairo', '1.26.0', 'missing-library', /cairo/, /cairo/],
    ] as const
  ).map(([name, version, failureClass, sentence, marked]) => ({
    name,
    version,
    failureClass,
    sentence,
    marked,
  })),
];
