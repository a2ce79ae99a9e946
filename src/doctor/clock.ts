import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Check } from './check.js';

const ANSWER_TIMEOUT_MS = 5000;

/** Whether something keeps this machine's clock right: a certificate looks expired, or not yet valid, if nothing does. */
export const clockSynchronised: Check = {
  name: 'clock',
  applies: () => true,
  run: async () =>
    (await readNtpState()) === 'no'
      ? [
          {
            problem: "this machine's clock is not synchronised with a time server",
            fix: 'sudo timedatectl set-ntp true (on Debian, first: sudo apt install systemd-timesyncd)',
          },
        ]
      : [],
};

/** Returns `yes` or `no`, as systemd says; undefined on a machine without systemd. */
async function readNtpState(): Promise<string | undefined> {
  try {
    const args = ['show', '--property=NTPSynchronized', '--value'];
    const { stdout } = await promisify(execFile)('timedatectl', args, { timeout: ANSWER_TIMEOUT_MS });
    return stdout.trim();
  } catch {
    return undefined;
  }
}
