import type { ExplicitSettings } from '../config.js';
import { farmConfigFile } from '../servers/running-farms.js';
import { formatConfig, parseConfig } from '../settings/config-file.js';
import type { DataFolder } from '../servers/data-folder.js';
import { masterConfiguration } from './configuration.js';
import type { IndexSource } from './index-source.js';
import type { FarmProcesses } from './processes.js';
import type { NatsAddresses } from './servers.js';
import { WAVES } from './shutdown.js';

const CONFIG_FILE = 'piwheels.conf';

interface MasterInputs {
  readonly nats: NatsAddresses;
  readonly dsn: string;
  readonly outputPath: string;
  /** The address of the farm's web server. */
  readonly url: string;
  readonly source: IndexSource;
}

/**
 * Writes the configuration that the farm's master and every piw command of this user read. Returns the file's path.
 */
export function writeMasterConfig(
  folder: DataFolder,
  userSettings: ExplicitSettings,
  { nats, dsn, outputPath, url, source }: MasterInputs,
): string {
  const masterConfig = masterConfiguration(userSettings, {
    nats: nats.master,
    ...(nats.usersFile === undefined ? {} : { usersFile: nats.usersFile }),
    ...(nats.pidFile === undefined ? {} : { pidFile: nats.pidFile }),
    dsn,
    prefix: nats.prefix,
    outputPath,
    spool: folder.subfolder('spool'),
    url,
    followed: source.url,
    builtFrom: source.builtFrom,
    samples: source.samples,
    watch: watchList(folder, userSettings, source),
  });
  folder.writeSecret(CONFIG_FILE, `# Written by piw farm at each start.\n${formatConfig(masterConfig)}`);
  return folder.join(CONFIG_FILE);
}

/** Returns what the user watches, or watched at the previous start, and the requested versions. */
function watchList(
  folder: DataFolder,
  userSettings: ExplicitSettings,
  { wanted, samples }: IndexSource,
): readonly string[] {
  const previousConfig = folder.read(CONFIG_FILE);
  const previouslyWatched =
    previousConfig === undefined
      ? []
      : ((parseConfig(previousConfig, farmConfigFile(folder.path)).watch as readonly string[] | undefined) ??
        []);
  const requestedEntries = wanted
    .filter(({ state }) => state === 'waiting')
    .flatMap(({ name, version, follow }) => [
      ...(follow ? [name as string] : []),
      `${name}==${version ?? ''}`,
    ]);
  // The index's watch list doesn't apply to the samples, nor the samples' to the index.
  const keptEntries = samples
    ? []
    : (userSettings.watch ?? previouslyWatched.filter((entry) => !entry.startsWith('piw-sample-')));
  return [...new Set([...keptEntries, ...requestedEntries])];
}

interface MasterOptions {
  readonly configFile: string;
  readonly extraArgs: readonly string[];
  readonly logFile: string | undefined;
  readonly onMessage: (message: unknown) => void;
  /** Called when an administrator has told the farm to quit. */
  readonly onQuit: () => void;
}

/** Starts the master; its tasks become ready later. */
export async function startMaster(
  processes: FarmProcesses,
  { configFile, extraArgs, logFile, onMessage, onQuit }: MasterOptions,
): Promise<void> {
  let hasQuit = false;
  await processes.spawn({
    name: 'master',
    args: ['master', '-c', configFile, ...extraArgs],
    wave: WAVES.master,
    logFile,
    graceMs: 20_000,
    onMessage: (message) => {
      if (!isQuitMessage(message)) {
        onMessage(message);
        return;
      }
      hasQuit = true;
      onQuit();
    },
    hasFinished: () => hasQuit,
  });
}

const isQuitMessage = (message: unknown): boolean =>
  typeof message === 'object' && message !== null && 'quit' in message;
