import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { skipWithoutNetwork } from '../helpers/network.js';

t.setTimeout(280_000);

const SCRIPT = fileURLToPath(new URL('../chaos/network.js', import.meta.url));

void t.test(
  'a farm goes on when one of three servers is cut off and comes back',
  { skip: skipWithoutNetwork() },
  async (t) => {
    const child = spawn(process.execPath, [SCRIPT, 'cut', '--small', '--times', '1', '--no-limits'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    t.teardown(() => child.kill('SIGTERM'));
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data: Buffer) => (output += data.toString()));
    const code = await new Promise((resolve) => child.once('close', resolve));
    for (const line of output.trim().split('\n')) t.comment(line);
    t.equal(code, 0);
  },
);
