import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));

/** Runs a program on a terminal of its own, and types the keys when it asks a question. Prints what it prints. */
const PROGRAM = `
import os, pty, sys
keys, command = sys.argv[1].encode(), sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(command[0], command)
output = b''
while True:
    try:
        data = os.read(terminal, 4096)
    except OSError:
        break
    output += data
    if keys and b'[y/N]' in output:
        os.write(terminal, keys)
        keys = b''
sys.stdout.buffer.write(output)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

/** Runs `piw` on a terminal, and types `keys` when it asks. Needs python3. Returns its exit code and its output. */
export function piwOnTerminal(
  keys: string,
  ...args: readonly string[]
): Promise<{ readonly code: number; readonly out: string }> {
  return new Promise((resolve) => {
    const command = ['-c', PROGRAM, keys, process.execPath, BIN, ...args];
    const child = execFile('python3', command, (error, out) => {
      resolve({ code: error === null ? 0 : (child.exitCode ?? -1), out });
    });
  });
}
