import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * Thrown when something that a test needs is not on this machine and can't be fetched; its message is the reason for
 * which the test is skipped.
 */
export class MissingPrerequisite extends Error {}

/** Returns what `make` returns, or the message of the MissingPrerequisite that it throws. */
export async function orSkipReason<T>(make: () => Promise<T>): Promise<T | string> {
  try {
    return await make();
  } catch (error) {
    if (error instanceof MissingPrerequisite) return error.message;
    throw error;
  }
}

/** Returns why a test that needs these programs is skipped, or false if all of them are on PATH. */
export function skipUnlessInstalled(...programs: readonly string[]): string | false {
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
 * How long one test file may spend on fetching programs, in total. Together with its tests that stays within the
 * limit of a file (test-file.ts), so that on a slow connection tests are skipped rather than failed.
 */
const FETCH_LIMIT_MS = Number(process.env['PIW_TEST_FETCH_S'] ?? 100) * 1000;
let fetchDeadline: number | undefined;

/**
 * Returns how many milliseconds this test file may still spend on fetching; the first call starts the clock. Throws
 * MissingPrerequisite when none are left.
 */
export function remainingFetchMs(program: string): number {
  fetchDeadline ??= performance.now() + FETCH_LIMIT_MS;
  const remainingMs = Math.floor(fetchDeadline - performance.now());
  if (remainingMs <= 0)
    throw new MissingPrerequisite(
      `needs ${program}, which is not installed and could not be fetched within ${FETCH_LIMIT_MS / 1000} s`,
    );
  return remainingMs;
}

/** Returns the MissingPrerequisite for a command that failed to fetch `program`. */
export function fetchFailure(program: string, error: unknown): MissingPrerequisite {
  if (error instanceof MissingPrerequisite) return error;
  const { code, killed, path } = error as { code?: unknown; killed?: boolean; path?: string };
  const reason =
    code === 'ENOENT'
      ? `there is no ${path ?? 'program to fetch it with'}`
      : killed
        ? `it took longer than ${FETCH_LIMIT_MS / 1000} s`
        : lastErrorLine(error);
  return new MissingPrerequisite(
    `needs ${program}, which is not installed and could not be fetched: ${reason}`,
    {
      cause: error,
    },
  );
}

/** Returns the first line of apt's or pip's output that is an error; without one, the last line. */
function lastErrorLine(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message?: string };
  const lines = (stderr ?? message ?? String(error)).trim().split('\n');
  return lines.find((line) => /^(E|ERROR): /.test(line)) ?? lines.at(-1) ?? '';
}
