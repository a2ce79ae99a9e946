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
export type Tell = (rule: RuleId, path: string, found: string, expected: string) => void;

/** Longer than this nothing is quoted, characters. */
const QUOTED = 160;

/** Text from outside in one short line. */
export function quote(value: unknown): string {
  const text = typeof value === 'string' ? value : value === undefined ? 'nothing' : JSON.stringify(value);
  // eslint-disable-next-line no-control-regex
  const line = text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ');
  return line.length > QUOTED ? `${line.slice(0, QUOTED)}…` : line;
}

/** The faults of one unit in the order in which they were found; one rule says of one path one thing. */
export class Notebook {
  readonly #faults = new Map<string, Fault>();

  readonly tell: Tell = (rule, path, found, expected) => {
    const key = keyOf({ rule, path });
    if (!this.#faults.has(key)) {
      this.#faults.set(key, { rule, path: quote(path), found: quote(found), expected: quote(expected) });
    }
  };

  get faults(): ReadonlyMap<string, Fault> {
    return this.#faults;
  }
}

export const keyOf = ({ rule, path }: Pick<Fault, 'rule' | 'path'>): string => `${rule} ${path}`;
