import { chmodSync, chownSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { exposed } from '../../src/builder/exposed.js';
import { temporary } from './workshop.js';

const ROOT = process.getuid?.() === 0;
/** A folder of root's, where these tests are root's; who runs the tests removes it. */
const THEIRS = mkdtempSync(join(tmpdir(), 'piw-theirs-'));
if (ROOT) {
  mkdirSync(join(THEIRS, 'ours/theirs/code'), { recursive: true });
  chmodSync(THEIRS, 0o755);
  chownSync(join(THEIRS, 'ours'), 65534, 65534);
}

// Root may read and write everything, so that nothing could be told apart; from here on this is nobody.
if (ROOT) {
  process.setgroups?.([]);
  process.setgid?.(65534);
  process.setuid?.(65534);
}

t.test('what this user can read or write is exposed to what runs under it', async (t) => {
  const folder = temporary(t);
  const key = join(folder, 'slave.conf');
  const code = join(folder, 'code');
  mkdirSync(code);
  writeFileSync(key, 'master = nats://me:secret@here');
  t.strictSame(await exposed({ secrets: [key, key, join(folder, 'nowhere')], kept: [code] }), [
    `it could read ${key}`,
    `it could write ${code}`,
  ]);
});

t.test('what this user has, it can make writable', async (t) => {
  const code = join(temporary(t), 'code');
  mkdirSync(code, { mode: 0o555 });
  t.strictSame(await exposed({ secrets: [], kept: [code] }), [`it could write ${code}`]);
});

t.test(
  'code is exposed where it could be replaced',
  { skip: !ROOT && 'needs root: everything here belongs to this user' },
  async (t) => {
    // It is root's, but for one folder above it.
    t.strictSame(await exposed({ secrets: [], kept: [join(THEIRS, 'ours/theirs/code')] }), [
      `it could write ${join(THEIRS, 'ours')}`,
    ]);
  },
);

t.test('what is the system’s or isn’t there is not exposed', async (t) => {
  t.strictSame(await exposed({ secrets: ['/nowhere', '/etc'], kept: ['/nowhere', '/usr/bin'] }), []);
});
