import { createHash } from 'node:crypto';
import { existsSync, readdirSync, rmdirSync, symlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { PiwError, errorMessage } from '../errors.js';
import { makeFolders } from '../files/disk.js';
import { canAccess, chownTo, type Account } from '../servers/privileges.js';

/** Contains the folders that the account couldn't access at the requested paths. */
const LINKED_FOLDERS = '/var/lib/piw/linked';

/**
 * Returns a folder that the account can write to. Creates it if it is missing, and makes an empty one the account's.
 * If root requests a folder below one that the account can't enter, it is created in LINKED_FOLDERS, the requested path
 * becomes a link to it, and `log` reports that. Throws PIW_NOT_WRITABLE.
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
      `the folder ${requestedPath} can't be created: ${errorMessage(error)}`,
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

/** Returns whether the account can enter the path, or its nearest ancestor that exists. */
function canEnter(path: string, account: Account): boolean {
  return existsSync(path) ? canAccess(account, 'x', path) : canEnter(dirname(path), account);
}

function linkElsewhere(requestedPath: string, account: Account, log: (line: string) => void): string {
  const name = createHash('sha256').update(requestedPath).digest('hex').slice(0, 12);
  const target = join(LINKED_FOLDERS, name);
  // This may fail, so it comes first: no unused folder is left in LINKED_FOLDERS.
  makeFolders(dirname(requestedPath));
  makeFolders(target, 0o755);
  chownTo(target, account);
  if (existsSync(requestedPath)) {
    try {
      rmdirSync(requestedPath);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      // The path is the link that an earlier start created.
      if (code === 'ENOTDIR') return target;
      throw new PiwError(
        'PIW_NOT_WRITABLE',
        `${account.name} can't access ${requestedPath}, and it is not empty`,
        {
          cause: error,
        },
      );
    }
  }
  symlinkSync(target, requestedPath);
  log(`${account.name} can't access ${requestedPath}: made it a link to ${target}`);
  return target;
}
