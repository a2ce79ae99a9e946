import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statfsSync, appendFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const DISK_ENV = 'PIW_TEST_SMALL_DISK';

/**
 * Runs `tests` with a folder that is a file system of its own, of `megabytes`. For that the test file at `url` runs a
 * second time, in a mount namespace, which does not need root. The tests are skipped if the system doesn't allow
 * that.
 */
export async function onSmallDisk(
  url: string,
  megabytes: number,
  tests: (folder: string) => Promise<void> | void,
): Promise<void> {
  const mountedFolder = process.env[DISK_ENV];
  if (mountedFolder !== undefined) {
    await tests(mountedFolder);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'piw-small-disk-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  const mount = `mount -t tmpfs -o size=${megabytes}m,mode=755 piw-test "$1"`;
  const run = (script: string) =>
    spawnSync('unshare', ['-rm', 'sh', '-c', script, process.execPath, folder, fileURLToPath(url)], {
      encoding: 'utf8',
      env: { ...process.env, [DISK_ENV]: folder },
    });
  const canMount = process.platform === 'linux' && run(mount).status === 0;
  const skip = !canMount && 'needs Linux with user namespaces that may mount a tmpfs (unshare -rm)';
  await t.test('the tests in this file pass on a small disk', { skip }, (t) => {
    const { status, stdout, stderr } = run(`${mount} && exec "$0" "$2"`);
    t.equal(status, 0, stdout + stderr);
    t.comment(stdout);
    t.end();
  });
}

/**
 * Fills the disk that holds `folder` to its last block, also what has been freed since the last call. Returns a function
 * that frees the space again.
 */
export function fillDisk(folder: string): () => void {
  const path = join(folder, '.filler');
  const { bavail, bsize } = statfsSync(folder);
  appendFileSync(path, Buffer.alloc(bavail * bsize, 'x'));
  return () => {
    rmSync(path, { force: true });
  };
}
