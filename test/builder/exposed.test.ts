import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { exposed } from '../../src/builder/exposed.js';
import { temporary } from './workshop.js';

// Root may read and write everything, so that nothing could be told apart; from here on this is nobody.
if (process.getuid?.() === 0) {
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
  t.strictSame(await exposed({ secrets: [key, key, join(folder, 'nowhere')], code: [code] }), [
    `it could read ${key}`,
    `it could write ${code}`,
  ]);
});

t.test('code is exposed where it could be replaced', async (t) => {
  const folder = temporary(t);
  const code = join(folder, 'code', 'piw');
  mkdirSync(code, { recursive: true });
  chmodSync(code, 0o555);
  t.strictSame(await exposed({ secrets: [], code: [code] }), [`it could write ${join(folder, 'code')}`]);
  chmodSync(join(folder, 'code'), 0o555);
  t.strictSame(await exposed({ secrets: [], code: [code] }), [`it could write ${folder}`]);
  // So that it can be removed.
  chmodSync(join(folder, 'code'), 0o755);
});

t.test('what is the system’s or isn’t there is not exposed', async (t) => {
  t.strictSame(await exposed({ secrets: ['/nowhere', '/etc'], code: ['/nowhere', '/usr/bin'] }), []);
});
