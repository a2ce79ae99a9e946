import type { ExplicitSettings } from '../config.js';
import { PiwError } from '../errors.js';
import { SimpleIndexClient } from '../pypi/index-reader.js';
import { freePort } from '../servers/ports.js';
import { readPipSettings, type PythonInterpreter } from '../servers/python.js';
import type { FarmProcesses } from './processes.js';
import { resolveRequirements, type RequestedVersion, type Requirement } from './requested-versions.js';
import { writeSampleIndex } from './sample-index.js';
import { startWebServer } from './web-server.js';

interface UserRequest {
  readonly requirements: readonly Requirement[];
  readonly userSettings: ExplicitSettings;
}

/** The index that a farm follows and builds from, and what the user requested of it. */
export interface IndexSource {
  /** The index to follow. */
  readonly url: string;
  /** The index that slaves build from. */
  readonly builtFrom: string;
  /** The environment variables with which builds reach the index. */
  readonly env: Readonly<Record<string, string>>;
  readonly samples: boolean;
  readonly wanted: readonly RequestedVersion[];
}

/** The demonstration: a pure package, one with a C extension, and one with several files. */
const DEMO_PACKAGES: readonly string[] = ['six', 'markupsafe', 'wrapt'];

/** Returns whether the user named nothing to build or to follow, so that the farm builds a demonstration. */
export function isDemo({ requirements, userSettings }: UserRequest): boolean {
  const follows =
    userSettings.watch !== undefined ||
    userSettings['watch-file'] !== undefined ||
    userSettings['watch-only'] === false;
  return requirements.length === 0 && !follows;
}

interface IndexOptions extends UserRequest {
  readonly once: boolean;
  readonly python: PythonInterpreter;
  readonly onTrouble: (text: string) => void;
}

/**
 * Returns the index to follow and to build from: the configured one, or the bundled samples if it can't be read.
 * Throws PIW_INDEX instead of using the samples if --once waits for named packages.
 */
export async function chooseIndex(processes: FarmProcesses, options: IndexOptions): Promise<IndexSource> {
  const { requirements, userSettings, once, python, onTrouble } = options;
  const pip = await readPipSettings(python);
  const url = userSettings['pypi-simple'] ?? userSettings['index-url'] ?? pip.indexUrl;
  const index = new SimpleIndexClient(url, { timeoutMs: 30_000 });
  const requirementsOrDemo = isDemo(options) ? DEMO_PACKAGES.map(newestOf) : requirements;
  try {
    const wanted = await resolveRequirements(index, requirementsOrDemo);
    return { url, builtFrom: userSettings['index-url'] ?? url, env: pip.env, samples: false, wanted };
  } catch (error) {
    if (!(error instanceof PiwError) || (once && requirements.length > 0)) throw error;
    onTrouble(`${error.message}; building the samples that ship with piw instead`);
  }
  return await serveSamples(processes);
}

/** Serves the bundled samples as an index of their own, with a web server of their own. */
async function serveSamples(processes: FarmProcesses): Promise<IndexSource> {
  const root = processes.folder.subfolder('samples', 0o755);
  const names = writeSampleIndex(root);
  const port = await freePort();
  await startWebServer(processes, {
    name: 'samples',
    root,
    port,
    extraArgs: ['-c', '/dev/null', '--no-count'],
  });
  const url = `http://127.0.0.1:${port}/simple/`;
  const wanted = await resolveRequirements(new SimpleIndexClient(url), names.map(newestOf));
  return { url, builtFrom: url, env: {}, samples: true, wanted };
}

const newestOf = (name: string): Requirement => ({ name, version: undefined }) as Requirement;
