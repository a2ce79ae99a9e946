import { HOUR_MS } from '../../units.js';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Settings } from '../../config.js';
import { findRunningPid, startTime } from '../../servers/process.js';
import { normalisePrefix, publicPath } from '../../weblog/requests.js';
import { CountryDatabase, HostResolver } from '../../weblog/hosts.js';
import { LineReader } from '../../weblog/reader.js';
import { Spool } from '../../weblog/spool.js';
import { diskError } from '../../files/disk.js';
import type { LoggerContext } from './context.js';

/** How long a line waits for others before it is sent, milliseconds. */
const MAX_STRETCH_DELAY_MS = 1000;
/** How often the country database is reopened if its file has changed, milliseconds. */
const GEOIP_REFRESH_INTERVAL_MS = HOUR_MS;

/**
 * Creates the context of a logger from the settings, with `extra` added to it; call `close` at the end. Throws
 * PIW_CONFIG if the country database can't be read.
 */
export async function createLoggerContext<Extra>(
  settings: Settings,
  format: Settings['format'],
  extra: Extra,
): Promise<{
  readonly context: Pick<LoggerContext, 'reader' | 'hostOf' | 'delayMs'> & Extra;
  readonly close: () => void;
}> {
  const database = settings['geoip-database'];
  const countries = database === null ? undefined : await CountryDatabase.open(database);
  const refreshTimer = setInterval(() => void countries?.refresh(), GEOIP_REFRESH_INTERVAL_MS);
  const hosts = new HostResolver(settings['log-hosts'], countries);
  const configuredPrefix = settings['path-prefix'];
  const prefix =
    configuredPrefix === null ? publicPath(settings['public-url']) : normalisePrefix(configuredPrefix);
  return {
    context: {
      reader: new LineReader(format, prefix),
      hostOf: (raw) => hosts.resolve(raw),
      delayMs: MAX_STRETCH_DELAY_MS,
      ...extra,
    },
    close: () => {
      clearInterval(refreshTimer);
    },
  };
}

/** Opens the configured spool for this process. Throws PIW_NOT_WRITABLE, PIW_DISK_FULL. */
export function openSpool(settings: Settings): Spool {
  const defaultFolder = process.getuid?.() === 0 ? '/var/spool/piw' : join(stateHome(), 'piw', 'spool');
  const folder = settings.spool ?? defaultFolder;
  try {
    return Spool.open({
      folder,
      limitBytes: settings['spool-limit'] * 1e6,
      owner: `${process.pid} ${startTime(process.pid)}`,
      isRunning: (owner) => findRunningPid(owner) !== undefined,
    });
  } catch (error) {
    throw diskError(folder, error);
  }
}

const stateHome = (): string => process.env['XDG_STATE_HOME'] ?? join(homedir(), '.local', 'state');
