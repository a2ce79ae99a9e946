/**
 * The test runner behind `npm test -- [PART OF A PATH…]`.
 *
 * It starts one nats-server and one PostgreSQL of its own, as a farm does, and runs each compiled *.test.js in a process
 * of its own, a few at a time, with the servers' addresses in the environment:
 *
 *   PIW_TEST_NATS  a nats:// URL with the credentials of a user without restrictions
 *   PIW_TEST_DSN   a postgresql:// URL of a role that may create databases and roles
 *   TMPDIR, PIW_TEST_MEMORY  folders that are removed at the end; the latter in memory if there is enough
 *
 * The last line is `N passed, N failed` (and `, N skipped` if tests were skipped). The exit code is 0 if tests ran and
 * none failed, 129, 130 or 143 after a signal, 2 for an unknown option, and 1 otherwise. In any case the runner stops
 * everything that it has started.
 */
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, rm, statfs } from 'node:fs/promises';
import { availableParallelism, constants, tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PiwError } from '../src/errors.js';
import { startServers } from './helpers/servers.js';
import { type TestFileResult, TestFile } from './helpers/test-file.js';

const HERE = fileURLToPath(new URL('.', import.meta.url));
/** Folders without tests of the suite: programs that take long, and inputs of tests. */
const EXCLUDED_FOLDERS = ['bench', 'chaos', 'fixtures'];
const MAX_JOBS = 6;

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Returns the paths, below test/, of the compiled test files whose path contains one of `parts`; all without parts. */
async function findTestFiles(parts: readonly string[]): Promise<string[]> {
  const entries = await readdir(HERE, { recursive: true });
  return entries
    .filter((path) => path.endsWith('.test.js') && !EXCLUDED_FOLDERS.includes(path.split(sep)[0] ?? ''))
    .filter((path) => parts.length === 0 || parts.some((part) => path.includes(part)))
    .sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1));
}

/**
 * Returns a key to sort test files by: always the same order, which mixes the folders, so that tests that wait, as many
 * in actors/ do, run beside tests that compute.
 */
const orderOf = (path: string): string => createHash('sha512').update(path).digest('hex');

function nameOf(path: string): string {
  return relative(HERE, path).replace(/\.test\.js$/, '');
}

function report(path: string, { passed, failed, skipped, seconds, report: lines }: TestFileResult): void {
  const skips = skipped > 0 ? `, ${skipped} skipped` : '';
  const summary = failed > 0 ? `${passed} passed, ${failed} failed${skips}` : `${passed} passed${skips}`;
  print(`${failed > 0 ? 'FAIL' : 'ok  '} ${nameOf(path)} (${summary}, ${seconds.toFixed(1)} s)`);
  for (const line of lines) print(`     ${line}`);
}

/** Runs test files with a few workers. */
class Suite {
  readonly #queue: string[];
  readonly #running = new Set<TestFile>();
  readonly #counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  #stopped = false;

  constructor(paths: readonly string[]) {
    this.#queue = [...paths];
  }

  async run(env: NodeJS.ProcessEnv): Promise<Counts> {
    // Tests spend more time waiting for servers and timers than computing.
    const jobs = Math.min(MAX_JOBS, availableParallelism() + 2);
    await Promise.all(Array.from({ length: jobs }, async () => this.#work(env)));
    return this.#counts;
  }

  /** Kills the running files and starts no others. */
  stop(): void {
    this.#stopped = true;
    this.#queue.length = 0;
    for (const file of this.#running) file.kill();
  }

  async #work(env: NodeJS.ProcessEnv): Promise<void> {
    for (let path = this.#queue.shift(); path !== undefined; path = this.#queue.shift()) {
      const file = new TestFile(path);
      this.#running.add(file);
      const result = await file.run(env);
      this.#running.delete(file);
      if (this.#stopped) return;
      report(path, result);
      for (const count of ['passed', 'failed', 'skipped'] as const) this.#counts[count] += result[count];
    }
  }
}

/** Returns the environment for tests: this process's, without npm's variables. */
function environment(additions: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name));
  return { ...Object.fromEntries(inherited), ...additions };
}

/** A folder of Linux whose files are in memory, and how much must be free there, bytes. */
const MEMORY_FOLDER = '/dev/shm';
const MIN_FREE_MEMORY_BYTES = 2 ** 31;

/**
 * Returns the folder for PostgreSQL's data and many small files: in memory, if there is enough. Each of some 350 tests
 * has a database of its own, and a disk needs four times the processor time to create and delete its files.
 */
async function memoryFolder(otherwise: string): Promise<string> {
  try {
    const { bavail, bsize } = await statfs(MEMORY_FOLDER);
    if (bavail * bsize < MIN_FREE_MEMORY_BYTES) return otherwise;
    return await mkdtemp(join(MEMORY_FOLDER, 'piw-test-'));
  } catch {
    return otherwise;
  }
}

/** Runs the files with the servers, until `interrupted` is aborted. */
async function runWithServers(files: readonly string[], interrupted: AbortSignal): Promise<Counts> {
  const folder = await mkdtemp(join(tmpdir(), 'piw-test-'));
  const data = await memoryFolder(folder);
  try {
    // Servers and builds run as an unprivileged user when this runs as root.
    const temporary = join(folder, 'tmp');
    await mkdir(temporary);
    await chmod(folder, 0o755);
    await chmod(data, 0o755);
    await chmod(temporary, 0o1777);
    const filesInMemory = join(data, 'files');
    await mkdir(filesInMemory);
    await chmod(filesInMemory, 0o1777);
    const servers = await startServers(folder, print, data);
    try {
      const suite = new Suite(files.map((file) => join(HERE, file)));
      interrupted.addEventListener('abort', () => {
        suite.stop();
      });
      interrupted.throwIfAborted();
      return await suite.run(
        environment({
          PIW_TEST_NATS: servers.nats,
          PIW_TEST_DSN: servers.dsn,
          PIW_TEST_MEMORY: filesInMemory,
          TMPDIR: temporary,
        }),
      );
    } finally {
      await servers.stop();
    }
  } finally {
    for (const path of new Set([folder, data]))
      await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

function printTotals({ passed, failed, skipped }: Counts): void {
  print(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
}

async function main(parts: readonly string[]): Promise<number> {
  const option = parts.find((part) => part.startsWith('-'));
  if (option !== undefined) {
    print(`Unknown option ${option}. Usage: npm test -- [PART OF A PATH…]`);
    return 2;
  }
  const interruption = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      interruption.abort(signal);
    });
  }
  const files = await findTestFiles(parts);
  if (files.length === 0) print(`No test file has ${parts.join(' or ')} in its path.`);
  let counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  try {
    if (files.length > 0) counts = await runWithServers(files, interruption.signal);
  } catch (error) {
    if (!interruption.signal.aborted) {
      print(error instanceof PiwError ? error.message : String(error instanceof Error ? error.stack : error));
      counts.failed += 1;
    }
  }
  if (interruption.signal.aborted) {
    print('Interrupted.');
    return 128 + constants.signals[interruption.signal.reason as NodeJS.Signals];
  }
  printTotals(counts);
  return counts.failed === 0 && counts.passed > 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
