import type { RuleId } from './rules.js';

/** A violation of a rule: one line of `piw check`'s output. */
export interface Fault {
  readonly rule: RuleId;
  /** A path below the output path, or the path that was requested. */
  readonly path: string;
  readonly found: string;
  readonly expected: string;
}

/** Reports that a rule is violated. `path`, `found` and `expected` may contain untrusted text. */
export type FaultReporter = (rule: RuleId, path: string, found: string, expected: string) => void;

/** Limits how much of a text is quoted. */
const MAX_QUOTED_CHARS = 160;

/** Formats an untrusted value as one short line. */
export function format(value: unknown): string {
  const text = typeof value === 'string' ? value : value === undefined ? 'missing' : JSON.stringify(value);
  // eslint-disable-next-line no-control-regex
  const line = text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ');
  return line.length > MAX_QUOTED_CHARS ? `${line.slice(0, MAX_QUOTED_CHARS)}…` : line;
}

/** Collects the faults of one unit in the order in which they are found; of each rule and path only the first. */
export class Findings {
  readonly #faults = new Map<string, Fault>();

  readonly report: FaultReporter = (rule, path, found, expected) => {
    const key = faultKey({ rule, path });
    if (!this.#faults.has(key)) {
      this.#faults.set(key, { rule, path: format(path), found: format(found), expected: format(expected) });
    }
  };

  get faults(): ReadonlyMap<string, Fault> {
    return this.#faults;
  }
}

const faultKey = ({ rule, path }: Pick<Fault, 'rule' | 'path'>): string => `${rule} ${path}`;
