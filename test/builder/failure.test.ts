import t from 'tap';
import { findDebianPackage } from '../../src/builder/system-packages.js';
import { diagnose } from '../../src/builder/failure.js';
import { normalise } from '../../src/wheels/names.js';

const diagnoseLog = (output: string, version = '1.0') =>
  diagnose({ name: normalise('Thing'), version, output });

/** Output of pip and the tools that it runs, shortened to the relevant lines, and the expected diagnosis. */
const LOGS: readonly [failureClass: string, sentence: RegExp, log: string][] = [
  [
    'disk',
    /disk is full/,
    'ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n',
  ],
  [
    'memory',
    /memory/,
    '  c++: fatal error: Killed signal terminated program cc1plus\n  compilation terminated.\n',
  ],
  [
    'memory',
    /memory/,
    '  × Building wheel for thing (pyproject.toml) did not run successfully.\n  │ exit code: -9\n',
  ],
  ['other', /a file that is larger/, '  OSError: [Errno 27] File too large\n'],
  ['other', /more files at once/, '  OSError: [Errno 24] Too many open files: x\n'],
  [
    'hash-mismatch',
    /hash of the downloaded file/,
    'ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated the package…\n',
  ],
  [
    'network',
    /could not be reached/,
    `WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by 'NewConnectionError("HTTPConnection(host='127.0.0.1', port=9): Failed to establish a new connection: [Errno 111] Connection refused")': /simple/thing/\nERROR: Could not find a version that satisfies the requirement thing==1.0 (from versions: none)\nERROR: No matching distribution found for thing==1.0\n`,
  ],
  [
    'network',
    /ReadTimeoutError/,
    "Traceback (most recent call last):\npip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool(host='files.example', port=443): Read timed out.\n",
  ],
  [
    'no-sdist',
    /the file does not exist/,
    '  ERROR: HTTP error 404 while getting http://127.0.0.1:8765/f/thing-1.0.tar.gz (from http://127.0.0.1:8765/simple/thing/)\n',
  ],
  [
    'index',
    /status 503/,
    '  ERROR: HTTP error 503 while getting http://127.0.0.1:8765/f/thing-1.0.tar.gz (from http://127.0.0.1:8765/simple/thing/)\n',
  ],
  [
    'index',
    /does not trust the host no\.such\.host/,
    'WARNING: The repository located at no.such.host is not a trusted or secure host and is being ignored.\nERROR: No matching distribution found for thing==1.0\n',
  ],
  [
    'python-version',
    /does not support this version of Python/,
    "ERROR: Package 'thing' requires a different Python: 3.11.7 not in '>=99'\n",
  ],
  [
    'python-version',
    /does not support this version of Python/,
    'ERROR: Ignored the following versions that require a different python version: 0.9 Requires-Python >=99; 1.0.0 Requires-Python >=99\nERROR: Could not find a version that satisfies the requirement thing==1.0 (from versions: 0.8)\nERROR: No matching distribution found for thing==1.0\n',
  ],
  [
    'bad-sdist',
    /identifies itself as 2\.0/,
    "Discarding http://127.0.0.1:8765/f/thing-1.0.tar.gz: Requested thing==1.0 from http://127.0.0.1:8765/f/thing-1.0.tar.gz has inconsistent version: expected '1.0', but metadata has '2.0'\nERROR: No matching distribution found for thing==1.0\n",
  ],
  [
    'bad-sdist',
    /archive is broken/,
    'ERROR: Exception:\nTraceback (most recent call last):\ntarfile.ReadError: not a gzip file\n',
  ],
  [
    'bad-sdist',
    /no Python project/,
    "ERROR: thing==1.0 from http://h/thing-1.0.tar.gz does not appear to be a Python project: neither 'setup.py' nor 'pyproject.toml' found.\n",
  ],
  [
    'bad-sdist',
    /identifies itself as six$/,
    "  WARNING: Generating metadata for package thing produced metadata for project name six. Fix your #egg=thing fragments.\n  WARNING: Built wheel for six is invalid: Wheel has unexpected file name: expected 'six', got 'thing'\nERROR: Failed to build one or more wheels\n",
  ],
  [
    'bad-sdist',
    /rejects its pyproject\.toml/,
    '    | ExceptionGroup: Failed to parse pyproject.toml (1 sub-exception)\n    +-+---------------- 1 ----------------\n      | scikit_build_core._vendor.pyproject_metadata.errors.ConfigurationError: Extra keys present in "project": \'Changelog\'\n',
  ],
  [
    'no-wheel',
    /made none$/,
    "  WARNING: Building wheel for thing failed: [Errno 2] No such file or directory: '/w/tmp/pip-ephem-wheel-cache-jwj/wheels/d6/tmp2t/thing-1.0-py3-none-any.whl'\nFailed to build thing\n",
  ],
  [
    'wrong-wheel',
    /unexpected file name: expected 'thing', got 'other'$/,
    "  WARNING: Built wheel for thing is invalid: Wheel has unexpected file name: expected 'thing', got 'other'\nFailed to build thing\n",
  ],
  [
    'wrong-wheel',
    /can't read the wheel/,
    "ERROR: Wheel 'thing' located at /w/tmp/pip-ephem-wheel-cache-ihb/wheels/7e/thing-1.0-py3-none-any.whl is invalid.\n",
  ],
  [
    'missing-header',
    /the header ffi\.h, .* \(on Debian: apt install libffi-dev\)$/,
    "  conftest.c:3:10: fatal error: tried/first.h: No such file or directory\n  thing.c:1:10: fatal error: ffi.h: No such file or directory\n  error: command '/usr/bin/gcc' failed with exit code 1\n",
  ],
  [
    'missing-header',
    /the header ffi\.h,/,
    '  \u001b[01m\u001b[Kthing.c:1:10:\u001b[m\u001b[K \u001b[01;31m\u001b[Kfatal error: \u001b[m\u001b[Kffi.h: No such file or directory\n',
  ],
  ['missing-header', /the header Python\.h,/, "  thing.c:1:10: fatal error: 'Python.h' file not found\n"],
  [
    'missing-library',
    /the library jpeg, .* \(on Debian: apt install libjpeg-dev\)$/,
    '  /usr/bin/ld: cannot find -ljpeg: No such file or directory\n  collect2: error: ld returned 1 exit status\n',
  ],
  [
    'missing-library',
    /needs libffi, /,
    "Package libffi was not found in the pkg-config search path.\nNo package 'libffi' found\n",
  ],
  [
    'missing-library',
    /needs openblas, /,
    '  ../scipy/meson.build:163:9: ERROR: Dependency "openblas" not found, tried pkgconfig and cmake\n',
  ],
  [
    'missing-library',
    /the program pg_config, .* libpq-dev\)$/,
    '  Error: pg_config executable not found.\n\n  pg_config is required to build psycopg2 from source.\n',
  ],
  [
    'missing-library',
    /the program curl-config, .* libcurl4-openssl-dev\)$/,
    "  __main__.ConfigurationError: Could not run curl-config: [Errno 2] No such file or directory: 'curl-config'\n",
  ],
  [
    'missing-library',
    /the program mysql_config, .*libmysqlclient-dev/,
    '  /bin/sh: 1: mysql_config: not found\n',
  ],
  [
    'missing-library',
    /needs OpenSSL, .* libssl-dev\)$/,
    '  CMake Error at /usr/share/cmake-3.25/Modules/FindPackageHandleStandardArgs.cmake:230 (message):\n    Could NOT find OpenSSL, try to set the path\n',
  ],
  [
    'missing-library',
    /needs jpeg, .* libjpeg-dev\)$/,
    '  The headers or library files could not be found for jpeg,\n  a required dependency when compiling Pillow from source.\n',
  ],
  [
    'missing-library',
    /needs libxml2, .* libxml2-dev\)$/,
    '  Error: Please make sure the libxml2 and libxslt development packages are installed.\n',
  ],
  [
    'missing-library',
    /needs mysqlclient, .* default-libmysqlclient-dev\)$/,
    "  Trying pkg-config --exists mysqlclient\n  Command 'pkg-config --exists mysqlclient' returned non-zero exit status 1.\n  Trying pkg-config --exists mariadb\n  Command 'pkg-config --exists mariadb' returned non-zero exit status 1.\n  Exception: Can not find valid pkg-config name.\n  Specify MYSQLCLIENT_CFLAGS and MYSQLCLIENT_LDFLAGS env vars manually\n",
  ],
  [
    'missing-library',
    /the library hdf5, .* libhdf5-dev\)$/,
    '  error: Unable to load dependency HDF5, make sure HDF5 is installed properly\n  error: libhdf5.so: cannot open shared object file: No such file or directory\n',
  ],
  [
    'missing-library',
    /the program swig, .* \(on Debian: apt install swig\)$/,
    "  error: command 'swig' failed: No such file or directory\n",
  ],
  ['missing-library', /the program autoreconf, .* autoconf\)$/, '  /bin/sh: 1: autoreconf: not found\n'],
  [
    'missing-library',
    /needs libsystemd-journal, .* libsystemd-dev\)$/,
    '  Package libsystemd was not found in the pkg-config search path.\n  Package libsystemd-journal was not found in the pkg-config search path.\n',
  ],
  [
    'missing-header',
    /graphviz\/cgraph\.h, .* libgraphviz-dev\)$/,
    '  pygraphviz/graphviz_wrap.c:9:10: fatal error: graphviz/cgraph.h: No such file or directory\n',
  ],
  [
    'missing-header',
    /portaudio\.h, .* portaudio19-dev\)$/,
    '  src/pyaudio/device_api.c:9:10: fatal error: portaudio.h: No such file or directory\n',
  ],
  ['missing-library', /program krb5-config, .* libkrb5-dev\)$/, '  /bin/sh: 1: krb5-config: not found\n'],
  [
    'build-requirement',
    /could not be installed/,
    `ERROR: Some build dependencies for thing==1.0 from https://files.example/${'x'.repeat(300)}/thing-1.0.tar.gz conflict with the backend dependencies: setuptools_scm==10.3.4 is incompatible with setuptools_scm[toml]>=5.0,<9.0.\n`,
  ],
  [
    'build-requirement',
    /pkg_resources, which newer versions of setuptools/,
    "    __import__('pkg_resources').declare_namespace(__name__)\n  ModuleNotFoundError: No module named 'pkg_resources'\n",
  ],
  ['build-requirement', /use_2to3, which newer/, '  error in thing setup command: use_2to3 is invalid.\n'],
  ['python-version', /imp, which this version of Python/, "  ModuleNotFoundError: No module named 'imp'\n"],
  [
    'python-version',
    /SafeConfigParser, which/,
    "  AttributeError: module 'configparser' has no attribute 'SafeConfigParser'. Did you mean: 'RawConfigParser'?\n",
  ],
  ['missing-library', /the library nowhere, which this slave does not have$/, 'ld: cannot find -lnowhere\n'],
  ['compiler', /Rust/, "  error: can't find Rust compiler\n"],
  ['compiler', /Rust/, '  Cargo, the Rust package manager, is not installed or is not on PATH.\n'],
  ['compiler', /has none/, "  error: command 'gcc' failed: No such file or directory\n"],
  [
    'compiler',
    /has none/,
    "  unable to execute 'x86_64-linux-gnu-gcc': No such file or directory\n  error: command 'x86_64-linux-gnu-gcc' failed with exit status 1\n",
  ],
  ['compiler', /has none/, "  FileNotFoundError: [Errno 2] No such file or directory: 'gcc'\n"],
  ['compiler', /has none/, "  ../meson.build:1:0: ERROR: Unknown compiler(s): [['cc'], ['gcc']]\n"],
  ['compiler', /has none/, '  CMake Error: No CMAKE_CXX_COMPILER could be found.\n'],
  [
    'no-sdist',
    /no source distribution of this version/,
    'ERROR: Could not find a version that satisfies the requirement THING==1.0 (from versions: none)\nERROR: No matching distribution found for THING==1.0\n',
  ],
  [
    'build-requirement',
    /requires setuptools>=40\.8\.0, /,
    '  ERROR: Could not find a version that satisfies the requirement setuptools>=40.8.0 (from versions: none)\n  ERROR: No matching distribution found for setuptools>=40.8.0\n  × pip subprocess to install build dependencies did not run successfully.\n',
  ],
  [
    'build-requirement',
    /could not be installed/,
    "ERROR: Failed to build 'thing' when installing build dependencies for thing\n",
  ],
  ['build-requirement', /the module numpy, /, "  ModuleNotFoundError: No module named 'numpy'\n"],
  [
    'network',
    /its build tried to download something/,
    '  urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>\n',
  ],
  [
    'compiler',
    /does not compile/,
    "  x.c: In function ‘f’:\n  x.c:1:16: error: ‘y’ undeclared (first use in this function)\n  error: command '/usr/bin/gcc' failed with exit code 1\n",
  ],
  [
    'compiler',
    /does not compile: ‘y’ undeclared/,
    "  a.c:9:1: error: of another file\n  x.c:1:16: error: ‘y’ undeclared\n  x.c:7:1: error: that follows from it\n  error: command '/usr/bin/gcc' failed with exit code 1\n",
  ],
  [
    'compiler',
    /does not link: undefined reference to `f'/,
    "  m.c:(.text+0x1): undefined reference to `f'\n",
  ],
  ['compiler', /does not compile/, '  error: could not compile `thing` (lib) due to 2 previous errors\n'],
  ['other', /last error was "RuntimeError: of its own making"$/, 'RuntimeError: of its own making\n'],
  [
    'other',
    /last line was "Nothing to be done\."$/,
    'Nothing to be done.\nerror: subprocess-exited-with-error\n',
  ],
  ['other', /printed nothing$/, ''],
];

t.test('each kind of failure is recognised by its log', (t) => {
  for (const [failureClass, sentence, log] of LOGS) {
    t.match(diagnoseLog(log), { failureClass, sentence }, `the log that begins with ${log.slice(0, 60)}`);
  }
  t.end();
});

t.test('commonly missing headers, libraries and modules map to Debian packages', (t) => {
  for (const [kind, name, debian] of [
    ['header', 'openssl/ssl.h', 'libssl-dev'],
    ['header', 'libxml/xmlversion.h', 'libxml2-dev'],
    ['header', 'X11/extensions/XTest.h', 'libxtst-dev'],
    ['header', 'X11/extensions/Xrandr.h', 'libxext-dev'],
    ['header', 'X11/Xlib.h', 'libx11-dev'],
    ['header', 'google/protobuf/io/coded_stream.h', 'libprotobuf-dev'],
    ['header', 'Python.h', 'python3-dev'],
    ['header', 'mysql.h', 'default-libmysqlclient-dev'],
    ['library', 'z', 'zlib1g-dev'],
    ['library', 'lapack', 'liblapack-dev'],
    ['module', 'ZLIB', 'zlib1g-dev'],
    ['module', 'libxml-2.0', 'libxml2-dev'],
  ] as const)
    t.equal(findDebianPackage(kind, name), debian, name);
  for (const name of ['nowhere.h', 'nowhere/zlib.hpp', 'ffi', '/', '', '__proto__'])
    t.equal(findDebianPackage('header', name), undefined, name);
  t.equal(findDebianPackage('library', 'SSL'), undefined);
  t.end();
});

t.test('harmless errors along the way are not taken for the failure', (t) => {
  const compile =
    "  x.c:1:16: error: ‘y’ undeclared\n  error: command '/usr/bin/gcc' failed with exit code 1\n";
  const noise = [
    "  Link requires a different Python (3.11.7 not in: '>=99'): http://h/thing-2.0.tar.gz\n",
    "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'ReadTimeoutError()': /simple/thing/\n",
    'WARNING: The repository located at other.example is not a trusted or secure host and is being ignored.\n',
  ].join('');
  t.match(diagnoseLog(noise + compile), { failureClass: 'compiler' });
  t.end();
});

t.test('a failure for lack of network access says so', (t) => {
  const output = "  fatal: unable to access 'https://git.example/': Could not resolve host: git.example\n";
  const evidence = { name: normalise('thing'), version: '1.0', output };
  t.match(diagnose({ ...evidence, offline: true }), {
    failureClass: 'network',
    sentence: /builds on this slave have no network access$/,
  });
  t.match(diagnose({ ...evidence, offline: false }), { failureClass: 'network', sentence: /and failed$/ });
  t.end();
});

t.test('PyPy’s headers are in a different package', (t) => {
  const output = '  thing.c:1:10: fatal error: Python.h: No such file or directory\n';
  const evidence = { name: normalise('thing'), version: '1.0', output };
  t.match(diagnose({ ...evidence, implementation: 'CPython' }).sentence, /apt install python3-dev\)$/);
  t.match(diagnose({ ...evidence, implementation: 'PyPy' }).sentence, /apt install pypy3-dev\)$/);
  t.end();
});

t.test('a killed process counts as out of memory unless the kernel says otherwise', (t) => {
  const evidence = { name: normalise('thing'), version: '1.0' };
  const compile = '  x.c:1:16: error: ‘y’ undeclared\n';
  for (const killed of [
    '  c++: fatal error: Killed signal terminated program cc1plus\n',
    '  │ exit code: 137\n',
  ]) {
    const output = compile + killed;
    t.match(diagnose({ ...evidence, output }), { failureClass: 'memory' });
    t.match(diagnose({ ...evidence, output, oomKilled: true }), { failureClass: 'memory' });
    t.match(diagnose({ ...evidence, output, oomKilled: false }), { failureClass: 'killed' });
  }
  t.match(diagnose({ ...evidence, output: compile, oomKilled: true }), { failureClass: 'memory' });
  t.match(diagnose({ ...evidence, output: 'ninja: build stopped\n', oomKilled: true }), {
    failureClass: 'memory',
  });
  t.match(diagnose({ ...evidence, output: compile, oomKilled: false }), { failureClass: 'compiler' });
  t.end();
});

t.test('a missing version is not confused with versions for other Pythons', (t) => {
  const log =
    'ERROR: Ignored the following versions that require a different python version: 2.0 Requires-Python >=99\nERROR: No matching distribution found for thing==1.0\n';
  t.match(diagnoseLog(log), { failureClass: 'no-sdist' });
  t.match(diagnoseLog(log, '2.0'), { failureClass: 'python-version' });
  t.end();
});

t.test('a log crafted to be slow to search is searched quickly', (t) => {
  const size = 16 * 1024 * 1024;
  const startedAt = performance.now();
  for (const piece of [
    'a',
    ' ProtocolError ',
    'a:1:1\n',
    "error: command '",
    'fatal error: a',
    'x\n',
    '-l',
  ]) {
    diagnoseLog(piece.repeat(size / piece.length));
  }
  const durationMs = performance.now() - startedAt;
  t.ok(durationMs < 30_000, `${Math.round(durationMs)} ms`);
  t.end();
});

t.test('a sentence is one line, whatever the log contains', (t) => {
  const { sentence } = diagnoseLog(
    "Discarding x has inconsistent version: expected '1', but metadata has '2\u001b[31m\r3'\n",
  );
  t.equal(sentence, 'its source identifies itself as 2 3');
  t.end();
});
