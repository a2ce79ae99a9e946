import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const DISK_ENV = 'PIW_TEST_SMALL_DISK';

/**
 * Runs `tests` in a folder that is a disk of its own, of `megabytes`. The test file at `url` runs a second time for it,
 * in a mount namespace, which needs no rights. Skipped where that isn't allowed.
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
  const mount = `mount -t tmpfs -o size=${String(megabytes)}m,mode=755 piw-test "$1"`;
  const run = (script: string) =>
    spawnSync('unshare', ['-rm', 'sh', '-c', script, process.execPath, folder, fileURLToPath(url)], {
      encoding: 'utf8',
      env: { ...process.env, [DISK_ENV]: folder },
    });
  const canMount = process.platform === 'linux' && run(mount).status === 0;
  const skip = !canMount && 'needs Linux, and user namespaces that may mount a small disk (unshare -rm)';
  await t.test('the tests below, on a small disk', { skip }, (t) => {
    const { status, stdout, stderr } = run(`${mount} && exec "$0" "$2"`);
    t.equal(status, 0, stdout + stderr);
    t.comment(stdout);
    t.end();
  });
}

/** Fills the disk that holds `folder` to its last block. Returns a function that makes room again. */
export function fillDisk(folder: string): () => void {
  const path = join(folder, '.filler');
  const { bavail, bsize } = statfsSync(folder);
  writeFileSync(path, Buffer.alloc(bavail * bsize, 'x'));
  return () => {
    rmSync(path, { force: true });
  };
}
