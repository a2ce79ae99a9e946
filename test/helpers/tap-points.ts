/** A top-level point of a test file: a test, or an assertion outside of any test. */
export interface TapPoint {
  readonly ok: boolean;
  readonly title: string;
  /** Skipped or todo: neither passed nor failed. */
  readonly skipped: boolean;
  /** Whether it is a test with assertions of its own. */
  readonly isTest: boolean;
  /** All lines of output for the point, including its nested points. */
  readonly lines: string[];
}

interface TapReport {
  readonly points: readonly TapPoint[];
  /** The number of points according to the file's plan; null if it ended before printing one. */
  readonly planned: number | null;
  /** The reason for which the file skips all of its tests; null if it does not. */
  readonly skipAll: string | null;
  readonly bailout: string | null;
  /** The output of the test during which the file ended; null if there is none. */
  readonly unfinished: readonly string[] | null;
}

const POINT = /^(not )?ok\b(?: \d+)?(?: -)? ?(.*)$/;
const DIRECTIVE = /(?:^|\s)# ?(skip|todo)\b.*$/i;
const TIME = / # time=[\d.]+m?s$/;
const PLAN = /^1\.\.(\d+)(?: # ?(?:skip ?)?(.*))?$/i;
/** The reason that tap prints for a file without tests. */
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
 * Parses what a test file has written to stdout: TAP 14 as tap writes it. There, everything that belongs to a point is
 * indented, so the top-level points are the lines that are not. Ignores other output between them.
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
