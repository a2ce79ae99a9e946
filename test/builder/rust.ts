import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { canAccess, type Account } from '../../src/farm/privileges.js';

/** Where the account finds the Rust compiler that is on PATH: a copy in `folder`, if it can't reach it. */
export function rustPathFor(account: Account | undefined, folder: string): readonly string[] {
  let sysroot: string;
  try {
    sysroot = execFileSync('rustc', ['--print', 'sysroot'], { encoding: 'utf8' }).trim();
  } catch {
    return [];
  }
  if (canAccess(account, 'x', join(sysroot, 'bin', 'cargo'))) return [join(sysroot, 'bin')];
  const copy = join(folder, 'rust');
  execFileSync('cp', ['-a', sysroot, copy]);
  return [join(copy, 'bin')];
}
