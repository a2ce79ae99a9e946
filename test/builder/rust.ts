import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { canAccess, type Account } from '../../src/servers/privileges.js';

/**
 * Returns the folder of programs of the Rust compiler on PATH; if the account can't reach it, that of a copy in
 * `folder`. Returns none if there is no Rust compiler.
 */
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
