/** Why a build failed: a class, which says what happens next, and a sentence for people. */
export interface Failure {
  readonly failureClass: string;
  readonly sentence: string;
}

/**
 * What a build's log tells of its failure. The first entry that is found counts, so the surest come
 * first. `$1` in a sentence is what the first group of the pattern matched. Add to it as you meet them.
 */
const TABLE: readonly {
  readonly failureClass: string;
  readonly pattern: RegExp;
  readonly sentence: string;
}[] = [
  {
    failureClass: 'disk',
    pattern: /No space left on device|\[Errno 28\]/,
    sentence: "the slave's disk is full",
  },
  {
    failureClass: 'hash-mismatch',
    pattern: /THESE PACKAGES DO NOT MATCH THE HASHES/,
    sentence: 'what was downloaded has another hash than the index says',
  },
  {
    failureClass: 'index',
    pattern: /(?:HTTP error|Client Error|Server Error)[^\n]{0,40}?\b(429|5\d\d)\b/i,
    sentence: 'the index answered with status $1',
  },
  {
    failureClass: 'network',
    pattern:
      /(?:NewConnectionError|ConnectTimeoutError|ReadTimeoutError|NameResolutionError|Temporary failure in name resolution|Connection refused|Max retries exceeded)/,
    sentence: 'the index could not be reached',
  },
  {
    failureClass: 'python-version',
    pattern: /requires a different Python: ([^\n]{0,100})|Requires-Python ([^\n;]{0,60})/,
    sentence: 'it does not support this version of Python',
  },
  {
    failureClass: 'missing-header',
    pattern: /fatal error: ([\w./+-]+\.(?:h|hpp|hh|hxx)): No such file/,
    sentence: 'it needs the header $1, which this slave does not have',
  },
  {
    failureClass: 'missing-library',
    pattern: /(?:\/ld: |collect2: [^\n]*\n[^\n]*)cannot find -l([\w.+-]+)/,
    sentence: 'it needs the library $1, which this slave does not have',
  },
  {
    failureClass: 'compiler',
    pattern:
      /(?:error: command '([^']+)' failed: No such file|unable to execute '([^']+)'|([\w+-]*(?:gcc|g\+\+|cc|clang|rustc|cargo|gfortran)): (?:command )?not found|Unknown compiler|No such file or directory: '([\w+-]*(?:gcc|cc|g\+\+|clang))')/,
    sentence: 'it needs a compiler, and this slave has none: on Debian, apt install build-essential',
  },
  {
    failureClass: 'memory',
    pattern: /Killed signal terminated program|MemoryError|Cannot allocate memory/,
    sentence: 'it ran out of memory',
  },
  {
    failureClass: 'no-sdist',
    pattern: /No matching distribution found for ([^\s]+)/,
    sentence: 'the index has no source of $1 for this slave',
  },
  {
    failureClass: 'build-requirement',
    pattern:
      /(?:Failed to build '?[^\n]*' when installing build dependencies|Installing build dependencies[^\n]*error|installing build dependencies[^\n]* did not run successfully|BackendUnavailable|ModuleNotFoundError: No module named '([^']+)')/,
    sentence: 'something that it needs to be built could not be had',
  },
  {
    failureClass: 'compiler',
    pattern: /(?:error: command '[^']+' failed with exit|: error: )/,
    sentence: 'it does not compile',
  },
  {
    failureClass: 'bad-sdist',
    pattern: /(?:tarfile\.|zipfile\.)\w*Error|not a (?:gzip|zip) file|does not appear to be a Python project/,
    sentence: 'its source archive is broken',
  },
];

/** What the log of a build that failed by itself tells. */
export function diagnose(output: string): Failure {
  for (const { failureClass, pattern, sentence } of TABLE) {
    const match = pattern.exec(output);
    if (match)
      return {
        failureClass,
        sentence: sentence.replace('$1', match.slice(1).find((group) => group) ?? 'something'),
      };
  }
  return { failureClass: 'other', sentence: 'the log says why' };
}
