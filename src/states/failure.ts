interface Kind {
  /**
   * How often the same build is tried again, because it may well end otherwise on another day or another
   * slave; only then is it a failure for good.
   */
  readonly retries: number;
  /** Only so soon after the release: the index may not have caught up yet. */
  readonly fresh?: true;
  /** It says something of the slave's surroundings rather than of the package. */
  readonly surroundings?: true;
}

const FINAL: Kind = { retries: 0 };
const SURROUNDINGS: Kind = { retries: 10, surroundings: true };

/** Why builds fail, and what happens next, in one table. */
export const FAILURES = {
  /** The index has no source of this version. */
  'no-sdist': { retries: 6, fresh: true },
  /** The source can't be unpacked, holds no project, or another one. */
  'bad-sdist': FINAL,
  /** What was downloaded is not what the index had announced. */
  'hash-mismatch': FINAL,
  /** What it needs to be built is not on the index, or can't be installed. */
  'build-requirement': FINAL,
  'missing-header': FINAL,
  'missing-library': FINAL,
  /** It doesn't compile, or needs a compiler for its language that the slave does not have. */
  compiler: FINAL,
  /** The slave has no compiler, as it found out at its start: another one may have. */
  'no-compiler': SURROUNDINGS,
  /** It is not for this version of Python. */
  'python-version': FINAL,
  /** The index could not be reached. */
  network: SURROUNDINGS,
  /** The index answered with an error. */
  index: SURROUNDINGS,
  /** It took longer than it may. */
  timeout: FINAL,
  /** It said nothing for longer than it may. */
  silent: FINAL,
  memory: { retries: 2 },
  disk: SURROUNDINGS,
  /** It said more than it may. */
  'log-limit': FINAL,
  /** Somebody ended it: the slave, or a signal from elsewhere. */
  killed: { retries: 3 },
  'no-wheel': FINAL,
  /** It made a wheel of something else, or one that is broken. */
  'wrong-wheel': FINAL,
  /** It made a wheel without its compiled part, and this farm publishes none such. */
  incomplete: FINAL,
  other: FINAL,
} as const satisfies Record<string, Kind>;

export type FailureClass = keyof typeof FAILURES;

/** The class of that name; `other` for one that there isn't, which a slave of strangers may have said. */
export function failureClass(name: string | null): FailureClass {
  return name !== null && Object.hasOwn(FAILURES, name) ? (name as FailureClass) : 'other';
}

/** What happens next after a failure of this class. */
export const failureKind = (name: FailureClass): Kind => FAILURES[name];
