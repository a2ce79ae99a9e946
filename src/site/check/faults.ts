import type { RuleId } from './rules.js';

/** One thing that is not as it must be: a line of `piw check`. */
export interface Fault {
  readonly rule: RuleId;
  /** Below the output path, or the address of what was asked for. */
  readonly path: string;
  readonly found: string;
  readonly expected: string;
}

/** Says that a rule doesn't hold; what stands in `found` may come from outside. */
export type FaultReporter = (rule: RuleId, path: string, found: string, expected: string) => void;

/** Longer than this nothing is quoted, characters. */
const MAX_QUOTED_CHARS = 160;

/** Text from outside in one short line. */
export function format(value: unknown): string {
  const text = typeof value === 'string' ? value : value === undefined ? 'nothing' : JSON.stringify(value);
  // eslint-disable-next-line no-control-regex
  const line = text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ');
  return line.length > MAX_QUOTED_CHARS ? `${line.slice(0, MAX_QUOTED_CHARS)}…` : line;
}

/** The faults of one unit in the order in which they were found; one rule says of one path one thing. */
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

export const faultKey = ({ rule, path }: Pick<Fault, 'rule' | 'path'>): string => `${rule} ${path}`;
