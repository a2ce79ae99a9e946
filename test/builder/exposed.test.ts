import { chmodSync, chownSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { findExposures } from '../../src/builder/exposed.js';
import { temporaryFolder } from './workshop.js';

const IS_ROOT = process.getuid?.() === 0;
/**
 * If the tests run as root, a folder of root's that contains `ours`, a folder of nobody's (as whom the tests then run),
 * and in it `theirs/code`, again root's. The test runner removes it.
 */
const ROOT_OWNED_FOLDER = mkdtempSync(join(tmpdir(), 'piw-theirs-'));
if (IS_ROOT) {
  mkdirSync(join(ROOT_OWNED_FOLDER, 'ours/theirs/code'), { recursive: true });
  chmodSync(ROOT_OWNED_FOLDER, 0o755);
  chownSync(join(ROOT_OWNED_FOLDER, 'ours'), 65534, 65534);
}

// Root can read and write everything, so every path would be exposed: the tests run as nobody.
if (IS_ROOT) {
  process.setgroups?.([]);
  process.setgid?.(65534);
  process.setuid?.(65534);
}

t.test('what this user can read or write is exposed to its builds', async (t) => {
  const folder = temporaryFolder(t);
  const key = join(folder, 'slave.conf');
  const code = join(folder, 'code');
  mkdirSync(code);
  writeFileSync(key, 'master = nats://me:secret@here');
  t.strictSame(await findExposures({ secrets: [key, key, join(folder, 'nowhere')], readOnlyPaths: [code] }), [
    `read ${key}`,
    `write ${code}`,
  ]);
});

t.test('a read-only folder that this user owns is exposed, because it can be made writable', async (t) => {
  const code = join(temporaryFolder(t), 'code');
  mkdirSync(code, { mode: 0o555 });
  t.strictSame(await findExposures({ secrets: [], readOnlyPaths: [code] }), [`write ${code}`]);
});

t.test(
  'code is exposed if a folder above it is writable, because it could be replaced there',
  { skip: !IS_ROOT && 'needs root to create files of another user' },
  async (t) => {
    // Everything is root's, except one folder above the code.
    t.strictSame(
      await findExposures({ secrets: [], readOnlyPaths: [join(ROOT_OWNED_FOLDER, 'ours/theirs/code')] }),
      [`write ${join(ROOT_OWNED_FOLDER, 'ours')}`],
    );
  },
);

t.test('system files and missing paths are not exposed', async (t) => {
  t.strictSame(
    await findExposures({ secrets: ['/nowhere', '/etc'], readOnlyPaths: ['/nowhere', '/usr/bin'] }),
    [],
  );
});
