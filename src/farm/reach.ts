import { createHash } from 'node:crypto';
import { existsSync, readdirSync, rmdirSync, symlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { PiwError, errorMessage } from '../errors.js';
import { makeFolders } from '../files/disk.js';
import { canAccess, chownTo, type Account } from '../servers/privileges.js';

/** Where the folders are kept that the account can't reach where they were asked for. */
const LINKED_FOLDERS = '/var/lib/piw/linked';

/**
 * A folder for the account: made if it is missing, and the account's if it is empty. When root asks
 * for one below a folder that nobody else can enter, it is kept in ELSEWHERE and what was asked for
 * is a link to it; `say` tells so. Raises PIW_NOT_WRITABLE.
 */
export function ensureReachable(
  path: string,
  account: Account | undefined,
  log: (line: string) => void,
): string {
  const requestedPath = resolve(path);
  try {
    const needsLink = account !== undefined && !canEnter(dirname(requestedPath), account);
    if (needsLink) return linkElsewhere(requestedPath, account, log);
    if (!existsSync(requestedPath)) {
      makeFolders(requestedPath, 0o755);
      chownTo(requestedPath, account);
    } else if (account && readdirSync(requestedPath).length === 0) chownTo(requestedPath, account);
  } catch (error) {
    if (error instanceof PiwError) throw error;
    throw new PiwError(
      'PIW_NOT_WRITABLE',
      `the folder ${requestedPath} can't be made: ${errorMessage(error)}`,
      {
        cause: error,
      },
    );
  }
  if (!canAccess(account, 'w', requestedPath) || !canAccess(account, 'x', requestedPath)) {
    throw new PiwError('PIW_NOT_WRITABLE', `${account?.name ?? 'this user'} can't write to ${requestedPath}`);
  }
  return requestedPath;
}

/** Whether the account can enter the nearest folder that exists. */
function canEnter(path: string, account: Account): boolean {
  return existsSync(path) ? canAccess(account, 'x', path) : canEnter(dirname(path), account);
}

function linkElsewhere(requestedPath: string, account: Account, log: (line: string) => void): string {
  const name = createHash('sha256').update(requestedPath).digest('hex').slice(0, 12);
  const target = join(LINKED_FOLDERS, name);
  // First what may fail: nothing is left in ELSEWHERE of a folder that can't be made.
  makeFolders(dirname(requestedPath));
  makeFolders(target, 0o755);
  chownTo(target, account);
  if (existsSync(requestedPath)) {
    try {
      rmdirSync(requestedPath);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      // It is the link of an earlier start.
      if (code === 'ENOTDIR') return target;
      throw new PiwError(
        'PIW_NOT_WRITABLE',
        `${account.name} can't reach ${requestedPath}, and it is not empty`,
        {
          cause: error,
        },
      );
    }
  }
  symlinkSync(target, requestedPath);
  log(`${account.name} can't reach ${requestedPath}: it is a link to ${target}`);
  return target;
}
