import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, readdir, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { RawNats } from '../helpers/raw-nats.js';
import { makeWheel, sha256 } from '../helpers/wheel.js';
import { until } from '../helpers/bus.js';
import {
  Mallory,
  STATS,
  startHostileFarm,
  type MalloryLease,
  type HostileFarm,
  type AnswerFields,
} from './stage.js';

t.setTimeout(280_000);

interface AnnouncedTransfer {
  readonly lease: MalloryLease;
  readonly filename: string;
  readonly id: string;
  readonly contents: Buffer;
}

/** Announces a good wheel, with another hash or size if given, and waits until it is requested. */
async function announceTransfer(
  farm: HostileFarm,
  { hash, size, bytes = 1_200_000 }: { hash?: string; size?: number; bytes?: number } = {},
): Promise<AnnouncedTransfer> {
  const lease = await farm.mallory.lease();
  const folder = await mkdtemp(join(tmpdir(), 'piw-sending-'));
  const files = { 'demo.bin': randomBytes(bytes) };
  const path = await makeWheel(folder, { name: lease.package, version: lease.version, files });
  const contents = await readFile(path);
  const filename = `${lease.package}-${lease.version}-py3-none-any.whl`;
  const tags = [lease.package, lease.version, 'py3', 'none', 'any', null, {}, false];
  farm.markLog();
  const answer = await farm.mallory.built(lease, [
    [filename, size ?? contents.length, hash ?? sha256(contents), ...tags],
  ]);
  if (answer[0] !== 'SEND') throw new Error(`${filename} was not requested: ${JSON.stringify(answer)}`);
  return { lease, filename, id: String(answer[2]), contents };
}

void t.test('only files that equal their announcement are published', async (t) => {
  const farm = await startHostileFarm(t, 30, { processes: 'each task' });
  const { mallory, output, addresses } = farm;
  const sayHello = (s: AnnouncedTransfer): Promise<AnswerFields> =>
    mallory.send(s.lease.session, 'file.HELLO', s.id);
  const saySent = (s: AnnouncedTransfer): Promise<AnswerFields> =>
    mallory.send(s.lease.session, 'SENT', s.lease.lease, s.filename);
  const sayChunk = (s: AnnouncedTransfer): Promise<AnswerFields> =>
    mallory.send(s.lease.session, 'file.CHUNK', 0, s.contents.length);
  const publishedFile = async (s: AnnouncedTransfer): Promise<Buffer | undefined> =>
    await readFile(join(output, 'simple', s.lease.package, s.filename)).catch(() => undefined);
  const expectRefused = async (t: Test, s: AnnouncedTransfer) => {
    await until(() => farm.newLogs().includes('file refused'));
    t.equal(await publishedFile(s), undefined, 'it is not published');
  };
  /** Sends the file correctly after all, and expects that it is published. */
  const expectPublished = async (t: Test, s: AnnouncedTransfer) => {
    t.match(await mallory.deliver(s.lease.session, s.id, s.contents), ['DONE']);
    t.match(await saySent(s), ['DONE']);
    t.ok((await publishedFile(s))?.equals(s.contents), 'the published file equals the announced one');
  };

  await t.test('a file that never has the announced hash is refused in the end', async (t) => {
    const transfer = await announceTransfer(farm, { hash: 'a'.repeat(64) });
    let answer: AnswerFields = ['SEND'];
    for (let attempt = 0; attempt < 10 && answer[0] === 'SEND'; attempt += 1) {
      await mallory.deliver(transfer.lease.session, transfer.id, transfer.contents);
      answer = await saySent(transfer);
    }
    t.match(answer, ['DONE'], 'it ends');
    await until(() => /the SHA-256 of .* differs from the announced one/.test(farm.newLogs()));
    await expectRefused(t, transfer);
  });

  await t.test('a size that is too small or too large is refused', async (t) => {
    const small = await announceTransfer(farm, { size: 1000 });
    t.match(await sayHello(small), ['FETCH', 0, 1000]);
    await mallory.storeChunk(small.id, 0, small.contents.subarray(0, 600_000));
    await mallory.storeChunk(small.id, 0, small.contents.subarray(0, 1000));
    t.match(await mallory.send(small.lease.session, 'file.CHUNK', 0, 1000), ['DONE']);
    await mallory.storeChunk(small.id, 1000, small.contents.subarray(1000, 600_000));
    for (let answer = await saySent(small), attempt = 0; answer[0] === 'SEND' && attempt < 10; attempt += 1)
      answer = await saySent(small);
    await expectRefused(t, small);
    const large = await announceTransfer(farm, { size: 2_000_000_000 });
    await mallory.deliver(large.lease.session, large.id, large.contents);
    t.match(await saySent(large), ['SEND'], 'bytes are missing');
    await until(() => /bytes of .* are missing/.test(farm.newLogs()));
    t.equal(await publishedFile(large), undefined);
    const parts = await readdir(join(output, '.transfers'));
    const sizes = await Promise.all(
      parts.map(async (name) => (await stat(join(output, '.transfers', name))).blocks * 512),
    );
    t.ok(Math.max(...sizes) < 10_000_000, 'bytes that were only announced take no disk space');
    await mallory.send(large.lease.session, 'BYE');
  });

  await t.test('invalid offsets are ignored', async (t) => {
    const transfer = await announceTransfer(farm);
    t.match(await sayHello(transfer), ['FETCH', 0, transfer.contents.length]);
    const junk = Buffer.alloc(1000, 'j');
    const length = transfer.contents.length;
    for (const offset of [
      -1,
      -1e15,
      length,
      length + 1,
      length - 999,
      1e12,
      2 ** 53,
      0.5,
      'NaN',
      'Infinity',
      '',
      ' ',
      '0x10',
      '1e3x',
      '../0',
      '\u0000',
    ]) {
      await mallory.storeChunk(transfer.id, offset, junk);
    }
    mallory.raw.publish(`$O.piw-slave-mallory.C.file.${transfer.id}.none`, junk);
    for (const fields of [[-1, 1], [0, -1], [0.5, 1], [NaN, 1], ['0', 1], [2 ** 60, 1], [0]])
      t.match(
        await mallory.send(transfer.lease.session, 'file.CHUNK', ...fields),
        ['ERROR', 'PIW_MESSAGE_INVALID'],
        String(fields),
      );
    await until(() => farm.newLogs().includes('CHUNK code='));
    t.match(await saySent(transfer), ['SEND'], 'none of it becomes part of the file');
    await until(() => /bytes of .* are missing/.test(farm.newLogs()));
    t.match(await mallory.send(transfer.lease.session, 'BYE'), ['BYE']);
    await expectPublished(t, await announceTransfer(farm));
  });

  await t.test('chunks with malformed headers are ignored', async (t) => {
    const transfer = await announceTransfer(farm);
    t.match(await sayHello(transfer), ['FETCH', 0]);
    for (const headers of ['NATS/1.0\r\na b\u0001: 1\r\n\r\n', 'NATS/1.0\r\n: :\r\n\r\n', 'x\r\n\r\n'])
      mallory.raw.publish(`$O.piw-slave-mallory.C.file.${transfer.id}.bad`, 'x', { headers });
    await sayChunk(transfer);
    t.match(await saySent(transfer), ['SEND'], 'bytes are missing');
    await until(() => /is not a valid character|bytes of .* are missing/.test(farm.newLogs()));
    t.match(await mallory.send(transfer.lease.session, 'BYE'), ['BYE']);
    const other = await announceTransfer(farm);
    await expectPublished(t, other);
  });

  await t.test('overlapping and repeated chunks do not damage a file', async (t) => {
    const transfer = await announceTransfer(farm);
    t.match(await sayHello(transfer), ['FETCH', 0]);
    const half = Math.floor(transfer.contents.length / 2);
    for (let round = 0; round < 20; round += 1)
      await mallory.storeChunk(transfer.id, 0, transfer.contents.subarray(0, 1000));
    await mallory.storeChunk(transfer.id, 500, transfer.contents.subarray(500, half));
    await mallory.storeChunk(transfer.id, 900, transfer.contents.subarray(900, half - 7));
    await expectPublished(t, transfer);
  });

  await t.test('endless chunks of single bytes do not block other files', async (t) => {
    const transfer = await announceTransfer(farm, { size: 4_000_000 });
    t.match(await sayHello(transfer), ['FETCH', 0]);
    const before = farm.residentBytes('file-juggler');
    const headers = (at: number) => `NATS/1.0\r\nPiw-Offset: ${at}\r\n\r\n`;
    // Every other byte, so that no ranges merge.
    for (let i = 0; i < 60_000; i += 1) {
      mallory.raw.publish(`$O.piw-slave-mallory.C.file.${transfer.id}.x`, 'x', { headers: headers(2 * i) });
      if (i % 1000 === 0) await mallory.raw.waitForDrain();
    }
    await mallory.raw.flush();
    const began = Date.now();
    const other = await announceTransfer(farm);
    await expectPublished(t, other);
    const growth = farm.residentBytes('file-juggler') - before;
    t.comment(
      `another file arrived ${Date.now() - began} ms after 60,000 chunks of a byte; memory grew by ${(growth / 1e6).toFixed(0)} MB`,
    );
    t.ok(growth < 150e6);
    t.match(await saySent(transfer), ['SEND'], 'bytes are missing');
    const stateFiles = await readdir(join(output, '.transfers'));
    const sizes = await Promise.all(
      stateFiles.map(async (name) => (await stat(join(output, '.transfers', name))).size),
    );
    t.ok(Math.max(...sizes) < 5_000_000, 'its recorded ranges are small');
    await mallory.send(transfer.lease.session, 'BYE');
  });

  await t.test('transfers of other slaves cannot be used', async (t) => {
    const victim = new Mallory(await RawNats.connect(addresses.victim));
    t.teardown(() => {
      victim.raw.close();
    });
    const lease = await victim.lease();
    const filename = `${lease.package}-${lease.version}-py3-none-any.whl`;
    const tags = [lease.package, lease.version, 'py3', 'none', 'any', null, {}, false];
    const answer = await victim.built(lease, [[filename, 1000, 'f'.repeat(64), ...tags]]);
    const id = String(answer[2]);
    farm.markLog();
    t.match(await mallory.send('s', 'file.HELLO', id), ['ERROR', 'PIW_UNKNOWN_TRANSFER']);
    await until(() =>
      new RegExp(`no transfer ${lease.lease}-0 is expected from mallory`).test(farm.newLogs()),
    );
    t.match(await mallory.send('s', 'file.HELLO', 'no-such-transfer'), ['ERROR', 'PIW_UNKNOWN_TRANSFER']);
    t.match(await mallory.send('s', 'file.CHUNK', 0, 1000), [/ERROR|NOBODY/], 'a chunk before any HELLO');
    // In its own bucket, under the victim's transfer id.
    await mallory.storeChunk(id, 0, Buffer.alloc(1000, 'm'));
    t.match(await victim.send(lease.session, 'file.HELLO', id), ['FETCH', 0, 1000], 'nothing has arrived');
    // The same while both transfers are open.
    const transfer = await announceTransfer(farm, { bytes: 2000 });
    await mallory.send(transfer.lease.session, 'file.HELLO', transfer.id);
    await mallory.storeChunk(id, 0, Buffer.alloc(1000, 'm'));
    t.match(
      await mallory.send(transfer.lease.session, 'file.CHUNK', 0, 1000),
      ['FETCH'],
      'the chunk has been received',
    );
    t.match(
      await victim.send(lease.session, 'file.CHUNK', 0, 1000),
      ['FETCH', 0, 1000],
      'and nothing has arrived',
    );
    await victim.send(lease.session, 'BYE');
  });

  await t.test('a thousand sessions can send the same file', async (t) => {
    const transfer = await announceTransfer(farm);
    const before = farm.residentBytes('file-juggler');
    for (let round = 0; round < 10; round += 1) {
      const answers = await Promise.all(
        Array.from({ length: 100 }, (_, i) => mallory.send(`many-${round}-${i}`, 'file.HELLO', transfer.id)),
      );
      t.ok(answers.every(([verb]) => verb === 'FETCH' || verb === 'ERROR'));
    }
    const growth = farm.residentBytes('file-juggler') - before;
    t.comment(`memory grew by ${(growth / 1e6).toFixed(0)} MB`);
    t.ok(growth < 100e6);
    await expectPublished(t, transfer);
  });

  await t.test('a published file cannot be changed', async (t) => {
    const transfer = await announceTransfer(farm);
    await expectPublished(t, transfer);
    for (let round = 0; round < 5; round += 1) {
      await mallory.storeChunk(transfer.id, 0, Buffer.alloc(1000, 'm'));
      t.match(await sayHello(transfer), ['ERROR', 'PIW_UNKNOWN_TRANSFER']);
      await sayChunk(transfer);
      await saySent(transfer);
    }
    t.ok((await publishedFile(transfer))?.equals(transfer.contents));
    t.match(await mallory.send(transfer.lease.session, 'IDLE', STATS), [/BUILD|SLEEP/]);
    await mallory.send(transfer.lease.session, 'BYE');
  });

  await farm.assertUnharmed(t);
});
