import type { ExplicitSettings } from '../config.js';
import { formatConfig } from '../settings/config-file.js';
import type { PythonInterpreter } from '../servers/python.js';
import { slaveConfiguration, slaveWorkDir } from './configuration.js';
import type { FarmProcesses } from './processes.js';
import { ensureReachable } from './reachable-folder.js';
import type { NatsAddresses } from './servers.js';
import { WAVES } from './shutdown.js';

interface SlaveOptions {
  readonly userSettings: ExplicitSettings;
  /** The number of slaves on this machine. */
  readonly slaves: number;
  readonly nats: NatsAddresses;
  readonly pythons: readonly PythonInterpreter[];
  /** The environment variables with which builds reach the index. */
  readonly buildEnv: Readonly<Record<string, string>>;
  readonly extraArgs: readonly string[];
  readonly onMessage: (message: unknown) => void;
  readonly log: (text: string) => void;
}

/** Returns the name of a slave on this machine, given its number, which counts from 1. */
export const slaveName = (number: number): string => `slave-${number}`;

/** Writes the configuration of one slave on this machine, and starts it. */
export async function startSlave(
  processes: FarmProcesses,
  number: number,
  options: SlaveOptions,
): Promise<void> {
  const { userSettings, slaves, nats, pythons, buildEnv, extraArgs, onMessage, log } = options;
  const { folder } = processes;
  const name = slaveName(number);
  const configuredWorkDir = slaveWorkDir(userSettings, name);
  const slaveConfig = slaveConfiguration(userSettings, {
    name,
    isAlone: slaves === 1,
    master: nats.slaves[number - 1] ?? '',
    ownServer: nats.usersFile !== undefined,
    prefix: nats.prefix,
    pythons: pythons.map(({ path }) => path),
    workDir:
      configuredWorkDir === undefined
        ? folder.subfolder(name)
        : ensureReachable(configuredWorkDir, folder.account, log),
  });
  const configFile = `${name}.conf`;
  folder.writeSecret(configFile, formatConfig(slaveConfig));
  await processes.spawn({
    name,
    args: ['slave', '-c', folder.join(configFile), ...extraArgs],
    wave: WAVES.slaves,
    env: { PIW_FARM_BUILD_ENV: JSON.stringify(buildEnv) },
    graceMs: 20_000,
    logFile: userSettings['log-file'],
    onMessage,
  });
}
