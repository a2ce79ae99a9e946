interface FailurePolicy {
  /**
   * How often the same build is tried again, because it may well end otherwise on another day or another
   * slave; only then is it a failure for good.
   */
  readonly retries: number;
  /** Only so soon after the release: the index may not have caught up yet. */
  readonly recentReleasesOnly?: true;
  /** It says something of the slave's surroundings rather than of the package. */
  readonly environmental?: true;
}

const NO_RETRY: FailurePolicy = { retries: 0 };
const ENVIRONMENTAL: FailurePolicy = { retries: 10, environmental: true };

/** Why builds fail, and what happens next, in one table. */
export const FAILURES = {
  /** The index has no source of this version. */
  'no-sdist': { retries: 6, recentReleasesOnly: true },
  /** The source can't be unpacked, holds no project, or another one. */
  'bad-sdist': NO_RETRY,
  /** What was downloaded is not what the index had announced. */
  'hash-mismatch': NO_RETRY,
  /** What it needs to be built is not on the index, or can't be installed. */
  'build-requirement': NO_RETRY,
  'missing-header': NO_RETRY,
  'missing-library': NO_RETRY,
  /** It doesn't compile, or needs a compiler for its language that the slave does not have. */
  compiler: NO_RETRY,
  /** The slave has no compiler, as it found out at its start: another one may have. */
  'no-compiler': ENVIRONMENTAL,
  /** It is not for this version of Python. */
  'python-version': NO_RETRY,
  /** The index could not be reached. */
  network: ENVIRONMENTAL,
  /** The index answered with an error. */
  index: ENVIRONMENTAL,
  /** It took longer than it may. */
  timeout: NO_RETRY,
  /** It said nothing for longer than it may. */
  silent: NO_RETRY,
  memory: { retries: 2 },
  disk: ENVIRONMENTAL,
  /** It said more than it may. */
  'log-limit': NO_RETRY,
  /** Somebody ended it: the slave, or a signal from elsewhere. */
  killed: { retries: 3 },
  'no-wheel': NO_RETRY,
  /** It made a wheel of something else, or one that is broken. */
  'wrong-wheel': NO_RETRY,
  /** It made a wheel without its compiled part, and this farm publishes none such. */
  incomplete: NO_RETRY,
  other: NO_RETRY,
} as const satisfies Record<string, FailurePolicy>;

export type FailureClass = keyof typeof FAILURES;

/** The class of that name; `other` for one that there isn't, which a slave of strangers may have said. */
export function failureClass(name: string | null): FailureClass {
  return name !== null && Object.hasOwn(FAILURES, name) ? (name as FailureClass) : 'other';
}

/** What happens next after a failure of this class. */
export const failurePolicy = (name: FailureClass): FailurePolicy => FAILURES[name];
