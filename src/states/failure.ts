interface Kind {
  /** Whether the same build may well end otherwise on another day or another slave, so that it is tried again. */
  readonly transient: boolean;
}

/**
 * Why builds fail, in one table. Of a `no-sdist`, whoever knows when the release was decides whether the
 * index had not caught up yet.
 */
export const FAILURES = {
  /** The index has no source of this version. */
  'no-sdist': { transient: false },
  /** The source can't be unpacked, holds no project, or another one. */
  'bad-sdist': { transient: false },
  /** What was downloaded is not what the index had announced. */
  'hash-mismatch': { transient: false },
  /** What it needs to be built is not on the index, or can't be installed. */
  'build-requirement': { transient: false },
  'missing-header': { transient: false },
  'missing-library': { transient: false },
  /** It doesn't compile, or there is no compiler for it. */
  compiler: { transient: false },
  /** It is not for this version of Python. */
  'python-version': { transient: false },
  /** The index could not be reached. */
  network: { transient: true },
  /** The index answered with an error. */
  index: { transient: true },
  /** It took longer than it may. */
  timeout: { transient: false },
  /** It said nothing for longer than it may. */
  silent: { transient: false },
  memory: { transient: true },
  disk: { transient: true },
  /** It said more than it may. */
  'log-limit': { transient: false },
  /** Somebody ended it: the slave, or a signal from elsewhere. */
  killed: { transient: true },
  'no-wheel': { transient: false },
  /** It made a wheel of something else, or one that is broken. */
  'wrong-wheel': { transient: false },
  other: { transient: false },
} as const satisfies Record<string, Kind>;

export type FailureClass = keyof typeof FAILURES;
