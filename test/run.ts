/**
 * The test runner, which `npm test` runs: `npm test -- [PART OF A PATH…]`.
 *
 * It starts one nats-server and one PostgreSQL of its own, as a farm does, and runs each compiled
 * *.test.js in a process of its own, some at a time, with their addresses in the environment:
 *
 *   PIW_TEST_NATS  a nats:// URL with the credentials of a user who may do everything
 *   PIW_TEST_DSN   a postgresql:// URL of a role that may create databases and roles
 *   TMPDIR         a folder that is removed at the end
 *
 * The last line is `N passed, N failed` (and `, N skipped` if there are). It exits with 0 if tests ran and
 * none failed, with 130 or 143 when it was interrupted, and with 1 otherwise. Whatever happens, it stops
 * what it has started.
 */
import { chmod, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { availableParallelism, constants, tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PiwError } from '../src/errors.js';
import { startServers } from './helpers/servers.js';
import { type TestFileResult, TestFile } from './helpers/test-file.js';

const HERE = fileURLToPath(new URL('.', import.meta.url));
/** Not the tests of the suite: they take long, or are what tests work on. */
const ELSEWHERE = ['bench', 'chaos', 'fixtures'];
const MAX_JOBS = 4;

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** The compiled test files, as paths below test/, whose path contains one of `parts`, or all of them. */
async function find(parts: readonly string[]): Promise<string[]> {
  const entries = await readdir(HERE, { recursive: true });
  return entries
    .filter((path) => path.endsWith('.test.js') && !ELSEWHERE.includes(path.split(sep)[0] ?? ''))
    .filter((path) => parts.length === 0 || parts.some((part) => path.includes(part)))
    .sort();
}

function nameOf(path: string): string {
  return relative(HERE, path).replace(/\.test\.js$/, '');
}

function tell(path: string, { passed, failed, skipped, seconds, report }: TestFileResult): void {
  const skips = skipped > 0 ? `, ${skipped} skipped` : '';
  const what = failed > 0 ? `${passed} passed, ${failed} failed${skips}` : `${passed} passed${skips}`;
  say(`${failed > 0 ? 'FAIL' : 'ok  '} ${nameOf(path)} (${what}, ${seconds.toFixed(1)} s)`);
  for (const line of report) say(`     ${line}`);
}

/** The run of a suite: files, taken by a few workers. */
class Suite {
  readonly #waiting: string[];
  readonly #running = new Set<TestFile>();
  readonly #counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  #stopped = false;

  constructor(paths: readonly string[]) {
    this.#waiting = [...paths];
  }

  async run(env: NodeJS.ProcessEnv): Promise<Counts> {
    // Tests wait for servers and clocks more than they compute.
    const jobs = Math.min(MAX_JOBS, availableParallelism() + 1);
    await Promise.all(Array.from({ length: jobs }, async () => this.#work(env)));
    return this.#counts;
  }

  /** Ends the running files; no other begins. */
  stop(): void {
    this.#stopped = true;
    this.#waiting.length = 0;
    for (const file of this.#running) file.kill();
  }

  async #work(env: NodeJS.ProcessEnv): Promise<void> {
    for (let path = this.#waiting.shift(); path !== undefined; path = this.#waiting.shift()) {
      const file = new TestFile(path);
      this.#running.add(file);
      const outcome = await file.run(env);
      this.#running.delete(file);
      if (this.#stopped) return;
      tell(path, outcome);
      for (const count of ['passed', 'failed', 'skipped'] as const) this.#counts[count] += outcome[count];
    }
  }
}

/** The environment of a test: ours, without what npm has put into it. */
function environment(additions: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const ours = Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name));
  return { ...Object.fromEntries(ours), ...additions };
}

/** Runs the files with the servers; `interrupted` fires when it is to end early. */
async function runWithServers(files: readonly string[], interrupted: AbortSignal): Promise<Counts> {
  const folder = await mkdtemp(join(tmpdir(), 'piw-test-'));
  try {
    // Servers and builds run as an unprivileged user when this runs as root.
    const temporary = join(folder, 'tmp');
    await mkdir(temporary);
    await chmod(folder, 0o755);
    await chmod(temporary, 0o1777);
    const servers = await startServers(folder, say);
    try {
      const suite = new Suite(files.map((file) => join(HERE, file)));
      interrupted.addEventListener('abort', () => {
        suite.stop();
      });
      interrupted.throwIfAborted();
      return await suite.run(
        environment({ PIW_TEST_NATS: servers.nats, PIW_TEST_DSN: servers.dsn, TMPDIR: temporary }),
      );
    } finally {
      await servers.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

function close({ passed, failed, skipped }: Counts): void {
  say(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
}

async function main(parts: readonly string[]): Promise<number> {
  const option = parts.find((part) => part.startsWith('-'));
  if (option !== undefined) {
    say(`Unknown option ${option}. Usage: npm test -- [PART OF A PATH…]`);
    return 2;
  }
  const interruption = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      interruption.abort(signal);
    });
  }
  const files = await find(parts);
  if (files.length === 0) say(`No test file has ${parts.join(' or ')} in its path.`);
  let counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  try {
    if (files.length > 0) counts = await runWithServers(files, interruption.signal);
  } catch (error) {
    if (!interruption.signal.aborted) {
      say(error instanceof PiwError ? error.message : String(error instanceof Error ? error.stack : error));
      counts.failed += 1;
    }
  }
  if (interruption.signal.aborted) {
    say('Interrupted.');
    return 128 + constants.signals[interruption.signal.reason as NodeJS.Signals];
  }
  close(counts);
  return counts.failed === 0 && counts.passed > 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
