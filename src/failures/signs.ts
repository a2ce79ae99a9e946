import type { FailureClass } from './classes.js';

/** A further condition for a sign to count; src/builder/failure.ts checks it. */
export type SignCondition =
  | 'about-package'
  | 'is-package'
  | 'known-program'
  | 'lists-version'
  | 'no-oom-kill'
  | 'nothing-found'
  | 'offline'
  | 'possible-oom-kill';

/** A pattern in a log that says why a build failed. */
export interface FailureSign {
  readonly failureClass: FailureClass;
  /** Without the flag `g`. Every repetition in it must be bounded, because logs are untrusted. */
  readonly pattern: RegExp;
  /** `$1` stands for the group `detail`, else for the first group that matched. */
  readonly sentence: string;
  /** The kind of thing that `$1` names, if a system package may provide it. */
  readonly dependencyKind?: 'header' | 'library' | 'module';
  /** What else must be true of a match. */
  readonly condition?: SignCondition;
  /** The first match counts whose group of this name has the same text as that of the last match. */
  readonly firstMatchGroup?: string;
}

/** The build's own code tried to resolve a host name and failed. */
const NAME_RESOLUTION_FAILURE = /urlopen error|Could not resolve host|Temporary failure in name resolution/;

/** A process of the build received SIGKILL. */
const SIGKILLED_PROCESS = /Killed signal terminated program|exit code: (?:-9|137)\b|signal: 9, SIGKILL/;

/**
 * The signs that classify a failure, the most reliable first: the first entry that matches counts, and the last of
 * its matches, because a build may try things that fail without harm. To recognise another kind of failure, add an
 * entry where it belongs, and the log that showed it to the test. The wordings are those of pip 23.0 to 26.3, GCC,
 * ld, setuptools, Meson, CMake and Cargo.
 */
export const FAILURE_SIGNS: readonly FailureSign[] = [
  {
    failureClass: 'disk',
    pattern: /No space left on device|Disk quota exceeded|\[Errno (?:28|122)\]/,
    sentence: "the slave's disk is full",
  },
  {
    failureClass: 'memory',
    pattern: /MemoryError\b|Cannot allocate memory|virtual memory exhausted/,
    sentence: 'the build ran out of memory',
  },
  {
    failureClass: 'memory',
    pattern: SIGKILLED_PROCESS,
    sentence: 'the build ran out of memory',
    condition: 'possible-oom-kill',
  },
  {
    failureClass: 'killed',
    pattern: SIGKILLED_PROCESS,
    sentence: 'one of its processes was killed, but not for lack of memory',
  },
  {
    failureClass: 'other',
    pattern: /\bFile too large\b|\[Errno 27\]|File size limit exceeded|exit code: (?:-25|153)\b/,
    sentence: 'it wrote a file that is larger than this slave allows',
  },
  {
    failureClass: 'other',
    pattern: /\bToo many open files\b|\[Errno 24\]/,
    sentence: 'it opened more files at once than this slave allows',
  },
  {
    failureClass: 'hash-mismatch',
    pattern: /THESE PACKAGES DO NOT MATCH THE HASHES/,
    sentence: 'the hash of the downloaded file does not match the index',
  },
  {
    failureClass: 'network',
    pattern:
      /Retrying \(Retry\(total=0,|HTTPS?ConnectionPool\(host=|\b(?:ReadTimeout|IncompleteRead|Protocol|SSL)Error\b/,
    sentence: 'the index could not be reached',
    condition: 'nothing-found',
  },
  {
    failureClass: 'network',
    pattern: /^pip\._vendor\.(?:urllib3|requests)\.exceptions\.(\w{1,60})/m,
    sentence: 'the index could not be reached ($1)',
  },
  {
    failureClass: 'no-sdist',
    pattern: /ERROR: HTTP error (?:404|410) while getting/,
    sentence: 'the index lists its source, but the file does not exist',
  },
  {
    failureClass: 'index',
    pattern: /ERROR: HTTP error (\d{3}) while getting/,
    sentence: 'the index answered with status $1 for a file that it lists',
  },
  {
    failureClass: 'index',
    pattern: /The repository located at (\S{1,200}) is not a trusted or secure host/,
    sentence: 'pip does not trust the host $1',
    condition: 'nothing-found',
  },
  {
    failureClass: 'index',
    pattern: /Skipping page \S{1,500} because the \w{1,10} request got Content-Type: ([\w/+-]{1,100})/,
    sentence: 'the index answered with something other than an index page ($1)',
    condition: 'nothing-found',
  },
  {
    failureClass: 'python-version',
    pattern: /Package '([^'\n]{1,200})' requires a different Python: \S{1,40} not in '([^'\n]{1,200})'/,
    sentence: 'it does not support this version of Python',
    condition: 'is-package',
  },
  {
    failureClass: 'python-version',
    pattern: /Ignored the following versions that require a different python version: ([^\n]{1,100000})/,
    sentence: 'it does not support this version of Python',
    condition: 'lists-version',
  },
  {
    failureClass: 'bad-sdist',
    pattern: /has inconsistent (?:version|name): [^\n]{0,100}metadata has '([^'\n]{1,100})'/i,
    sentence: 'its source identifies itself as $1',
  },
  {
    failureClass: 'bad-sdist',
    pattern:
      /metadata for package (?:\S{1,200}) produced metadata for project name (\S{1,200}?)(?:\.\s|\s|$)/,
    sentence: 'its source identifies itself as $1',
    condition: 'about-package',
  },
  {
    failureClass: 'bad-sdist',
    pattern:
      /^EOFError: Compressed file ended before|^zlib\.error: |^(?:_?lzma\.)?LZMAError: |^OSError: Invalid data stream/m,
    sentence: 'its source archive is truncated or damaged',
  },
  {
    failureClass: 'bad-sdist',
    pattern:
      /Invalid member in the tar file [^\n]{1,1000}?: ([^\n]{1,300})|has a file \([^)\n]{0,2000}?([^)/\n]{1,200})\) trying to install outside target directory|^tarfile\.(?:\w{1,40}Error): ([^\n]{1,300}(?:outside|special file|absolute|link)[^\n]{0,300})/m,
    sentence: 'its source archive contains an unsafe member: $1',
  },
  {
    failureClass: 'bad-sdist',
    pattern:
      /utils\/unpacking\.py", line \d{1,6}, in untar_file\n[^\n]{0,300}\n(?:[ ^~]{1,300}\n)?(?:AssertionError|AttributeError)/,
    sentence: 'its source archive contains a device or a FIFO',
  },
  {
    failureClass: 'bad-sdist',
    pattern:
      /does not appear to be a Python project|^(?:tarfile\.\w{1,40}Error|zipfile\.BadZipFile|gzip\.BadGzipFile)\b/m,
    sentence: 'its source archive is broken or contains no Python project',
  },
  {
    failureClass: 'bad-sdist',
    pattern:
      /Failed to parse pyproject\.toml|invalid pyproject\.toml config|The Poetry configuration is invalid|flit_core\.config\.ConfigError/,
    sentence: 'its build backend rejects its pyproject.toml',
  },
  {
    failureClass: 'no-wheel',
    pattern:
      /Building wheel for \S{1,200} failed: \[Errno 2\] No such file or directory: '[^'\n]{1,1000}\.whl'/,
    sentence: 'its build backend reported a wheel but made none',
  },
  {
    failureClass: 'wrong-wheel',
    pattern: /Built wheel for \S{1,200} is invalid: ([^\n]{1,300})/,
    sentence: 'pip rejects the wheel that it made: $1',
  },
  {
    failureClass: 'wrong-wheel',
    pattern: /ERROR: Wheel '[^'\n]{1,200}' located at [^\n]{1,1000} is invalid/,
    sentence: "pip can't read the wheel that it made",
  },
  {
    failureClass: 'wrong-wheel',
    pattern:
      /Error decoding metadata for [^\n]{1,500}|UnicodeDecodeError: [^\n]{1,300} in (?:METADATA|PKG-INFO) file/,
    sentence: 'its METADATA is not UTF-8',
  },
  {
    failureClass: 'python-version',
    pattern: /fatal error: ['"]?(longintrepr\.h)['"]?(?:: No such file| file not found)/,
    sentence: 'it includes $1, which Python 3.11 and later no longer have',
  },
  {
    failureClass: 'missing-header',
    pattern: /fatal error: ['"]?([\w./+-]{1,200}\.(?:h|hh|hpp|hxx))['"]?(?:: No such file| file not found)/,
    sentence: 'it needs the header $1, which this slave does not have',
    dependencyKind: 'header',
  },
  {
    failureClass: 'missing-library',
    pattern: /\bcannot find -l([\w.+-]{1,100})|library not found for -l([\w.+-]{1,100})/,
    sentence: 'it needs the library $1, which this slave does not have',
    dependencyKind: 'library',
  },
  {
    failureClass: 'missing-library',
    pattern:
      /No package '([^'\n]{1,100})' found|Package '?([\w.+-]{1,100})'? was not found in the pkg-config|ERROR: Dependency "([^"\n]{1,100})" not found/,
    sentence: 'it needs $1, which pkg-config does not find on this slave',
    dependencyKind: 'module',
  },
  {
    failureClass: 'missing-library',
    pattern:
      /\b([A-Za-z0-9]{2,20}[-_]config)\b[^\n:]{0,40}(?:: (?:command )?not found| not found|: No such file)|No such file or directory: '([A-Za-z0-9]{2,20}[-_]config)'|Could not run ([A-Za-z0-9]{2,20}-config)/,
    sentence: 'it needs the program $1, which this slave does not have',
    dependencyKind: 'module',
  },
  {
    failureClass: 'missing-library',
    pattern:
      /CMake Error at [^\n]{1,500}:\n {1,8}Could NOT find (\w{1,60})|headers or library files could not be found for (\w{1,60})|make sure the (\w{1,60}) and libxslt development packages/,
    sentence: 'it needs $1, which it does not find on this slave',
    dependencyKind: 'module',
  },
  {
    failureClass: 'missing-library',
    pattern: /Trying pkg-config --exists (\S{1,100})\n[^]{0,3000}?Can not find valid pkg-config name/,
    sentence: 'it needs $1, which pkg-config does not find on this slave',
    dependencyKind: 'module',
  },
  {
    failureClass: 'missing-library',
    pattern: /\blib([\w+-]{1,100})\.so[\d.]{0,20}: cannot open shared object file/,
    sentence: 'it needs the library $1, which this slave does not have',
    dependencyKind: 'library',
  },
  {
    failureClass: 'missing-library',
    pattern:
      /error: command '([\w.+/-]{1,100})' failed: No such file|unable to execute '([\w.+/-]{1,100})': No such file|No such file or directory: '([a-z][\w.+-]{0,40})'\n|\b([a-z][\w.+-]{1,40}): (?:command )?not found\b|Program '?([\w.+-]{1,40})'? not found or not executable/,
    sentence: 'it needs the program $1, which this slave does not have',
    dependencyKind: 'module',
    condition: 'known-program',
  },
  {
    failureClass: 'compiler',
    pattern:
      /can't find Rust compiler|Cargo, the Rust package manager, is not installed|No such file or directory: '(?:cargo|rustc)'/,
    sentence: 'it needs a Rust compiler, but this slave has none',
  },
  {
    failureClass: 'compiler',
    pattern:
      /error: command '([^'\n]{1,200})' failed: No such file|unable to execute '([^'\n]{1,200})'|No such file or directory: '((?:[\w./-]{0,100}[/-])?(?:cc|gcc|g\+\+|c\+\+|clang|clang\+\+|gfortran))'|\b(cc|gcc|g\+\+|c\+\+|clang|gfortran): (?:command )?not found|Unknown compiler\(s\)|No (?:CMAKE_)?\w{1,10}_?COMPILER could be found/,
    sentence: 'it needs a compiler, but this slave has none (on Debian: apt install build-essential)',
  },
  {
    failureClass: 'no-sdist',
    pattern: /No matching distribution found for ([A-Za-z0-9._-]{1,200})/,
    sentence: 'the index has no source distribution of this version',
    condition: 'is-package',
  },
  {
    failureClass: 'build-requirement',
    pattern: /No matching distribution found for ([^\s;]{1,200})/,
    sentence: 'its build requires $1, but the index has no distribution of it for this slave',
  },
  {
    failureClass: 'build-requirement',
    pattern:
      /ResolutionImpossible|Some build dependencies for [^\n]{1,1000} (?:conflict|are missing)|Failed to build '[^'\n]{1,200}' when installing build dependencies|installing? build dependencies[^\n]{0,200} did not run successfully/,
    sentence: 'its build requirements could not be installed',
  },
  {
    failureClass: 'python-version',
    pattern:
      /SyntaxError: (Missing parentheses in call to '(?:print|exec)'|multiple exception types must be parenthesized|leading zeros in decimal integer literals|invalid hexadecimal literal|invalid decimal literal|inconsistent use of tabs)|TabError: (inconsistent use of tabs)|NameError: (name '(?:basestring|execfile|file|long|raw_input|reduce|reload|unichr|unicode|xrange)' is not defined)|ModuleNotFoundError: (No module named '(?:__builtin__|commands|ConfigParser|cPickle|cStringIO|httplib|Queue|StringIO|Tkinter|urllib2|urlparse)')|AttributeError: ('dict' object has no attribute '(?:has_key|iteritems|iterkeys|itervalues)'|module 'string' has no attribute '(?:join|letters|maketrans|split)')|ImportError: (cannot import name '(?:quote|unquote|urlencode|urlopen|urlretrieve)' from 'urllib')/,
    sentence: 'it is written for Python 2 ($1)',
  },
  {
    failureClass: 'python-version',
    pattern:
      /(Cannot install on Python version \S{1,30}; only versions [^\n]{1,100} are supported)|((?:Python|python) (?:version )?(?:>=? ?|at least )?\d[\d.]{0,10}(?: or (?:later|newer|above|greater|higher))? is required)|(?:RuntimeError|SystemExit|ERROR): ([^\n]{0,100}\brequires? Python [^\n]{1,100})/,
    sentence: 'it refuses this version of Python: $1',
  },
  {
    failureClass: 'python-version',
    pattern:
      /module 'pkgutil' has no attribute '(ImpImporter)'|ImportError: cannot import name '(Callable|Iterable|Mapping|MutableMapping|MutableSequence|Sequence|Set)' from 'collections'|module 'collections' has no attribute '(\w{1,40})'|module 'inspect' has no attribute '(getargspec)'|module 'ast' has no attribute '(Str|Num)'|module 'platform' has no attribute '(linux_distribution|dist)'|module 'time' has no attribute '(clock)'|module '(?:asyncio|types)' has no attribute '(coroutine)'/,
    sentence: 'it uses $1, which this version of Python no longer has',
  },
  {
    failureClass: 'build-requirement',
    pattern:
      /ImportError: cannot import name '(\w{1,100})' from '(?:partially initialized module ')?(?:setuptools|distutils|pkg_resources)\b/,
    sentence: 'it imports $1 from setuptools, which the current version no longer has',
  },
  {
    failureClass: 'build-requirement',
    pattern:
      /(?:AttributeError|KeyError): '?(cython_sources)|has no attribute '(cython_sources|__NUMPY_SETUP__|install_layout|_?get_hub_version|egg_info_writer)'|module 'setuptools(?:\.[\w.]{1,100})?' has no attribute '(\w{1,100})'|module 'distutils(?:\.[\w.]{1,100})?' has no attribute '(\w{1,100})'/,
    sentence: 'it relies on $1 of an older setuptools or Cython, but does not require that version',
  },
  {
    failureClass: 'build-requirement',
    pattern: /Compatibility with (CMake < [\d.]{1,10}) has been removed/,
    sentence: 'it asks for compatibility with $1, which the current CMake no longer offers',
  },
  {
    failureClass: 'bad-sdist',
    pattern:
      /\b(?:InvalidVersion: Invalid version: |InvalidSpecifier: Invalid specifier: |InvalidRequirement: )([^\n]{1,200})/,
    sentence: 'it has an invalid version or requirement: $1',
  },
  {
    failureClass: 'bad-sdist',
    pattern: /error in \S{1,200} setup command: (?!use_2to3)([^\n]{1,300})/,
    sentence: 'setuptools rejects its setup.py: $1',
  },
  {
    failureClass: 'bad-sdist',
    pattern: /error: (Multiple top-level (?:packages|modules) discovered in a flat-layout): /,
    sentence: 'setuptools cannot tell which of its folders are packages: $1',
  },
  {
    failureClass: 'bad-sdist',
    pattern:
      /LookupError: setuptools-scm was unable to detect version|(?:fatal|error): not a git repository|Versioning for this project requires either an sdist tarball|unable to detect version for [^\n]{1,300}(?:git|hg|tarball)|(?:NotAGitRepository|InvalidGitRepositoryError)\b/i,
    sentence: 'it takes its version from a Git repository, but a source distribution is not one',
  },
  {
    failureClass: 'bad-sdist',
    pattern:
      /(?:FileNotFoundError|IOError|OSError): \[Errno 2\] No such file or directory: '(?:\.\/)?((?![/~])[^'\n]{0,200}\.(?:c|cc|cfg|cpp|h|in|ini|json|md|py|pyx|rst|toml|txt|yaml|yml)|(?:[\w.-]{1,60}\/)?(?:AUTHORS|CHANGELOG|CHANGES|HISTORY|LICENSE|NEWS|README|VERSION|version))'|error: (?:package directory|can't copy) '([^'\n]{1,200})'(?:: doesn't exist| does not exist)|error in setup\.cfg: [^\n]{0,100}'([^'\n]{1,200})' does not exist/,
    sentence: 'its source distribution lacks $1, which its build reads',
  },
  {
    failureClass: 'other',
    pattern:
      /EOFError: EOF when reading a line|No such device or address: '\/dev\/tty'|\/dev\/tty: No such device|termios\.error: |GetPassWarning|could not read (?:Username|Password) for /,
    sentence: 'it asks a question, but nobody can answer during a build',
  },
  {
    failureClass: 'other',
    pattern:
      /exit code: (?:-(?:11|6|4|7|8)|13[24569])\b|died with <Signals\.SIG(?:SEGV|ABRT|ILL|BUS|FPE)|\bSegmentation fault\b|Aborted \(core dumped\)|\bIllegal instruction\b/,
    sentence: 'one of its programs crashed',
  },
  {
    failureClass: 'build-requirement',
    pattern: /No module named '?(pkg_resources)\b|setup command: (use_2to3) is invalid/,
    sentence: 'it needs $1, which newer versions of setuptools do not have',
  },
  {
    failureClass: 'python-version',
    pattern:
      /ModuleNotFoundError: No module named '(imp|distutils|asyncore|asynchat|smtpd|cgi|pipes|telnetlib|imghdr|lib2to3)(?:\.[\w.]{1,100})?'|has no attribute '(SafeConfigParser|readfp)'/,
    sentence: 'it needs $1, which this version of Python no longer has',
  },
  {
    failureClass: 'build-requirement',
    pattern:
      /ModuleNotFoundError: No module named '([^'\n]{1,200})'|ImportError: No module named '?([\w.]{1,200})/,
    sentence:
      'its build needs the module $1, but does not require it or cannot import the copy that it ships',
  },
  {
    failureClass: 'network',
    pattern: NAME_RESOLUTION_FAILURE,
    sentence: 'its build tried to use the network, but builds on this slave have no network access',
    condition: 'offline',
  },
  {
    failureClass: 'network',
    pattern: NAME_RESOLUTION_FAILURE,
    sentence: 'its build tried to download something and failed',
  },
  {
    failureClass: 'compiler',
    pattern:
      /\brequires rustc ([\d.]{1,20})|package `[^`\n]{1,100}` cannot be built because it requires rustc ([\d.]{1,20})|is not supported by the following package[^\n]{0,500}requires rustc ([\d.]{1,20})/,
    sentence: 'it needs Rust $1 or later, which this slave does not have',
  },
  {
    failureClass: 'compiler',
    pattern:
      /^[ \t]{0,20}(?<file>[^\n:]{1,500}):\d{1,7}:(?:\d{1,7}:)? (?:fatal )?error: (?<detail>[^\n]{1,300})/m,
    sentence: 'it does not compile: $1',
    condition: 'no-oom-kill',
    firstMatchGroup: 'file',
  },
  {
    failureClass: 'compiler',
    pattern:
      /^[ \t]{0,20}(?<file>error(?:\[E\d{4}\])?): (?<detail>(?!could not compile|command |subprocess-)[^\n]{1,300})\n[ \t]{0,20}-->/m,
    sentence: 'it does not compile: $1',
    condition: 'no-oom-kill',
    firstMatchGroup: 'file',
  },
  {
    failureClass: 'compiler',
    pattern: /\b(undefined reference to [^\n]{1,200})/,
    sentence: 'it does not link: $1',
    condition: 'no-oom-kill',
  },
  {
    failureClass: 'compiler',
    pattern:
      /error: command '[^'\n]{1,200}' failed with exit|ld returned \d{1,3} exit status|error: could not compile |Cython\.Compiler\.Errors\.CompileError: /,
    sentence: 'it does not compile',
    condition: 'no-oom-kill',
  },
];
