import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import { descendants } from './leftovers.js';
import { type TapPoint, readTap } from './tap-points.js';

/**
 * The time limit of a whole file, whatever limits it gives its own tests, including what it fetches (missing.ts).
 * PIW_TEST_LIMIT_S sets another one, for tests that are run by hand with larger numbers.
 */
const FILE_LIMIT_MS = Number(process.env['PIW_TEST_LIMIT_S'] ?? 360) * 1000;
/** How long the processes that a file has started may take to end after it. */
const EXIT_GRACE_MS = 3000;
const PRELOADED = new URL('./without-async-hooks.js', import.meta.url).href;
const STDERR_LIMIT_CHARS = 20_000;

/** The results of the tests of one file. */
export interface TestFileResult {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
  /** The lines to print about failed and skipped tests; empty if there are none. */
  readonly report: readonly string[];
}

interface TestProcessExit {
  readonly stdout: string;
  readonly stderr: string;
  /** How the process ended abnormally; null for exit code 0. */
  readonly exitFailure: string | null;
}

/**
 * A run of one compiled test file by plain Node, in a process group of its own. tap's own runner would load its hooks
 * into every process that a test starts, which doubles the memory of an actor.
 */
export class TestFile {
  readonly #path: string;
  readonly #environmentEntry: string;
  #child: ChildProcess | null = null;

  constructor(path: string) {
    this.#path = path;
    this.#environmentEntry = `PIW_TEST_FILE=${path}#${process.pid}`;
  }

  /**
   * Runs the file until it exits, or for FILE_LIMIT_MS. A file that exits abnormally, even after its last test, has
   * failed.
   */
  async run(env: NodeJS.ProcessEnv): Promise<TestFileResult> {
    const start = performance.now();
    const exited = await this.#execute(env);
    const leftoverLines = await this.#leftovers();
    return summarise(exited, leftoverLines, (performance.now() - start) / 1000);
  }

  /** Ends the file and everything that it has started. */
  kill(): void {
    const group = this.#child?.pid;
    if (group === undefined) return;
    killQuietly(-group);
    for (const { pid } of descendants(this.#environmentEntry, group)) killQuietly(pid);
  }

  async #execute(env: NodeJS.ProcessEnv): Promise<TestProcessExit> {
    const [name = '', ...value] = this.#environmentEntry.split('=');
    const child = spawn(process.execPath, ['--enable-source-maps', '--import', PRELOADED, this.#path], {
      // tap's default of 30 s is too short on a busy machine, so the limit below is the effective one.
      env: { ...env, TAP: '1', TAP_TIMEOUT: `${FILE_LIMIT_MS / 1000 - 20}`, [name]: value.join('=') },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.#child = child;
    let stdout = '';
    let stderr = '';
    const timedOut = new AbortController();
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-STDERR_LIMIT_CHARS);
    });
    const timer = setTimeout(() => {
      timedOut.abort();
      this.kill();
    }, FILE_LIMIT_MS);
    try {
      const [code, signal] = await waitForExit(child);
      if (timedOut.signal.aborted)
        return { stdout, stderr, exitFailure: `did not end within ${FILE_LIMIT_MS / 1000} s` };
      if (signal !== null) return { stdout, stderr, exitFailure: `was ended by ${signal}` };
      return { stdout, stderr, exitFailure: code === 0 ? null : `exited with ${code ?? 'nothing'}` };
    } finally {
      clearTimeout(timer);
    }
  }

  /** Kills the processes that the file has left running; returns a line for each. */
  async #leftovers(): Promise<string[]> {
    const group = this.#child?.pid ?? 0;
    const deadline = performance.now() + EXIT_GRACE_MS;
    let remaining = descendants(this.#environmentEntry, group);
    while (remaining.length > 0 && performance.now() < deadline) {
      await pause(200);
      remaining = descendants(this.#environmentEntry, group);
    }
    this.kill();
    return remaining.map(({ pid, command }) => `left process ${pid} running: ${command}`);
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Waits for the process itself, because a process that it left behind may hold its stdout open. */
async function waitForExit(child: ChildProcess): Promise<[number | null, NodeJS.Signals | null]> {
  return new Promise((resolve, reject) => {
    let closed = false;
    child.on('error', reject);
    child.on('close', () => (closed = true));
    child.on('exit', (code, signal) => {
      const done = () => {
        resolve([code, signal]);
      };
      if (closed) done();
      child.once('close', done);
      setTimeout(done, EXIT_GRACE_MS).unref();
    });
  });
}

/** Returns the titles that several tests share, which would make the report of a failure ambiguous. */
function duplicateTitles(points: readonly TapPoint[]): string[] {
  const titles = points.filter(({ isTest }) => isTest).map(({ title }) => title);
  return [...new Set(titles.filter((title, index) => titles.indexOf(title) !== index))];
}

/**
 * Returns the lines of a failed point, without the assertions in it that passed, and, if a nested point has failed,
 * without the location of the test.
 */
function failureLines({ lines }: TapPoint): string[] {
  const hasInnerFailure = lines.some((line) => /^\s+not ok/.test(line));
  const end = hasInnerFailure ? lines.findIndex((line) => line.startsWith('not ok')) : lines.length;
  return lines
    .slice(0, end === 0 ? lines.length : end)
    .filter((line) => !/^\s*(ok \d+|1\.\.\d+|$)/.test(line));
}

/** Returns a line for each skipped test, with its reason. */
function skipLines(points: readonly TapPoint[], skipAll: string | null): string[] {
  const lines = points
    .filter(({ skipped }) => skipped)
    .map(({ lines }) => lines.find((line) => line.startsWith('ok')));
  const reasons = lines.map((line) => line?.replace(/^ok \d+ - /, '').replace(/ # time=\S+/, '') ?? '');
  return [...reasons, ...(skipAll === null ? [] : [skipAll])].map((line) => `skipped: ${line}`);
}

function summarise(
  { stdout, stderr, exitFailure }: TestProcessExit,
  leftoverLines: readonly string[],
  seconds: number,
): TestFileResult {
  const { points, planned, skipAll, bailout, unfinished } = readTap(stdout);
  const failures = points.filter(({ ok, skipped }) => !ok && !skipped);
  const skipped = points.filter((point) => point.skipped).length;
  const passed = points.length - failures.length - skipped;
  const problems = [
    ...duplicateTitles(points).map((title) => `two tests have the title: ${title}`),
    ...leftoverLines,
  ];
  if (bailout !== null) problems.push(`bailed out: ${bailout}`);
  if (unfinished !== null) problems.push('ended in the middle of a test', ...unfinished);
  // tap exits with 1 when a test has failed, which is not a separate problem.
  if (exitFailure !== null && (failures.length === 0 || !exitFailure.startsWith('exited')))
    problems.push(exitFailure);
  if (planned === null) problems.push('ended before its last test');
  else if (planned !== points.length) problems.push(`has ${points.length} of ${planned} tests`);
  else if (planned === 0 && skipAll === null && exitFailure === null) problems.push('has no tests');
  const failed = failures.length + (problems.length > 0 ? 1 : 0);
  const stderrLines = stderr.split('\n').filter((line) => line.trim() !== '');
  const report = failed === 0 ? [] : [...failures.flatMap(failureLines), ...problems, ...stderrLines];
  return {
    passed,
    failed,
    skipped: skipped + (skipAll === null ? 0 : 1),
    seconds,
    report: [...skipLines(points, skipAll), ...report],
  };
}
