import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';

t.setTimeout(120_000);

const BIN = fileURLToPath(new URL('../../src/bin.js', import.meta.url));
/** Folders that nobody can make: the one is below a file, the other where Node's own way to make it never ends. */
const IMPOSSIBLE = ['/dev/null/www', '/proc/www/below'];
// Servers that aren't there.
const NATS = ['--nats', '127.0.0.1:1'];
const DATABASE = ['-d', 'postgres://127.0.0.1:1/x'];

void t.test('a folder that can’t be made is said, whichever command it is for', (t) => {
  for (const folder of IMPOSSIBLE)
    for (const [name, ...args] of [
      ['master', '--allow-root', ...NATS, ...DATABASE, '-o', folder],
      [
        'slave',
        '--allow-root',
        '--allow-exposed',
        '--master',
        'nats://one:secret@127.0.0.1:1',
        '--work-dir',
        folder,
      ],
      ['logger', ...NATS, '--spool', folder, '-'],
      ['farm', '--data-dir', folder],
    ]) {
      const { status, stderr } = spawnSync(process.execPath, [BIN, name ?? '', '-c', '/dev/null', ...args], {
        ...{ encoding: 'utf8', input: 'a line', timeout: 20_000, killSignal: 'SIGKILL' },
      });
      t.equal(status, 2, `piw ${String(name)} ${folder}`);
      t.match(stderr, / can't be (made|used|written): .*\. Choose a folder that this user can write to/);
    }
  t.end();
});
