/** A direct point of a test file: a test with its title, or an assertion that stands outside of any. */
export interface TapPoint {
  readonly ok: boolean;
  readonly title: string;
  /** Skipped, or to do: neither passed nor failed. */
  readonly skipped: boolean;
  /** Whether it is a test with assertions of its own. */
  readonly isTest: boolean;
  /** What the file said about it, with what failed inside it. */
  readonly lines: string[];
}

export interface TapReport {
  readonly points: readonly TapPoint[];
  /** How many points the file says that it has; null if it ended before it could. */
  readonly planned: number | null;
  /** Why the file has no points on purpose; null if it has, or just none. */
  readonly skipAll: string | null;
  readonly bailout: string | null;
  /** What a test had said when the file ended in the middle of it; null if it didn't. */
  readonly unfinished: readonly string[] | null;
}

const POINT = /^(not )?ok\b(?: \d+)?(?: -)? ?(.*)$/;
const DIRECTIVE = /(?:^|\s)# ?(skip|todo)\b.*$/i;
const TIME = / # time=[\d.]+m?s$/;
const PLAN = /^1\.\.(\d+)(?: # ?(?:skip ?)?(.*))?$/i;
/** What tap says of a file without a test. */
const NO_TESTS = 'no tests found';

function parsePoint(line: string, subtestLines: readonly string[] | null): TapPoint | null {
  const match = POINT.exec(line);
  if (match === null) return null;
  const description = (match[2] ?? '').replace(/ ?\{$/, '').replace(TIME, '');
  return {
    ok: match[1] === undefined,
    title: description.replace(DIRECTIVE, '').replaceAll('\\#', '#').trim(),
    skipped: DIRECTIVE.test(description),
    isTest: subtestLines !== null || line.endsWith('{'),
    lines: [...(subtestLines ?? []), line],
  };
}

/**
 * Reads what a test file has written to stdout: TAP 14 as tap writes it, where what belongs to a point is
 * indented, so that the direct points are the lines that are not. Other output between them is passed over.
 */
export function readTap(text: string): TapReport {
  const points: TapPoint[] = [];
  let planned: number | null = null;
  let skipAll: string | null = null;
  let bailout: string | null = null;
  let subtest: string[] | null = null;
  for (const line of text.split('\n')) {
    const point = parsePoint(line, subtest);
    const plan = PLAN.exec(line);
    if (point !== null) {
      points.push(point);
      subtest = null;
    } else if (line.startsWith('# Subtest: ')) {
      subtest = [line];
    } else if (plan !== null) {
      planned = Number(plan[1]);
      if (planned === 0 && plan[2] !== NO_TESTS) skipAll = plan[2] ?? null;
    } else if (line.startsWith('Bail out!')) {
      bailout = line.slice('Bail out!'.length).trim();
    } else if (line.startsWith(' ')) {
      (subtest ?? points.at(-1)?.lines)?.push(line);
    }
  }
  return { points, planned, skipAll, bailout, unfinished: subtest };
}
