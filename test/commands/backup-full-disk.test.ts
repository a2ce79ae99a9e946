import { mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { logBuilds } from '../../src/database/builds.js';
import { addReleases } from '../../src/database/versions.js';
import { fileToMessage } from '../../src/model/file-state.js';
import { piwRunner } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { publish } from '../helpers/output-path.js';
import { insertTarget, someBuild, someRelease } from '../helpers/rows.js';
import { fillDisk, onSmallDisk } from '../helpers/small-disk.js';
import { fileStateOf } from '../helpers/wheel.js';

await onSmallDisk(import.meta.url, 2, async (disk) => {
  await t.test('a full disk ends a backup with one line, and leaves the earlier one', async (t) => {
    const { db, dsn } = await testDatabase(t);
    await insertTarget(db, 'cp311');
    await addReleases(db, 'demo', 'add', [someRelease('1.0')]);
    const output = join(mkdtempSync(join(tmpdir(), 'piw-backup-')), 'www');
    const simple = join(output, 'simple/demo');
    mkdirSync(simple, { recursive: true });
    const { filename, metadata_sha256 } = await publish(simple, { name: 'demo', version: '1.0' });
    const file = fileToMessage({ ...(await fileStateOf(join(simple, filename))), transferred: true });
    await logBuilds(db, [
      someBuild('1.0', { status: true, failure_class: null, files: [[file, metadata_sha256, null]] }),
    ]);
    const piw = piwRunner({ dsn, 'output-path': output });
    const folder = join(disk, 'backup');
    t.equal((await piw('backup', folder)).code, 0);
    const manifest = readFileSync(join(folder, 'piw-backup.json'), 'utf8');
    const names = readdirSync(folder).sort();

    // Room for a few tables, and not for all.
    writeFileSync(join(disk, 'reserve'), Buffer.alloc(32 * 1024, 'x'));
    const freeAll = fillDisk(disk);
    writeFileSync(join(disk, 'reserve'), '');
    const { code, out, err } = await piw('backup', folder);
    t.same([code, out], [1, '']);
    t.match(err, /^piw: the disk that holds .* is full\. Free space on that disk; .*\n$/);
    t.equal(readFileSync(join(folder, 'piw-backup.json'), 'utf8'), manifest);
    t.same(readdirSync(folder).sort(), names, 'nothing is left of it');
    freeAll();
    t.equal((await piw('backup', folder)).code, 0);
  });
});
