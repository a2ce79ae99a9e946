import { createHash } from 'node:crypto';
import { existsSync, readdirSync, rmdirSync, symlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { PiwError, reason } from '../errors.js';
import { makeFolders } from '../wheels/disk.js';
import { can, give, type Account } from './privileges.js';

/** Where the folders are kept that the account can't reach where they were asked for. */
const ELSEWHERE = '/var/lib/piw/linked';

/**
 * A folder for the account: made if it is missing, and the account's if it is empty. When root asks
 * for one below a folder that nobody else can enter, it is kept in ELSEWHERE and what was asked for
 * is a link to it; `say` tells so. Raises PIW_NOT_WRITABLE.
 */
export function reachable(path: string, account: Account | undefined, say: (line: string) => void): string {
  const wanted = resolve(path);
  try {
    const link = account !== undefined && !canEnter(dirname(wanted), account);
    if (link) return linked(wanted, account, say);
    if (!existsSync(wanted)) {
      makeFolders(wanted, 0o755);
      give(wanted, account);
    } else if (account && readdirSync(wanted).length === 0) give(wanted, account);
  } catch (error) {
    if (error instanceof PiwError) throw error;
    throw new PiwError('PIW_NOT_WRITABLE', `the folder ${wanted} can't be made: ${reason(error)}`, {
      cause: error,
    });
  }
  if (!can(account, 'w', wanted) || !can(account, 'x', wanted)) {
    throw new PiwError('PIW_NOT_WRITABLE', `${account?.name ?? 'this user'} can't write to ${wanted}`);
  }
  return wanted;
}

/** Whether the account can enter the nearest folder that exists. */
function canEnter(path: string, account: Account): boolean {
  return existsSync(path) ? can(account, 'x', path) : canEnter(dirname(path), account);
}

function linked(wanted: string, account: Account, say: (line: string) => void): string {
  const name = createHash('sha256').update(wanted).digest('hex').slice(0, 12);
  const target = join(ELSEWHERE, name);
  // First what may fail: nothing is left in ELSEWHERE of a folder that can't be made.
  makeFolders(dirname(wanted));
  makeFolders(target, 0o755);
  give(target, account);
  if (existsSync(wanted)) {
    try {
      rmdirSync(wanted);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      // It is the link of an earlier start.
      if (code === 'ENOTDIR') return target;
      throw new PiwError('PIW_NOT_WRITABLE', `${account.name} can't reach ${wanted}, and it is not empty`, {
        cause: error,
      });
    }
  }
  symlinkSync(target, wanted);
  say(`${account.name} can't reach ${wanted}: it is a link to ${target}`);
  return target;
}
