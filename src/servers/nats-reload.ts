import { readFileSync } from 'node:fs';
import { errorMessage } from '../errors.js';

/** The result of reloading the configuration of one nats-server. */
interface ReloadResult {
  readonly pidFile: string;
  /** Null if the server was signalled; otherwise the reason why it was not, for people. */
  readonly why: string | null;
}

/**
 * Makes the nats-servers whose process ids are in these files reload their configuration, as
 * `nats-server --signal reload=FILE` does. Signals no other program, whatever a stale file contains.
 */
export function reloadServers(pidFiles: readonly string[]): readonly ReloadResult[] {
  return pidFiles.map((pidFile) => ({ pidFile, why: reloadServer(pidFile) }));
}

const NOT_RUNNING = 'it is not running, and reads the file when it starts';

function reloadServer(pidFile: string): string | null {
  let text: string;
  try {
    text = readFileSync(pidFile, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return NOT_RUNNING;
    return errorMessage(error);
  }
  const pid = Number(text.trim().split(/\s/)[0]);
  if (!Number.isSafeInteger(pid) || pid < 2) return `${pidFile} contains no process id`;
  if (!isNatsServer(pid)) return NOT_RUNNING;
  try {
    process.kill(pid, 'SIGHUP');
    return null;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ESRCH') return NOT_RUNNING;
    if (code === 'EPERM') return 'another user runs it; repeat this as root or as that user';
    return errorMessage(error);
  }
}

/** Returns whether the process is a nats-server: SIGHUP reloads a nats-server, and ends most other programs. */
function isNatsServer(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('nats-server');
  } catch {
    // Without /proc, trust the file.
    return process.platform !== 'linux';
  }
}
