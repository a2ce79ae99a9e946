interface FailurePolicy {
  /**
   * How many times the same build is retried, because it may succeed later or on another slave, before its failure
   * is final.
   */
  readonly retries: number;
  /** Retries only soon after the release, when the index may not have caught up yet. */
  readonly recentReleasesOnly?: true;
  /** The cause is the slave's environment rather than the package. */
  readonly environmental?: true;
}

const NO_RETRY: FailurePolicy = { retries: 0 };
const ENVIRONMENTAL: FailurePolicy = { retries: 10, environmental: true };

/** The failure classes of builds, and what happens after a failure of each. */
export const FAILURES = {
  /** The index has no source distribution of this version. */
  'no-sdist': { retries: 6, recentReleasesOnly: true },
  /** The source can't be unpacked, contains no project, or contains another project. */
  'bad-sdist': NO_RETRY,
  /** The downloaded file does not match the hash that the index announced. */
  'hash-mismatch': NO_RETRY,
  /** A build requirement is not on the index, or can't be installed. */
  'build-requirement': NO_RETRY,
  'missing-header': NO_RETRY,
  'missing-library': NO_RETRY,
  /** The code does not compile, or needs a compiler for its language that the slave does not have. */
  compiler: NO_RETRY,
  /** The slave found at its start that it has no compiler; another slave may have one. */
  'no-compiler': ENVIRONMENTAL,
  /** The package does not support this version of Python. */
  'python-version': NO_RETRY,
  /** The index could not be reached. */
  network: ENVIRONMENTAL,
  /** The index answered with an error. */
  index: ENVIRONMENTAL,
  /** The build exceeded its time limit. */
  timeout: NO_RETRY,
  /** The build printed nothing for longer than allowed. */
  silent: NO_RETRY,
  memory: { retries: 2 },
  disk: ENVIRONMENTAL,
  /** The build printed more than allowed. */
  'log-limit': NO_RETRY,
  /** The slave stopped the build, or a signal from elsewhere ended it. */
  killed: { retries: 3 },
  'no-wheel': NO_RETRY,
  /** The build made a wheel of something else, or a broken one. */
  'wrong-wheel': NO_RETRY,
  /** The build made a wheel without its compiled part, and this farm does not publish such wheels. */
  incomplete: NO_RETRY,
  other: NO_RETRY,
} as const satisfies Record<string, FailurePolicy>;

export type FailureClass = keyof typeof FAILURES;

/** Returns the class of this name; `other` for an unknown name, which an untrusted slave may send. */
export function failureClass(name: string | null): FailureClass {
  return name !== null && Object.hasOwn(FAILURES, name) ? (name as FailureClass) : 'other';
}

/** Returns what happens after a failure of this class. */
export const failurePolicy = (name: FailureClass): FailurePolicy => FAILURES[name];
