import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runAs, chownTo, unprivilegedAccount } from '../../src/servers/privileges.js';

/**
 * If this process runs as root, runs the script again as an unprivileged user, in a folder that is removed afterwards,
 * and returns its exit code; else returns undefined. `extraArguments` returns further arguments for the script.
 */
export async function runUnprivileged(
  script: string,
  extraArguments: (
    account: NonNullable<ReturnType<typeof unprivilegedAccount>>,
    folder: string,
  ) => readonly string[] = () => [],
): Promise<number | undefined> {
  const account = unprivilegedAccount();
  if (account === undefined) return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'piw-builds-'));
  chmodSync(folder, 0o755);
  try {
    const homeFolder = join(folder, 'own');
    execFileSync('mkdir', [homeFolder]);
    chownTo(homeFolder, account);
    const args = [
      script,
      ...process.argv.slice(2),
      ...extraArguments(account, folder),
      `--folder=${homeFolder}`,
    ];
    const child = spawn(process.execPath, args, {
      ...runAs(account),
      stdio: 'inherit',
      env: { ...process.env, HOME: homeFolder, TMPDIR: homeFolder },
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
