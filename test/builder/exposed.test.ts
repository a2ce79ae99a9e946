import { chmodSync, chownSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { findExposures } from '../../src/builder/exposed.js';
import { temporaryFolder } from './workshop.js';

const IS_ROOT = process.getuid?.() === 0;
/** A folder of root's, where these tests are root's; who runs the tests removes it. */
const ROOT_OWNED_FOLDER = mkdtempSync(join(tmpdir(), 'piw-theirs-'));
if (IS_ROOT) {
  mkdirSync(join(ROOT_OWNED_FOLDER, 'ours/theirs/code'), { recursive: true });
  chmodSync(ROOT_OWNED_FOLDER, 0o755);
  chownSync(join(ROOT_OWNED_FOLDER, 'ours'), 65534, 65534);
}

// Root may read and write everything, so that nothing could be told apart; from here on this is nobody.
if (IS_ROOT) {
  process.setgroups?.([]);
  process.setgid?.(65534);
  process.setuid?.(65534);
}

t.test('what this user can read or write is exposed to what runs under it', async (t) => {
  const folder = temporaryFolder(t);
  const key = join(folder, 'slave.conf');
  const code = join(folder, 'code');
  mkdirSync(code);
  writeFileSync(key, 'master = nats://me:secret@here');
  t.strictSame(await findExposures({ secrets: [key, key, join(folder, 'nowhere')], readOnlyPaths: [code] }), [
    `it could read ${key}`,
    `it could write ${code}`,
  ]);
});

t.test('what this user has, it can make writable', async (t) => {
  const code = join(temporaryFolder(t), 'code');
  mkdirSync(code, { mode: 0o555 });
  t.strictSame(await findExposures({ secrets: [], readOnlyPaths: [code] }), [`it could write ${code}`]);
});

t.test(
  'code is exposed where it could be replaced',
  { skip: !IS_ROOT && 'needs root: everything here belongs to this user' },
  async (t) => {
    // It is root's, but for one folder above it.
    t.strictSame(
      await findExposures({ secrets: [], readOnlyPaths: [join(ROOT_OWNED_FOLDER, 'ours/theirs/code')] }),
      [`it could write ${join(ROOT_OWNED_FOLDER, 'ours')}`],
    );
  },
);

t.test('what is the system’s or isn’t there is not exposed', async (t) => {
  t.strictSame(
    await findExposures({ secrets: ['/nowhere', '/etc'], readOnlyPaths: ['/nowhere', '/usr/bin'] }),
    [],
  );
});
