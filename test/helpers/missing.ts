import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Something that a test needs is neither on this machine nor can it be fetched: its message is why the test is skipped. */
export class Missing extends Error {}

/** Returns what `make` returns, or the message of the Missing that it throws. */
export async function orMissing<T>(make: () => Promise<T>): Promise<T | string> {
  try {
    return await make();
  } catch (error) {
    if (error instanceof Missing) return error.message;
    throw error;
  }
}

/** Returns why a test that needs these programs is skipped, or false if all of them are on PATH. */
export function lacking(...programs: readonly string[]): string | false {
  const absent = programs.filter((program) => !isOnPath(program));
  return absent.length === 0
    ? false
    : `needs ${absent.join(' and ')}, which ${absent.length === 1 ? 'is' : 'are'} not installed`;
}

function isOnPath(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/**
 * How long one test file may spend on fetching programs, in all: together with its tests this fits into the limit
 * of a file (test-file.ts), so a slow line leads to a skipped test and not to a failed one.
 */
const FETCH_LIMIT_MS = Number(process.env['PIW_TEST_FETCH_S'] ?? 100) * 1000;
let deadline: number | undefined;

/**
 * Returns how many milliseconds this file may still spend on fetching; the first call starts the clock. Throws
 * Missing when none are left.
 */
export function fetchTimeLeft(what: string): number {
  deadline ??= performance.now() + FETCH_LIMIT_MS;
  const left = Math.floor(deadline - performance.now());
  if (left <= 0)
    throw new Missing(
      `needs ${what}, which is not installed and could not be fetched within ${String(FETCH_LIMIT_MS / 1000)} s`,
    );
  return left;
}

/** Returns why a command that was to fetch `what` failed, as a Missing. */
export function notFetched(what: string, error: unknown): Missing {
  if (error instanceof Missing) return error;
  const { code, killed, path } = error as { code?: unknown; killed?: boolean; path?: string };
  const why =
    code === 'ENOENT'
      ? `there is no ${path ?? 'program to fetch it with'}`
      : killed
        ? `it took longer than ${String(FETCH_LIMIT_MS / 1000)} s`
        : lastError(error);
  return new Missing(`needs ${what}, which is not installed and could not be fetched: ${why}`, {
    cause: error,
  });
}

/** The line of apt's or pip's output that says what went wrong. */
function lastError(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message?: string };
  const lines = (stderr ?? message ?? String(error)).trim().split('\n');
  return lines.find((line) => /^(E|ERROR): /.test(line)) ?? lines.at(-1) ?? '';
}
