import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';

t.setTimeout(120_000);

const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));
/** Folders that can't be created: one is below a file; for the other, Node's recursive mkdir never returns. */
const IMPOSSIBLE = ['/dev/null/www', '/proc/www/below'];
// Servers that do not exist.
const NATS = ['--nats', '127.0.0.1:1'];
const DATABASE = ['-d', 'postgres://127.0.0.1:1/x'];

void t.test('every command reports a folder that can’t be created', (t) => {
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
        encoding: 'utf8',
        input: 'a line',
        timeout: 20_000,
        killSignal: 'SIGKILL',
      });
      t.equal(status, 2, `piw ${String(name)} ${folder}`);
      t.match(
        stderr,
        / can't be (made|created|used|written): .*\. Choose a folder that this user can write to/,
      );
    }
  t.end();
});
