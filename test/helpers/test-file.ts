import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import { descendants } from './leftovers.js';
import { type Point, readTap } from './tap-points.js';

/**
 * How long a whole file may take, whatever limit it gives its own tests, with what it fetches (missing.ts).
 * PIW_TEST_LIMIT_S: longer, for what is run by hand with larger numbers.
 */
const FILE_LIMIT_MS = Number(process.env['PIW_TEST_LIMIT_S'] ?? 360) * 1000;
/** How long what a file started may take to end after it. */
const LEAVE_MS = 3000;
const STDERR_CHARS = 20_000;

/** What became of the tests of one file. */
export interface Outcome {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
  /** What a person needs to see of what failed, and of what was skipped; empty if there is neither. */
  readonly report: readonly string[];
}

interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  /** How it ended, if not as it should; null for exit code 0. */
  readonly trouble: string | null;
}

/**
 * A run of one compiled test file, in a process group of its own, by plain Node: tap's own runner would load
 * its hooks into every process that a test starts, which doubles what an actor weighs.
 */
export class TestFile {
  readonly #path: string;
  readonly #mark: string;
  #child: ChildProcess | null = null;

  constructor(path: string) {
    this.#path = path;
    this.#mark = `PIW_TEST_FILE=${path}#${process.pid}`;
  }

  /** Runs the file to its end, or for FILE_LIMIT_MS. A file that ends badly, even after its last test, has failed. */
  async run(env: NodeJS.ProcessEnv): Promise<Outcome> {
    const start = performance.now();
    const ended = await this.#execute(env);
    const left = await this.#leftovers();
    return judge(ended, left, (performance.now() - start) / 1000);
  }

  /** Ends the file and everything that it has started. */
  kill(): void {
    const group = this.#child?.pid;
    if (group === undefined) return;
    killQuietly(-group);
    for (const { pid } of descendants(this.#mark, group)) killQuietly(pid);
  }

  async #execute(env: NodeJS.ProcessEnv): Promise<Ended> {
    const [name = '', ...value] = this.#mark.split('=');
    const child = spawn(process.execPath, ['--enable-source-maps', this.#path], {
      // The file's own limit is the one below; tap's would be 30 s, which a busy machine needs for less.
      env: { ...env, TAP: '1', TAP_TIMEOUT: `${FILE_LIMIT_MS / 1000 - 20}`, [name]: value.join('=') },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.#child = child;
    let stdout = '';
    let stderr = '';
    const limit = new AbortController();
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-STDERR_CHARS);
    });
    const timer = setTimeout(() => {
      limit.abort();
      this.kill();
    }, FILE_LIMIT_MS);
    try {
      const [code, signal] = await exit(child);
      if (limit.signal.aborted)
        return { stdout, stderr, trouble: `was not done in ${FILE_LIMIT_MS / 1000} s` };
      if (signal !== null) return { stdout, stderr, trouble: `was ended by ${signal}` };
      return { stdout, stderr, trouble: code === 0 ? null : `exited with ${code ?? 'nothing'}` };
    } finally {
      clearTimeout(timer);
    }
  }

  /** What the file has left running; it is ended. */
  async #leftovers(): Promise<string[]> {
    const group = this.#child?.pid ?? 0;
    const deadline = performance.now() + LEAVE_MS;
    let left = descendants(this.#mark, group);
    while (left.length > 0 && performance.now() < deadline) {
      await pause(50);
      left = descendants(this.#mark, group);
    }
    this.kill();
    return left.map(({ pid, command }) => `left process ${pid} running: ${command}`);
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
async function exit(child: ChildProcess): Promise<[number | null, NodeJS.Signals | null]> {
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
      setTimeout(done, LEAVE_MS).unref();
    });
  });
}

/** The titles that more than one test bears: a report of a failure would be ambiguous. */
function repeated(points: readonly Point[]): string[] {
  const titles = points.filter(({ isTest }) => isTest).map(({ title }) => title);
  return [...new Set(titles.filter((title, place) => titles.indexOf(title) !== place))];
}

/** The lines of a failed point: without the assertions inside it that held, nor where a test stands of which a part failed. */
function shown({ lines }: Point): string[] {
  const inside = lines.some((line) => /^\s+not ok/.test(line));
  const end = inside ? lines.findIndex((line) => line.startsWith('not ok')) : lines.length;
  return lines
    .slice(0, end === 0 ? lines.length : end)
    .filter((line) => !/^\s*(ok \d+|1\.\.\d+|$)/.test(line));
}

/** A line for each test that was skipped, with what it says of why. */
function skips(points: readonly Point[], skipAll: string | null): string[] {
  const lines = points
    .filter(({ skipped }) => skipped)
    .map(({ lines }) => lines.find((line) => line.startsWith('ok')));
  const said = lines.map((line) => line?.replace(/^ok \d+ - /, '').replace(/ # time=\S+/, '') ?? '');
  return [...said, ...(skipAll === null ? [] : [skipAll])].map((line) => `skipped: ${line}`);
}

function judge({ stdout, stderr, trouble }: Ended, left: readonly string[], seconds: number): Outcome {
  const { points, planned, skipAll, bailout, unfinished } = readTap(stdout);
  const failures = points.filter(({ ok, skipped }) => !ok && !skipped);
  const skipped = points.filter((point) => point.skipped).length;
  const passed = points.length - failures.length - skipped;
  const faults = [...repeated(points).map((title) => `two tests bear the title: ${title}`), ...left];
  if (bailout !== null) faults.push(`bailed out: ${bailout}`);
  if (unfinished !== null) faults.push('ended in the middle of a test', ...unfinished);
  // tap exits with 1 when a test has failed: that is no further fault.
  if (trouble !== null && (failures.length === 0 || !trouble.startsWith('exited'))) faults.push(trouble);
  if (planned === null) faults.push('ended before its last test');
  else if (planned !== points.length) faults.push(`has ${points.length} of ${planned} tests`);
  else if (planned === 0 && skipAll === null && trouble === null) faults.push('has no tests');
  const failed = failures.length + (faults.length > 0 ? 1 : 0);
  const lastWords = stderr.split('\n').filter((line) => line.trim() !== '');
  const report = failed === 0 ? [] : [...failures.flatMap(shown), ...faults, ...lastWords];
  return {
    passed,
    failed,
    skipped: skipped + (skipAll === null ? 0 : 1),
    seconds,
    report: [...skips(points, skipAll), ...report],
  };
}
