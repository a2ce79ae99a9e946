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

  t.test('a wheel that cannot be inspected on a full disk is not a wrong wheel', async (t) => {
    const { builder, request } = createTestBuilder(t, index.url, small);
    await t.rejects(builder.build(request('crowds')), full);
    await builder.clean();
    t.ok((await builder.build(request('plain'))).status, 'there is space again');
  });

  t.test('a build on a full disk does not start', async (t) => {
    fillDisk(workDir);
    const { builder, request } = createTestBuilder(t, index.url, small);
    await t.rejects(builder.build(request('plain')), full);
  });
}
