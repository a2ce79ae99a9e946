import { spawnSync } from 'node:child_process';
import { chownSync, readFileSync } from 'node:fs';
import { chown, lchown, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PiwError } from '../errors.js';

/** The account to run as instead of root. Node's `spawn` with a uid also drops the supplementary groups. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Returns the account that the farm's processes run as when the farm command runs as root: `piwheels` if it exists,
 * else the user who called sudo, else `nobody`. Returns undefined if this process is not root. Throws PIW_ROOT if there
 * is no such account.
 */
export function unprivilegedAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const accounts = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .map(([name = '', , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }));
  const sudoUid = Number(process.env['SUDO_UID'] ?? 0);
  const account =
    accounts.find(({ name }) => name === 'piwheels') ??
    accounts.find(({ uid }) => sudoUid > 0 && uid === sudoUid) ??
    accounts.find(({ name }) => name === 'nobody');
  if (!account || account.uid === 0)
    throw new PiwError('PIW_ROOT', 'there is no unprivileged account to run the farm as');
  return account;
}

/** Returns the options of `spawn` that run a child as this account. */
export const runAs = (account: Account | undefined): { uid?: number; gid?: number } =>
  account ? { uid: account.uid, gid: account.gid } : {};

export function chownTo(path: string, account: Account | undefined): void {
  if (account) chownSync(path, account.uid, account.gid);
}

/** Changes the owner of a folder and everything below it; of links themselves, not of their targets. */
export async function chownTree(path: string, account: Account): Promise<void> {
  await chown(path, account.uid, account.gid);
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const inner = join(path, entry.name);
    if (entry.isDirectory()) await chownTree(inner, account);
    else await lchown(inner, account.uid, account.gid);
  }
}

/** Returns whether the account can read (`r`), write (`w`), or enter or run (`x`) a path. */
export function canAccess(account: Account | undefined, mode: 'r' | 'w' | 'x', path: string): boolean {
  const test = spawnSync('/bin/sh', ['-c', `test -${mode} "$1"`, 'sh', path], {
    ...runAs(account),
    stdio: 'ignore',
    timeout: 60_000,
  });
  return test.status === 0;
}
