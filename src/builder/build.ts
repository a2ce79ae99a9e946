import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PiwError, reason } from '../errors.js';
import type { FileState } from '../states/file-state.js';
import { describeWheel } from '../wheels/wheel.js';
import { pipArguments, pipEnvironment } from './command.js';
import { BuildFolder, wipeLeftovers } from './environment.js';
import { diagnose, type Failure } from './failure.js';
import type { Interpreter } from './interpreter.js';
import { run, type RunResult } from './run.js';

export interface BuilderOptions {
  readonly interpreter: Interpreter;
  /** Where the folders of builds are made. */
  readonly workDir: string;
  /** How pip reaches the index: what of the environment is handed to builds. */
  readonly env: Readonly<Record<string, string>>;
  readonly log: (line: string) => void;
  /** Bytes of a build's log that are kept. Default 16 MB. */
  readonly logLimit?: number;
}

export interface BuildRequest {
  readonly package: string;
  readonly version: string;
  readonly indexUrl: string;
  readonly extraIndexUrl: string | null;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Each line of the log as it is written. */
  readonly onLine: (line: string) => void;
}

export interface BuiltFile extends FileState {
  readonly path: string;
}

export interface BuildResult {
  readonly status: boolean;
  readonly failureClass: string | null;
  readonly durationS: number;
  readonly output: string;
  readonly files: readonly BuiltFile[];
}

/** Builds one version of one package at a time, with pip, in a folder that is new each time. */
export class Builder {
  readonly #options: BuilderOptions;
  #folder: BuildFolder | undefined;

  constructor(options: BuilderOptions) {
    this.#options = options;
  }

  /**
   * The result of a build, which is never an error: whatever goes wrong with a package is its result,
   * with a class and the whole log. Its files are there until clean().
   */
  async build(request: BuildRequest): Promise<BuildResult> {
    const { interpreter, workDir, env, logLimit } = this.#options;
    await this.clean();
    await wipeLeftovers(workDir);
    const folder = await BuildFolder.create(workDir, interpreter.path, env);
    this.#folder = folder;
    const pip = { ...request, wheels: folder.wheels };
    const began = performance.now();
    const result = await run({
      command: interpreter.path,
      args: pipArguments(pip),
      cwd: folder.path,
      env: { ...folder.env, ...pipEnvironment(pip) },
      mark: folder.mark,
      timeoutMs: request.timeoutMs,
      logLimit: logLimit ?? 16 * 1024 * 1024,
      signal: request.signal,
      onLine: (line) => {
        request.onLine(hideSecrets(line));
      },
    });
    const durationS = (performance.now() - began) / 1000;
    const output = hideSecrets(result.output);
    const failed = (failure: Failure): BuildResult => ({
      status: false,
      failureClass: failure.failureClass,
      durationS,
      output: `${output.trimEnd()}\npiw: ${request.package} ${request.version} was not built: ${failure.sentence}\n`,
      files: [],
    });
    const failure = failureOf(result, request.timeoutMs);
    if (failure) return failed(failure);
    try {
      const files = await built(folder.wheels);
      if (files.length === 0)
        return failed({ failureClass: 'no-wheel', sentence: 'pip ended well, but made no wheel' });
      return { status: true, failureClass: null, durationS, output, files };
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      return failed({ failureClass: 'wrong-wheel', sentence: error.message });
    }
  }

  /** Wipes the folder of the last build. */
  async clean(): Promise<void> {
    const folder = this.#folder;
    this.#folder = undefined;
    await folder?.wipe().catch((error: unknown) => {
      // The next build tries again.
      this.#options.log(`${folder.path} could not be removed: ${reason(error)}`);
    });
  }
}

function failureOf(result: RunResult, timeoutMs: number): Failure | undefined {
  if (result.ended === 'timeout') {
    return {
      failureClass: 'timeout',
      sentence: `it took more than ${String(Math.round(timeoutMs / 1000))} s`,
    };
  }
  if (result.ended === 'killed') return { failureClass: 'killed', sentence: 'it was told to end' };
  if (result.signal === 'SIGKILL')
    return { failureClass: 'memory', sentence: 'the system killed it, most likely for want of memory' };
  if (result.signal !== null) return { failureClass: 'killed', sentence: `${result.signal} ended it` };
  return result.code === 0 ? undefined : diagnose(result.output);
}

async function built(folder: string): Promise<readonly BuiltFile[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.whl')).sort();
  return await Promise.all(
    names.map(async (name) => ({ ...(await describeWheel(join(folder, name))), path: join(folder, name) })),
  );
}

/** pip hides passwords itself; what a build prints of its environment is another matter. */
function hideSecrets(text: string): string {
  return text.replace(/(https?:\/\/)[^\s/@:]+:[^\s/@]+@/g, '$1****@');
}
