import { spawnSync } from 'node:child_process';
import { chownSync, readFileSync } from 'node:fs';
import { chown, lchown, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PiwError } from '../errors.js';

/** Whom to be instead of root. Node's `spawn` with a uid also drops the supplementary groups. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/**
 * The account that everything but the farm command runs under when that runs as root: `piwheels` if
 * there is one, else the user who called sudo, else `nobody`. Undefined when we are not root.
 * Raises PIW_ROOT where there is nobody to be.
 */
export function unprivilegedAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const accounts = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .map(([name = '', , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }));
  const sudoUid = Number(process.env['SUDO_UID'] ?? 0);
  const chosen =
    accounts.find(({ name }) => name === 'piwheels') ??
    accounts.find(({ uid }) => sudoUid > 0 && uid === sudoUid) ??
    accounts.find(({ name }) => name === 'nobody');
  if (!chosen || chosen.uid === 0)
    throw new PiwError('PIW_ROOT', 'there is no unprivileged account to run the farm under');
  return chosen;
}

/** The part of `spawn`'s options that makes a child this account's. */
export const runAs = (account: Account | undefined): { uid?: number; gid?: number } =>
  account ? { uid: account.uid, gid: account.gid } : {};

export function chownTo(path: string, account: Account | undefined): void {
  if (account) chownSync(path, account.uid, account.gid);
}

/** Gives a whole tree away; links themselves, not what they lead to. */
export async function chownTree(path: string, account: Account): Promise<void> {
  await chown(path, account.uid, account.gid);
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const inner = join(path, entry.name);
    if (entry.isDirectory()) await chownTree(inner, account);
    else await lchown(inner, account.uid, account.gid);
  }
}

/** Whether the account can use a path: `r` read, `w` write, `x` enter or run. */
export function canAccess(account: Account | undefined, mode: 'r' | 'w' | 'x', path: string): boolean {
  const test = spawnSync('/bin/sh', ['-c', `test -${mode} "$1"`, 'sh', path], {
    ...runAs(account),
    stdio: 'ignore',
    timeout: 60_000,
  });
  return test.status === 0;
}
