import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import t from 'tap';
import { ProtocolClient } from '../../src/actor/client.js';
import { secretary as protocol } from '../../src/protocols/web.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { until } from '../helpers/bus.js';
import { testMaster, testSlave, type BuildStub } from '../helpers/master.js';
import { ScriptedSession } from '../helpers/session.js';
import { fillDisk, onSmallDisk } from '../helpers/small-disk.js';
import { fileStateOf, makeWheel } from '../helpers/wheel.js';

t.setTimeout(240_000);

/** More than any number of attempts that was ever counted as a fault of the slave. */
const ATTEMPTS = 8;
const BUILDS = 'select status, failure_class from builds order by build_id';

async function tests(disk: string): Promise<void> {
  for (const [kind, bytes] of [
    ['small', 10_000],
    ['large', 600_000],
  ] as const) {
    await t.test(
      `a ${kind} file that has arrived is kept until the full disk has space for it`,
      async (t) => {
        const { bus, db, folder, logLines, slaves } = await testMaster(t, { disk });
        const built = mkdtempSync(join(tmpdir(), 'piw-built-'));
        const path = await makeWheel(built, { files: { 'data.bin': randomBytes(bytes) } });
        const slave = new ScriptedSession(bus, 'one', path);
        for (const verb of ['HELLO', 'IDLE', 'BUILT'] as const) await slave.request(verb);
        await slave.send();
        const freeSpace = fillDisk(disk);
        t.teardown(freeSpace);
        for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) t.equal(await slave.request('SENT'), 'WAIT');
        t.same(await db.query(BUILDS), [], 'nothing is recorded');
        t.match((await slaves())[0], { state: 'sending', note: /^the disk that holds .* is full$/ });
        t.equal(
          logLines.filter((line) => line.includes('waits to send its files')).length,
          1,
          'it is logged once',
        );
        freeSpace();
        t.equal(await slave.request('SENT'), 'DONE', 'it is not sent again');
        t.same(await db.query(BUILDS), [{ status: true, failure_class: null }]);
        t.same(readFileSync(join(folder, basename(path))), readFileSync(path));
        t.same(readdirSync(join(folder, '..', '..', '.transfers')), []);
        t.notOk(
          readdirSync(folder).some((name) => name.startsWith('.tmp-')),
          'no temporary file is left',
        );
      },
    );
  }

  await t.test(
    'a slave waits with its file while the disk is full, and delivers it within 15 s of free space',
    async (t) => {
      const { db, prefix, folder } = await testMaster(t, { disk });
      const freeSpace = fillDisk(disk);
      t.teardown(freeSpace);
      const pip: BuildStub = async (_, workDir) => {
        const path = await makeWheel(workDir, { files: { 'data.bin': randomBytes(600_000) } });
        const files = [{ ...(await fileStateOf(path)), path }];
        return { status: true, failureClass: null, durationS: 1, output: 'log', details: NO_DETAILS, files };
      };
      const slave = await testSlave(t, prefix, pip);
      await until(() => slave.logLines.some((line) => /the disk that holds .* is full/.test(line)));
      t.same(await db.query(BUILDS), []);
      freeSpace();
      const began = performance.now();
      await until(async () => (await db.query(BUILDS)).length > 0, 30_000);
      t.ok(performance.now() - began < 15_000);
      t.same(await db.query(BUILDS), [{ status: true, failure_class: null }]);
      t.equal(slave.builtVersions.length, 1, 'it was built once');
      t.ok(readdirSync(folder).some((name) => name.endsWith('.whl')));
    },
  );

  await t.test(
    'pages stay due while the disk is full; that is logged once, and ends by itself',
    async (t) => {
      const { db, bus, output, logLines } = await testMaster(t, { disk });
      const secretary = new ProtocolClient(bus, protocol, undefined, { timeoutMs: 5000, patienceMs: 20_000 });
      await until(() => existsSync(join(output, 'packages.html')));
      rmSync(join(output, 'project', 'demo'), { recursive: true, force: true });
      const freeSpace = fillDisk(disk);
      t.teardown(freeSpace);
      for (const build of [1, 2, 3, 4]) await secretary.request('LOG', { build_id: build });
      await secretary.request('PROJECT', { package: 'demo' });
      const countLines = (text: string) => logLines.filter((line) => line.includes(text)).length;
      const stalls = () => countLines('no page can be written code=PIW_DISK_FULL');
      await until(() => stalls() > 0);
      // Pages that were being written when the disk was filled may have freed those that they replaced.
      fillDisk(disk);
      const before = stalls();
      // Long enough for several further attempts.
      const deadline = performance.now() + 8000;
      await until(() => performance.now() > deadline);
      t.equal(stalls(), before);
      t.equal(countLines('condition began kind=disk-full'), 1);
      t.equal(countLines('write failed, will be retried'), 0);
      t.ok((await db.query('select 1 from pages_backlog')).length > 0, 'they are in the backlog');
      freeSpace();
      const began = performance.now();
      await until(() => existsSync(join(output, 'project', 'demo', 'index.html')), 30_000);
      t.ok(performance.now() - began < 15_000);
      await until(
        () =>
          countLines('condition ended kind=disk-full') > 0 && countLines('pages can be written again') > 0,
      );
      t.equal(countLines('condition ended kind=disk-full'), 1);
      t.equal(countLines('pages can be written again'), before);
      await until(
        async () => (await db.query("select 1 from pages_backlog where kind = 'LOG'")).length === 0,
      );
    },
  );
}

await onSmallDisk(import.meta.url, 24, tests);
