import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PiwError, errorMessage } from '../errors.js';
import type { BuildDetails, Provenance } from '../protocols/fields.js';
import { toSentence } from '../states/build-details.js';
import type { FailureClass } from '../states/failure.js';
import type { FileState } from '../states/file-state.js';
import { normalise, parseRequirement, type PackageName } from '../wheels/names.js';
import { isPep440, sameVersion } from '../wheels/versions.js';
import { describeWheel } from '../wheels/wheel.js';
import { resolveIndexAccess, redactSecrets, type IndexAccess } from './access.js';
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
import { describeMissingParts, type BuiltWheel } from './incomplete.js';
import type { Interpreter } from './interpreter.js';
import { pipCommand, writeLauncher } from './launcher.js';
import { DEFAULT_BUILD_LIMITS, failureForTermination, type BuildLimits } from './limits.js';
import { inspectNativeCode } from './natives.js';
import { oomKills } from './oom.js';
import { provenanceOf } from './provenance.js';
import { runBuildProcess, type RunResult } from './run.js';
import type { Confinement } from './sandbox.js';
import { MISSING_TOOL_MESSAGES, type MissingTool } from './toolchain.js';

export interface BuilderOptions {
  readonly interpreter: Interpreter;
  /** Where the folders of builds are made; other builders may use it at the same time. */
  readonly workDir: string;
  /** How pip reaches the index: what of the environment is handed to builds. */
  readonly env: Readonly<Record<string, string>>;
  /** Folders of further programs that builds may use, as a Rust compiler's: absolute. */
  readonly programs?: readonly string[];
  readonly log: (line: string) => void;
  readonly confinement: Confinement;
  /** What this slave was found to lack: what fails for it is no fault of the package. */
  readonly missingTools?: readonly MissingTool[];
  /** What is not given is as in DEFAULT_LIMITS. */
  readonly limits?: Partial<BuildLimits>;
}

export interface BuildRequest {
  readonly package: string;
  readonly version: string;
  /** Addresses of simple indexes; user and password may be in them. */
  readonly indexUrl: string;
  /** With spaces between, if there are several. */
  readonly extraIndexUrl: string | null;
  /** Of the source that is to be built, 64 hex digits; null where the master knows none. */
  readonly sdistSha256: string | null;
  /** Wall time, milliseconds. */
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
  readonly failureClass: FailureClass | null;
  readonly durationS: number;
  /** The log; of a failure, its last line begins with `piw: ` and says why in a sentence. */
  readonly output: string;
  readonly details: BuildDetails;
  readonly files: readonly BuiltFile[];
}

/** How long the index's own word is waited for after a failure, milliseconds. */
const INDEX_CHECK_TIMEOUT_MS = 60_000;

/** A message that tells of a build holds no more (Files in protocols/fields.ts). */
const MAX_WHEELS = 100;

/** The classes that pip's output can't tell from an index that is out of order. */
const AMBIGUOUS_CLASSES: readonly FailureClass[] = ['no-sdist', 'build-requirement'];

/** Builds one version of one package at a time, with pip, in a folder that is new each time. */
export class Builder {
  readonly #options: BuilderOptions;
  readonly #limits: BuildLimits;
  #folder: BuildFolder | undefined;

  constructor(options: BuilderOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_BUILD_LIMITS, ...options.limits };
  }

  /**
   * The result of a build. Whatever goes wrong with a package is its result, with a class and the whole
   * log, and no error. Its files are there until clean(). Raises, because no build can be made here:
   * PIW_BAD_REQUIREMENT, PIW_DISK_FULL, PIW_NOT_WRITABLE, PIW_NO_PYTHON, PIW_CONFIG.
   */
  async build(request: BuildRequest): Promise<BuildResult> {
    const { interpreter, workDir, env, programs = [], log, confinement } = this.#options;
    const { name } = parseRequirement(`${request.package}==${request.version}`);
    await this.clean();
    for (const trouble of await wipeLeftovers(workDir)) log(trouble);
    let access: IndexAccess;
    try {
      access = resolveIndexAccess({ ...request, env, pythonVersion: interpreter.version });
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      return toBuildResult(request, 0, '', { failureClass: 'index', sentence: error.message });
    }
    const folder = await BuildFolder.create(workDir, {
      ...{ interpreter, programs, extraEnv: pipEnvironment(env, access), mountPoint: confinement.mountPoint },
    });
    this.#folder = folder;
    if (access.netrc !== '') await folder.write('home/.netrc', access.netrc);
    const redact = (text: string): string => redactSecrets(text, access.secrets);
    const began = performance.now();
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
    const durationS = (performance.now() - began) / 1000;
    const evidence: Evidence = {
      ...{ name, version: request.version, output: result.output, oomKilled },
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
    const head = notice === undefined ? '' : `${notice}\n`;
    const provenance = await provenanceOf(folder.path, result.output, interpreter);
    return toBuildResult(request, durationS, `${head}${result.output}`, outcome, provenance);
  }

  /** Ends what is left of the last build, and removes its folder. */
  async clean(): Promise<void> {
    const folder = this.#folder;
    this.#folder = undefined;
    await folder?.wipe().catch((error: unknown) => {
      // The next start of a slave tries again.
      this.#options.log(`${folder.path} could not be removed: ${errorMessage(error)}`);
    });
  }

  /** Runs pip in the build's folder; what it says is heard and kept without the secrets. */
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
    // It says nothing itself once a build has begun, and pip never begins so.
    if (command !== path && result.code === 1 && result.output.startsWith('bwrap: '))
      throw new PiwError('PIW_CONFIG', `the sandbox can't be made: ${result.output.trim().slice(0, 200)}`);
    if (result.survivors.length > 0) log(`could not be killed: processes ${result.survivors.join(', ')}`);
    return { ...result, output: redact(result.output) };
  }

  /** Why pip failed, by its log; by the index itself where pip would say the same whether it answers or not. */
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
      return { failureClass: 'index', sentence: 'the index lists nothing of it, whose source is known' };
    return indexFailure(pipOutput) ?? failure;
  }
}

/** The same, unless the slave is at fault: it lacks what the build failed for. */
function attributeToMissingTool(
  outcome: Failure | SuccessfulBuild,
  missingTools: readonly MissingTool[],
): Failure | SuccessfulBuild {
  if (!('failureClass' in outcome)) return outcome;
  const { failureClass, sentence } = outcome;
  const missingTool = missingTools.find((one) =>
    one === 'compiler'
      ? ['compiler', 'missing-header'].includes(failureClass)
      : failureClass === 'missing-header' && sentence.includes(' Python.h'),
  );
  if (missingTool === undefined) return outcome;
  return {
    failureClass: 'no-compiler',
    sentence: `the slave is at fault: ${MISSING_TOOL_MESSAGES[missingTool]}`,
  };
}

function toBuildResult(
  request: BuildRequest,
  durationS: number,
  output: string,
  outcome: Failure | SuccessfulBuild,
  provenance: Provenance | null = null,
): BuildResult {
  if (!('failureClass' in outcome))
    return {
      ...{ status: true, failureClass: null, durationS, output, files: outcome.files },
      details: {
        reason: null,
        provenance,
        remark: outcome.remark === null ? null : toSentence(outcome.remark),
      },
    };
  const last = `piw: ${request.package} ${request.version} was not built: ${outcome.sentence}`;
  return {
    status: false,
    failureClass: outcome.failureClass,
    durationS,
    output: `${output.trim() === '' ? '' : `${output.trimEnd()}\n`}${last}\n`,
    details: { remark: null, provenance, reason: toSentence(outcome.sentence) },
    files: [],
  };
}

/** What is known of a build from the way in which it ended; `starved`: whether the kernel wanted memory meanwhile. */
function failureFromExit(
  { termination, signal }: RunResult,
  limits: BuildLimits,
  timeoutMs: number,
  oomKilled: boolean | undefined,
): Failure | undefined {
  if (termination !== undefined) return failureForTermination(termination, limits, timeoutMs);
  if (signal === 'SIGKILL' && oomKilled !== false) {
    const how = oomKilled ? 'for' : 'most likely for';
    return { failureClass: 'memory', sentence: `the system killed it, ${how} want of memory` };
  }
  return signal === null ? undefined : { failureClass: 'killed', sentence: `${signal} ended it` };
}

/** What a build has made, and what it lacks. */
interface SuccessfulBuild {
  readonly files: readonly BuiltFile[];
  readonly remark: string | null;
}

/** The wheels that a build has made, each opened and found to be what it is named. */
async function collectWheels(folder: BuildFolder, evidence: Evidence): Promise<Failure | SuccessfulBuild> {
  const { name, version } = evidence;
  // The build could write here, too: what is no file, or a link to one, is not looked at.
  const entries = await readdir(folder.wheelDir, { withFileTypes: true }).catch(() => []);
  const filenames = entries.flatMap((entry) =>
    entry.isFile() && entry.name.endsWith('.whl') ? [entry.name] : [],
  );
  if (filenames.length === 0)
    return { failureClass: 'no-wheel', sentence: 'pip ended well, but made no wheel' };
  if (filenames.length > MAX_WHEELS) {
    const sentence = `it made ${String(filenames.length)} wheels, and ${String(MAX_WHEELS)} are the most`;
    return { failureClass: 'wrong-wheel', sentence };
  }
  try {
    const files: BuiltFile[] = [];
    const builtWheels: BuiltWheel[] = [];
    for (const filename of filenames.sort()) {
      const path = join(folder.wheelDir, filename);
      const file = await describeWheel(path);
      // In a filename, `-` is `_`.
      const wheelVersion = file.package_version_tag.replaceAll('_', '-');
      if (normalise(file.package_tag) !== name || !sameVersion(wheelVersion, version.replaceAll('_', '-')))
        throw new PiwError('PIW_BAD_WHEEL', `${filename} is not of ${name} ${version}`);
      const { dependencies, compiled } = await folder.withScratchFolder((scratch) =>
        inspectNativeCode(path, scratch),
      );
      files.push({ ...file, dependencies, path });
      builtWheels.push({ file, compiled });
    }
    return { files, remark: describeMissingParts(builtWheels, evidence) };
  } catch (error) {
    if (!(error instanceof PiwError) || error.code !== 'PIW_BAD_WHEEL') throw error;
    return { failureClass: 'wrong-wheel', sentence: error.message };
  }
}
