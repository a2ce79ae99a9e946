import { spawnSync } from 'node:child_process';
import { writeFileSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { packFixture } from '../helpers/sdist.js';
import { IndexServer } from './index-server.js';
import { temporary, workshop } from './workshop.js';

const FILE = fileURLToPath(import.meta.url);
/** A folder for builds on a disk of 32 MB. */
const SMALL = process.env['PIW_TEST_SMALL_DISK'];

if (SMALL !== undefined) await tests(SMALL);
else {
  const mount = 'mount -t tmpfs -o size=32m,mode=755 piw-test "$1"';
  const inside = (folder: string, script: string) =>
    spawnSync('unshare', ['-rm', 'sh', '-c', script, process.execPath, folder, FILE], {
      encoding: 'utf8',
      env: { ...process.env, PIW_TEST_SMALL_DISK: folder },
    });
  const can = process.platform === 'linux' && inside(temporary(t), mount).status === 0;
  t.test(
    'the tests below, on a small disk',
    { skip: !can && 'needs Linux, and user namespaces that may mount a small disk (unshare -rm)' },
    (t) => {
      const { status, stdout, stderr } = inside(temporary(t), `${mount} && exec "$0" "$2"`);
      t.equal(status, 0, stdout + stderr);
      t.comment(stdout);
      t.end();
    },
  );
}

async function tests(workDir: string): Promise<void> {
  const index = await IndexServer.start(['crowds', 'plain'].map((fixture) => packFixture(fixture)));
  t.teardown(() => index.stop());
  const full = { code: 'PIW_DISK_FULL' };
  const small = { workDir, limits: { diskFree: 0 } };

  t.test('a wheel that can’t be looked at for want of room is no wrong wheel', async (t) => {
    const { builder, request } = workshop(t, index.url, small);
    await t.rejects(builder.build(request('crowds')), full);
    await builder.clean();
    t.ok((await builder.build(request('plain'))).status, 'and there is room again');
  });

  t.test('what is built on a disk that is full is not begun', async (t) => {
    const { bavail, bsize } = statfsSync(workDir);
    writeFileSync(join(workDir, 'all'), Buffer.alloc(bavail * bsize, 'x'));
    const { builder, request } = workshop(t, index.url, small);
    await t.rejects(builder.build(request('plain')), full);
  });
}
