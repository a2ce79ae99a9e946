import { PiwError, rethrowUnexpected } from '../errors.js';
import type { FailureClass } from '../failures/classes.js';
import type { LogMethod } from '../log.js';
import { parseRequirement, type PackageName } from '../wheels/names.js';
import { isPep440 } from '../wheels/versions.js';
import { resolveIndexAccess, redactSecrets, type IndexAccess } from './access.js';
import { collectWheels } from './built-wheels.js';
import {
  pipWheelArguments,
  pipIndexVersionsArguments,
  pipEnvironment,
  requirementsFileText,
} from './command.js';
import { BuildFolder, wipeLeftovers } from './environment.js';
import { diagnose, type Evidence, type Failure } from './failure.js';
import { pipCommandWithIsolatedHooks } from './hooks.js';
import { indexFailure, listsNoFiles } from './index-check.js';
import type { Interpreter } from './interpreter.js';
import { pipCommand, writeLauncher } from './launcher.js';
import { DEFAULT_BUILD_LIMITS, type BuildLimits } from './limits.js';
import { oomKills } from './oom.js';
import { attributeToMissingTool, failureFromExit, toBuildResult, type BuildResult } from './outcome.js';
import { provenanceOf } from './provenance.js';
import { runBuildProcess, type RunResult } from './run.js';
import type { Confinement } from './sandbox.js';
import type { MissingTool } from './toolchain.js';

export interface BuilderOptions {
  readonly interpreter: Interpreter;
  /** The folder in which build folders are created; several builders can share it. */
  readonly workDir: string;
  /** The variables that builds get from the slave: how pip reaches the index. */
  readonly env: Readonly<Record<string, string>>;
  /** Absolute folders with further programs for builds, e.g. a Rust compiler. */
  readonly programs?: readonly string[];
  readonly log: LogMethod;
  readonly confinement: Confinement;
  /** The tools that this slave lacks: a build that fails for lack of them is not the package's fault. */
  readonly missingTools?: readonly MissingTool[];
  /** Overrides of DEFAULT_BUILD_LIMITS. */
  readonly limits?: Partial<BuildLimits>;
}

export interface BuildRequest {
  readonly package: string;
  readonly version: string;
  /** The address of a simple index; may contain user and password. */
  readonly indexUrl: string;
  /** Further addresses, separated by spaces. */
  readonly extraIndexUrl: string | null;
  /** The hash of the source to build, 64 hex digits; null if the master does not know it. */
  readonly sdistSha256: string | null;
  /** Wall time, milliseconds. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Called with each line of the log as it is written. */
  readonly onLine: (line: string) => void;
}

/** How long to wait for the index's answer when it is checked after a failure. */
const INDEX_CHECK_TIMEOUT_MS = 60_000;

/** The failures for which pip's output is the same when the index is out of order. */
const AMBIGUOUS_CLASSES: readonly FailureClass[] = ['no-sdist', 'build-requirement'];

/** Builds one version of one package at a time with pip, each in a new folder. */
export class Builder {
  readonly #options: BuilderOptions;
  readonly #limits: BuildLimits;
  #folder: BuildFolder | undefined;

  constructor(options: BuilderOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_BUILD_LIMITS, ...options.limits };
  }

  /**
   * Builds and returns the result, whose files exist until clean(). A build that fails is a result, too, with its
   * failure class and log. Throws only if this slave can't build: PIW_BAD_REQUIREMENT, PIW_DISK_FULL,
   * PIW_NOT_WRITABLE, PIW_NO_PYTHON, PIW_CONFIG.
   */
  async build(request: BuildRequest): Promise<BuildResult> {
    const { interpreter, workDir, env, programs = [], log, confinement } = this.#options;
    const { name } = parseRequirement(`${request.package}==${request.version}`);
    await this.clean();
    await wipeLeftovers(workDir, log);
    let access: IndexAccess;
    try {
      access = resolveIndexAccess({ ...request, env, pythonVersion: interpreter.version });
    } catch (error) {
      rethrowUnexpected(error);
      return toBuildResult(request, 0, '', { failureClass: 'index', sentence: error.message });
    }
    const folder = await BuildFolder.create(workDir, {
      interpreter,
      programs,
      extraEnv: pipEnvironment(env, access),
      mountPoint: confinement.mountPoint,
    });
    this.#folder = folder;
    if (access.netrc !== '') await folder.write('home/.netrc', access.netrc);
    const redact = (text: string): string => redactSecrets(text, access.secrets);
    const startedAt = performance.now();
    const requirements = await folder.write(
      'requirements.txt',
      requirementsFileText(name, request.version, request.sdistSha256),
    );
    const args = pipWheelArguments({ package: name, requirements, wheelDir: folder.pathInBuild('wheels') });
    const { notice } = confinement;
    if (notice !== undefined) request.onLine(notice);
    const oomKillsBefore = await oomKills();
    const result = await this.#runPip(folder, name, args, request, redact);
    const oomKillsAfter = await oomKills();
    const oomKilled =
      oomKillsBefore === undefined || oomKillsAfter === undefined
        ? undefined
        : oomKillsAfter > oomKillsBefore;
    const durationS = (performance.now() - startedAt) / 1000;
    const evidence: Evidence = {
      name,
      version: request.version,
      output: result.output,
      oomKilled,
      implementation: interpreter.implementation,
      offline: this.#options.confinement.hookPrefix !== undefined,
    };
    const failure =
      failureFromExit(result, this.#limits, request.timeoutMs, oomKilled) ??
      (result.code === 0 ? undefined : await this.#diagnoseFailure(evidence, request, folder));
    const outcome = attributeToMissingTool(
      failure ?? (await collectWheels(folder, evidence)),
      this.#options.missingTools ?? [],
    );
    const firstLine = notice === undefined ? '' : `${notice}\n`;
    const provenance = await provenanceOf(folder.path, result.output, interpreter);
    return toBuildResult(request, durationS, `${firstLine}${result.output}`, outcome, provenance);
  }

  /** Kills the remaining processes of the last build, and removes its folder. */
  async clean(): Promise<void> {
    const folder = this.#folder;
    this.#folder = undefined;
    await folder?.wipe().catch((error: unknown) => {
      // The next start of a slave tries again.
      this.#options.log('cannot remove a folder', { path: folder.path }, error);
    });
  }

  /** Runs pip in the build's folder; redacts secrets in its output. */
  async #runPip(
    folder: BuildFolder,
    name: PackageName,
    args: readonly string[],
    { timeoutMs, signal, onLine }: Pick<BuildRequest, 'timeoutMs' | 'signal' | 'onLine'>,
    redact: (text: string) => string,
  ): Promise<RunResult> {
    const { interpreter, log, confinement } = this.#options;
    const { path } = interpreter;
    const { hookPrefix } = confinement;
    const pip =
      hookPrefix === undefined
        ? pipCommand(path, await folder.mapDiskErrors(() => writeLauncher(folder.path)), name)
        : await folder.mapDiskErrors(() => pipCommandWithIsolatedHooks(folder.path, path, name, hookPrefix));
    const [command = path, ...rest] = [...confinement.commandPrefix(folder.path), ...pip, ...args];
    const result = await runBuildProcess({
      command,
      args: rest,
      folder: folder.path,
      env: folder.env,
      timeoutMs,
      limits: this.#limits,
      signal,
      onLine: (line) => {
        onLine(redact(line));
      },
    });
    // bubblewrap prints nothing once a build has begun, and pip's output never begins like this.
    if (command !== path && result.code === 1 && result.output.startsWith('bwrap: '))
      throw new PiwError('PIW_CONFIG', `cannot create the sandbox: ${result.output.trim().slice(0, 200)}`);
    if (result.survivors.length > 0)
      log('cannot kill processes of a build', { pids: result.survivors.map(String) });
    return { ...result, output: redact(result.output) };
  }

  /** Returns why pip failed, by its log; asks the index if pip's output is the same whether it answers or not. */
  async #diagnoseFailure(
    evidence: Evidence,
    { version, sdistSha256, signal }: BuildRequest,
    folder: BuildFolder,
  ): Promise<Failure> {
    const failure = diagnose(evidence);
    const missingRequirement = /No matching distribution found for ([A-Za-z0-9._-]{1,200})/.exec(
      evidence.output,
    )?.[1];
    if (!AMBIGUOUS_CLASSES.includes(failure.failureClass) || missingRequirement === undefined) return failure;
    const checkOptions = { timeoutMs: INDEX_CHECK_TIMEOUT_MS, signal, onLine: () => undefined };
    const { output: pipOutput } = await this.#runPip(
      folder,
      evidence.name,
      pipIndexVersionsArguments(missingRequirement),
      checkOptions,
      (text) => text,
    );
    const sourceIsKnown = sdistSha256 !== null && failure.failureClass === 'no-sdist' && isPep440(version);
    if (sourceIsKnown && listsNoFiles(pipOutput))
      return {
        failureClass: 'index',
        sentence: 'the index lists no files of it, although its source is known',
      };
    return indexFailure(pipOutput) ?? failure;
  }
}
