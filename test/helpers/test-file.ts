import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import { descendants } from './leftovers.js';
import { type TapPoint, readTap } from './tap-points.js';

/**
 * How long a whole file may take, whatever limit it gives its own tests, with what it fetches (missing.ts).
 * PIW_TEST_LIMIT_S: longer, for what is run by hand with larger numbers.
 */
const FILE_LIMIT_MS = Number(process.env['PIW_TEST_LIMIT_S'] ?? 360) * 1000;
/** How long what a file started may take to end after it. */
const EXIT_GRACE_MS = 3000;
const STDERR_LIMIT_CHARS = 20_000;

/** What became of the tests of one file. */
export interface TestFileResult {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
  /** What a person needs to see of what failed, and of what was skipped; empty if there is neither. */
  readonly report: readonly string[];
}

interface TestProcessExit {
  readonly stdout: string;
  readonly stderr: string;
  /** How it ended, if not as it should; null for exit code 0. */
  readonly exitFailure: string | null;
}

/**
 * A run of one compiled test file, in a process group of its own, by plain Node: tap's own runner would load
 * its hooks into every process that a test starts, which doubles what an actor weighs.
 */
export class TestFile {
  readonly #path: string;
  readonly #environmentEntry: string;
  #child: ChildProcess | null = null;

  constructor(path: string) {
    this.#path = path;
    this.#environmentEntry = `PIW_TEST_FILE=${path}#${process.pid}`;
  }

  /** Runs the file to its end, or for FILE_LIMIT_MS. A file that ends badly, even after its last test, has failed. */
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
    const child = spawn(process.execPath, ['--enable-source-maps', this.#path], {
      // The file's own limit is the one below; tap's would be 30 s, which a busy machine needs for less.
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
        return { stdout, stderr, exitFailure: `was not done in ${FILE_LIMIT_MS / 1000} s` };
      if (signal !== null) return { stdout, stderr, exitFailure: `was ended by ${signal}` };
      return { stdout, stderr, exitFailure: code === 0 ? null : `exited with ${code ?? 'nothing'}` };
    } finally {
      clearTimeout(timer);
    }
  }

  /** What the file has left running; it is ended. */
  async #leftovers(): Promise<string[]> {
    const group = this.#child?.pid ?? 0;
    const deadline = performance.now() + EXIT_GRACE_MS;
    let remaining = descendants(this.#environmentEntry, group);
    while (remaining.length > 0 && performance.now() < deadline) {
      await pause(50);
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

/** Waits for the process itself: one that it left behind may hold its stdout open. */
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

/** The titles that more than one test bears: a report of a failure would be ambiguous. */
function duplicateTitles(points: readonly TapPoint[]): string[] {
  const titles = points.filter(({ isTest }) => isTest).map(({ title }) => title);
  return [...new Set(titles.filter((title, place) => titles.indexOf(title) !== place))];
}

/** The lines of a failed point: without the assertions inside it that held, nor where a test stands of which a part failed. */
function failureLines({ lines }: TapPoint): string[] {
  const hasInnerFailure = lines.some((line) => /^\s+not ok/.test(line));
  const end = hasInnerFailure ? lines.findIndex((line) => line.startsWith('not ok')) : lines.length;
  return lines
    .slice(0, end === 0 ? lines.length : end)
    .filter((line) => !/^\s*(ok \d+|1\.\.\d+|$)/.test(line));
}

/** A line for each test that was skipped, with what it says of why. */
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
    ...duplicateTitles(points).map((title) => `two tests bear the title: ${title}`),
    ...leftoverLines,
  ];
  if (bailout !== null) problems.push(`bailed out: ${bailout}`);
  if (unfinished !== null) problems.push('ended in the middle of a test', ...unfinished);
  // tap exits with 1 when a test has failed: that is no further fault.
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
