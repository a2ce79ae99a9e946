import { readFileSync } from 'node:fs';
import { errorMessage } from '../errors.js';

/** What came of telling one nats-server to read its configuration again. */
export interface ReloadResult {
  readonly pidFile: string;
  /** Null: it was told. Else why it was not, for people. */
  readonly why: string | null;
}

/**
 * Tells the nats-servers whose process numbers stand in these files to read their configuration again, as
 * `nats-server --signal reload=FILE` does. Nothing else is signalled, whatever a stale file says.
 */
export function reloadServers(pidFiles: readonly string[]): readonly ReloadResult[] {
  return pidFiles.map((pidFile) => ({ pidFile, why: reloadServer(pidFile) }));
}

function reloadServer(pidFile: string): string | null {
  let text: string;
  try {
    text = readFileSync(pidFile, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      return 'it does not run; it reads the file when it starts';
    return errorMessage(error);
  }
  const pid = Number(text.trim().split(/\s/)[0]);
  if (!Number.isSafeInteger(pid) || pid < 2) return `${pidFile} holds no process number`;
  if (!isNatsServer(pid)) return 'it does not run; it reads the file when it starts';
  try {
    process.kill(pid, 'SIGHUP');
    return null;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ESRCH') return 'it does not run; it reads the file when it starts';
    if (code === 'EPERM') return 'it is another user’s; have root say it, or that user';
    return errorMessage(error);
  }
}

/** A signal that means "read again" to a nats-server ends most other programs. */
function isNatsServer(pid: number): boolean {
  try {
    return readFileSync(`/proc/${String(pid)}/cmdline`, 'utf8').includes('nats-server');
  } catch {
    // Where there is no /proc, the file has to be believed.
    return process.platform !== 'linux';
  }
}
