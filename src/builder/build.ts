import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PiwError, reason } from '../errors.js';
import type { BuildDetails, Provenance } from '../protocols/fields.js';
import { sentenceOf } from '../states/build-details.js';
import type { FailureClass } from '../states/failure.js';
import type { FileState } from '../states/file-state.js';
import { normalise, parseRequirement, type PackageName } from '../wheels/names.js';
import { isPep440, sameVersion } from '../wheels/versions.js';
import { describeWheel } from '../wheels/wheel.js';
import { accessTo, hideSecrets, type Access } from './access.js';
import { buildArguments, lookArguments, pipEnvironment, requirementsFor } from './command.js';
import { BuildFolder, wipeLeftovers } from './environment.js';
import { diagnose, type Evidence, type Failure } from './failure.js';
import { pipWithWalls } from './hooks.js';
import { indexTrouble, listsNothing } from './index-check.js';
import { missingParts, type MadeWheel } from './incomplete.js';
import type { Interpreter } from './interpreter.js';
import { pipCommand, writeLauncher } from './launcher.js';
import { DEFAULT_LIMITS, failureOf, type Limits } from './limits.js';
import { nativeParts } from './natives.js';
import { oomKills } from './oom.js';
import { provenanceOf } from './provenance.js';
import { run, type RunResult } from './run.js';
import type { Confinement } from './sandbox.js';
import { LACKS, type Lack } from './toolchain.js';

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
  readonly lacks?: readonly Lack[];
  /** What is not given is as in DEFAULT_LIMITS. */
  readonly limits?: Partial<Limits>;
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
const LOOK_MS = 60_000;

/** A message that tells of a build holds no more (Files in protocols/fields.ts). */
const MOST_WHEELS = 100;

/** The classes that pip's output can't tell from an index that is out of order. */
const UNSURE: readonly FailureClass[] = ['no-sdist', 'build-requirement'];

/** Builds one version of one package at a time, with pip, in a folder that is new each time. */
export class Builder {
  readonly #options: BuilderOptions;
  readonly #limits: Limits;
  #folder: BuildFolder | undefined;

  constructor(options: BuilderOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
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
    let access: Access;
    try {
      access = accessTo({ ...request, env, pythonVersion: interpreter.version });
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      return resultOf(request, 0, '', { failureClass: 'index', sentence: error.message });
    }
    const folder = await BuildFolder.create(workDir, {
      ...{ interpreter, programs, given: pipEnvironment(env, access), seenAt: confinement.seenAt },
    });
    this.#folder = folder;
    if (access.netrc !== '') await folder.write('home/.netrc', access.netrc);
    const hide = (text: string): string => hideSecrets(text, access.secrets);
    const began = performance.now();
    const requirements = await folder.write(
      'requirements.txt',
      requirementsFor(name, request.version, request.sdistSha256),
    );
    const args = buildArguments({ package: name, requirements, wheels: folder.seen('wheels') });
    const { notice } = confinement;
    if (notice !== undefined) request.onLine(notice);
    const killed = await oomKills();
    const result = await this.#pip(folder, name, args, request, hide);
    const killedSince = await oomKills();
    const starved = killed === undefined || killedSince === undefined ? undefined : killedSince > killed;
    const durationS = (performance.now() - began) / 1000;
    const evidence: Evidence = {
      ...{ name, version: request.version, output: result.output, starved },
      implementation: interpreter.implementation,
      cutOff: this.#options.confinement.hooks !== undefined,
    };
    const failure =
      endOf(result, this.#limits, request.timeoutMs, starved) ??
      (result.code === 0 ? undefined : await this.#failureOf(evidence, request, folder));
    const found = withLack(failure ?? (await wheelsIn(folder, evidence)), this.#options.lacks ?? []);
    const head = notice === undefined ? '' : `${notice}\n`;
    const provenance = await provenanceOf(folder.path, result.output, interpreter);
    return resultOf(request, durationS, `${head}${result.output}`, found, provenance);
  }

  /** Ends what is left of the last build, and removes its folder. */
  async clean(): Promise<void> {
    const folder = this.#folder;
    this.#folder = undefined;
    await folder?.wipe().catch((error: unknown) => {
      // The next start of a slave tries again.
      this.#options.log(`${folder.path} could not be removed: ${reason(error)}`);
    });
  }

  /** Runs pip in the build's folder; what it says is heard and kept without the secrets. */
  async #pip(
    folder: BuildFolder,
    name: PackageName,
    args: readonly string[],
    { timeoutMs, signal, onLine }: Pick<BuildRequest, 'timeoutMs' | 'signal' | 'onLine'>,
    hide: (text: string) => string,
  ): Promise<RunResult> {
    const { interpreter, log, confinement } = this.#options;
    const { path } = interpreter;
    const { hooks } = confinement;
    const pip =
      hooks === undefined
        ? pipCommand(path, await folder.making(() => writeLauncher(folder.path)), name)
        : await folder.making(() => pipWithWalls(folder.path, path, name, hooks));
    const [command = path, ...rest] = [...confinement.around(folder.path), ...pip, ...args];
    const result = await run({
      command,
      args: rest,
      folder: folder.path,
      env: folder.env,
      timeoutMs,
      limits: this.#limits,
      signal,
      onLine: (line) => {
        onLine(hide(line));
      },
    });
    // It says nothing itself once a build has begun, and pip never begins so.
    if (command !== path && result.code === 1 && result.output.startsWith('bwrap: '))
      throw new PiwError('PIW_CONFIG', `the sandbox can't be made: ${result.output.trim().slice(0, 200)}`);
    if (result.survivors.length > 0) log(`could not be killed: processes ${result.survivors.join(', ')}`);
    return { ...result, output: hide(result.output) };
  }

  /** Why pip failed, by its log; by the index itself where pip would say the same whether it answers or not. */
  async #failureOf(
    evidence: Evidence,
    { version, sdistSha256, signal }: BuildRequest,
    folder: BuildFolder,
  ): Promise<Failure> {
    const failure = diagnose(evidence);
    const missing = /No matching distribution found for ([A-Za-z0-9._-]{1,200})/.exec(evidence.output)?.[1];
    if (!UNSURE.includes(failure.failureClass) || missing === undefined) return failure;
    const look = { timeoutMs: LOOK_MS, signal, onLine: () => undefined };
    const { output: said } = await this.#pip(
      folder,
      evidence.name,
      lookArguments(missing),
      look,
      (text) => text,
    );
    const known = sdistSha256 !== null && failure.failureClass === 'no-sdist' && isPep440(version);
    if (known && listsNothing(said))
      return { failureClass: 'index', sentence: 'the index lists nothing of it, whose source is known' };
    return indexTrouble(said) ?? failure;
  }
}

/** The same, unless the slave is at fault: it lacks what the build failed for. */
function withLack(found: Failure | Success, lacks: readonly Lack[]): Failure | Success {
  if (!('failureClass' in found)) return found;
  const { failureClass, sentence } = found;
  const lack = lacks.find((one) =>
    one === 'compiler'
      ? ['compiler', 'missing-header'].includes(failureClass)
      : failureClass === 'missing-header' && sentence.includes(' Python.h'),
  );
  if (lack === undefined) return found;
  return { failureClass: 'no-compiler', sentence: `the slave is at fault: ${LACKS[lack]}` };
}

function resultOf(
  request: BuildRequest,
  durationS: number,
  output: string,
  found: Failure | Success,
  provenance: Provenance | null = null,
): BuildResult {
  if (!('failureClass' in found))
    return {
      ...{ status: true, failureClass: null, durationS, output, files: found.files },
      details: { reason: null, provenance, remark: found.remark === null ? null : sentenceOf(found.remark) },
    };
  const last = `piw: ${request.package} ${request.version} was not built: ${found.sentence}`;
  return {
    status: false,
    failureClass: found.failureClass,
    durationS,
    output: `${output.trim() === '' ? '' : `${output.trimEnd()}\n`}${last}\n`,
    details: { remark: null, provenance, reason: sentenceOf(found.sentence) },
    files: [],
  };
}

/** What is known of a build from the way in which it ended; `starved`: whether the kernel wanted memory meanwhile. */
function endOf(
  { ended, signal }: RunResult,
  limits: Limits,
  timeoutMs: number,
  starved: boolean | undefined,
): Failure | undefined {
  if (ended !== undefined) return failureOf(ended, limits, timeoutMs);
  if (signal === 'SIGKILL' && starved !== false) {
    const how = starved ? 'for' : 'most likely for';
    return { failureClass: 'memory', sentence: `the system killed it, ${how} want of memory` };
  }
  return signal === null ? undefined : { failureClass: 'killed', sentence: `${signal} ended it` };
}

/** What a build has made, and what it lacks. */
interface Success {
  readonly files: readonly BuiltFile[];
  readonly remark: string | null;
}

/** The wheels that a build has made, each opened and found to be what it is named. */
async function wheelsIn(folder: BuildFolder, evidence: Evidence): Promise<Failure | Success> {
  const { name, version } = evidence;
  // The build could write here, too: what is no file, or a link to one, is not looked at.
  const entries = await readdir(folder.wheels, { withFileTypes: true }).catch(() => []);
  const filenames = entries.flatMap((entry) =>
    entry.isFile() && entry.name.endsWith('.whl') ? [entry.name] : [],
  );
  if (filenames.length === 0)
    return { failureClass: 'no-wheel', sentence: 'pip ended well, but made no wheel' };
  if (filenames.length > MOST_WHEELS) {
    const sentence = `it made ${String(filenames.length)} wheels, and ${String(MOST_WHEELS)} are the most`;
    return { failureClass: 'wrong-wheel', sentence };
  }
  try {
    const files: BuiltFile[] = [];
    const made: MadeWheel[] = [];
    for (const filename of filenames.sort()) {
      const path = join(folder.wheels, filename);
      const file = await describeWheel(path);
      // In a filename, `-` is `_`.
      const its = file.package_version_tag.replaceAll('_', '-');
      if (normalise(file.package_tag) !== name || !sameVersion(its, version.replaceAll('_', '-')))
        throw new PiwError('PIW_BAD_WHEEL', `${filename} is not of ${name} ${version}`);
      const { dependencies, compiled } = await folder.inScratch((scratch) => nativeParts(path, scratch));
      files.push({ ...file, dependencies, path });
      made.push({ file, compiled });
    }
    return { files, remark: missingParts(made, evidence) };
  } catch (error) {
    if (!(error instanceof PiwError) || error.code !== 'PIW_BAD_WHEEL') throw error;
    return { failureClass: 'wrong-wheel', sentence: error.message };
  }
}
