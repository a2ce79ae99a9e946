import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Settings } from '../../config.js';
import { runs, startTime } from '../../farm/process.js';
import { cleanPrefix, publicPath } from '../../weblog/asked.js';
import { Countries, Hosts } from '../../weblog/hosts.js';
import { LineReader } from '../../weblog/reader.js';
import { Spool } from '../../weblog/spool.js';
import { diskError } from '../../wheels/disk.js';
import type { LoggerContext } from './context.js';

/** How long a line waits for others, milliseconds. */
const DELAY_MS = 1000;
/** How often the country database is looked at, whether it is another one. */
const REFRESH_MS = 3600_000;

/**
 * Makes what lines are read and counted with, by these settings; `close` when there are no more. Throws PIW_CONFIG for
 * a country database that can't be read.
 */
export async function setUp<Rest>(
  settings: Settings,
  format: Settings['format'],
  rest: Rest,
): Promise<{
  readonly context: Pick<LoggerContext, 'reader' | 'hostOf' | 'delayMs'> & Rest;
  readonly close: () => void;
}> {
  const database = settings['geoip-database'];
  const countries = database === null ? undefined : await Countries.open(database);
  const refreshing = setInterval(() => void countries?.refresh(), REFRESH_MS);
  const hosts = new Hosts(settings['log-hosts'], countries);
  const given = settings['path-prefix'];
  const prefix = given === null ? publicPath(settings['public-url']) : cleanPrefix(given);
  return {
    context: {
      reader: new LineReader(format, prefix),
      hostOf: (raw) => hosts.of(raw),
      delayMs: DELAY_MS,
      ...rest,
    },
    close: () => {
      clearInterval(refreshing);
    },
  };
}

/** Opens the spool of these settings, for this process. Throws PIW_NOT_WRITABLE, PIW_DISK_FULL. */
export function openSpool(settings: Settings): Spool {
  const own = process.getuid?.() === 0 ? '/var/spool/piw' : join(stateHome(), 'piw', 'spool');
  const folder = settings.spool ?? own;
  try {
    return Spool.open({
      folder,
      limitBytes: settings['spool-limit'] * 1e6,
      owner: `${String(process.pid)} ${startTime(process.pid)}`,
      runs: (owner) => runs(owner) !== undefined,
    });
  } catch (error) {
    throw diskError(folder, error);
  }
}

const stateHome = (): string => process.env['XDG_STATE_HOME'] ?? join(homedir(), '.local', 'state');
