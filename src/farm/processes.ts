import { join } from 'node:path';
import { ERRORS, type PiwError } from '../errors.js';
import { nodeFlags } from '../node-flags.js';
import { tlsAndProxyEnv } from '../servers/certificates.js';
import type { DataFolder } from '../servers/data-folder.js';
import { ManagedProcess } from '../servers/process.js';
import type { FarmShutdown } from './shutdown.js';
import type { StagedProgram } from './stage.js';

/** Besides a wrong configuration, a restart can't help after these: 3 something is missing, 6 another version. */
const FINAL_CODES = [3, 6];

interface FarmProcessesOptions {
  readonly program: StagedProgram;
  /** The data folder: the working directory of every process, with their logs. */
  readonly folder: DataFolder;
  readonly shutdown: FarmShutdown;
  /** Aborts the start of a process. */
  readonly signal: AbortSignal;
  /** Called when a process can't be kept alive. */
  readonly onFailure: (error: PiwError) => void;
  readonly onTrouble: (text: string) => void;
}

interface PiwProcess {
  readonly name: string;
  /** The piw command and its options. */
  readonly args: readonly string[];
  /** The wave of the shutdown in which it is stopped. */
  readonly wave: number;
  readonly env?: NodeJS.ProcessEnv;
  readonly graceMs?: number;
  /** Default: a log of its own in the data folder. */
  readonly logFile?: string | undefined;
  readonly ready?: () => Promise<void>;
  readonly onMessage?: (message: unknown) => void;
  /** Returns whether it has ended for good, so that it is not restarted. */
  readonly hasFinished?: () => boolean;
}

/** Starts piw commands as processes of the farm, keeps them alive, and has the shutdown stop them. */
export class FarmProcesses {
  readonly #options: FarmProcessesOptions;

  constructor(options: FarmProcessesOptions) {
    this.#options = options;
  }

  /** The data folder of the farm. */
  get folder(): DataFolder {
    return this.#options.folder;
  }

  /** Starts a process, and waits until it is ready. */
  async spawn(child: PiwProcess): Promise<void> {
    const { program, folder, shutdown, signal, onFailure, onTrouble } = this.#options;
    signal.throwIfAborted();
    const home = folder.subfolder('home');
    const managedProcess = new ManagedProcess({
      name: child.name,
      command: program.node,
      args: [...nodeFlags(), join(program.root, 'dist', 'run', 'bin.js'), ...child.args],
      env: { PATH: process.env['PATH'], HOME: home, LANG: 'C.UTF-8', ...tlsAndProxyEnv(), ...child.env },
      account: folder.account,
      cwd: folder.path,
      logFile: child.logFile ?? folder.prepareLog(`${child.name}.log`),
      stopSignal: 'SIGTERM',
      graceMs: child.graceMs ?? 10_000,
      ready: child.ready ?? (() => Promise.resolve()),
      stallTimeoutMs: 60_000,
      configurationCode: ERRORS.PIW_CONFIG.exit,
      signal,
      finalCodes: FINAL_CODES,
      onFailure,
      hasFinished: child.hasFinished,
      onMessage: child.onMessage ?? (() => undefined),
      log: onTrouble,
    });
    shutdown.addProcess(child.wave, managedProcess);
    await managedProcess.start();
  }
}
