import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { as, give, unprivileged } from '../../src/farm/privileges.js';

/**
 * Runs this script once more as an unprivileged user where it runs as root, in a folder that is removed afterwards,
 * and returns its exit code; undefined where it may go on as it is. `more` returns further arguments for it.
 */
export async function runUnprivileged(
  script: string,
  more: (
    account: NonNullable<ReturnType<typeof unprivileged>>,
    folder: string,
  ) => readonly string[] = () => [],
): Promise<number | undefined> {
  const account = unprivileged();
  if (account === undefined) return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'piw-builds-'));
  chmodSync(folder, 0o755);
  try {
    const own = join(folder, 'own');
    execFileSync('mkdir', [own]);
    give(own, account);
    const args = [script, ...process.argv.slice(2), ...more(account, folder), `--folder=${own}`];
    const child = spawn(process.execPath, args, {
      ...as(account),
      stdio: 'inherit',
      env: { ...process.env, HOME: own, TMPDIR: own },
    });
    return await new Promise((resolve) =>
      child.once('close', (code) => {
        resolve(code ?? 1);
      }),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
