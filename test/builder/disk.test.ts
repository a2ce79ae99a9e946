import { packFixture } from '../helpers/sdist.js';
import { fillDisk, onSmallDisk } from '../helpers/small-disk.js';
import t from 'tap';
import { IndexServer } from './index-server.js';
import { createTestBuilder } from './workshop.js';

await onSmallDisk(import.meta.url, 32, tests);

async function tests(workDir: string): Promise<void> {
  const index = await IndexServer.start(['crowds', 'plain'].map((fixture) => packFixture(fixture)));
  t.teardown(() => index.stop());
  const full = { code: 'PIW_DISK_FULL' };
  const small = { workDir, limits: { diskFree: 0 } };

  t.test('a wheel that can’t be looked at for want of room is no wrong wheel', async (t) => {
    const { builder, request } = createTestBuilder(t, index.url, small);
    await t.rejects(builder.build(request('crowds')), full);
    await builder.clean();
    t.ok((await builder.build(request('plain'))).status, 'and there is room again');
  });

  t.test('what is built on a disk that is full is not begun', async (t) => {
    fillDisk(workDir);
    const { builder, request } = createTestBuilder(t, index.url, small);
    await t.rejects(builder.build(request('plain')), full);
  });
}
