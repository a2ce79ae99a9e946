import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, readdir, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { RawNats } from '../helpers/raw-nats.js';
import { makeWheel, sha256 } from '../helpers/wheel.js';
import { until } from '../helpers/bus.js';
import { Mallory, STATS, stage, type Lease, type Stage, type Told } from './stage.js';

t.setTimeout(280_000);

interface Sending {
  readonly lease: Lease;
  readonly filename: string;
  readonly id: string;
  readonly contents: Buffer;
}

/** A wheel that would do, announced with another hash or size if they are given, and asked for. */
async function sending(
  its: Stage,
  { hash, size, bytes = 1_200_000 }: { hash?: string; size?: number; bytes?: number } = {},
): Promise<Sending> {
  const lease = await its.mallory.lease();
  const folder = await mkdtemp(join(tmpdir(), 'piw-sending-'));
  const files = { 'demo.bin': randomBytes(bytes) };
  const path = await makeWheel(folder, { name: lease.package, version: lease.version, files });
  const contents = await readFile(path);
  const filename = `${lease.package}-${lease.version}-py3-none-any.whl`;
  const about = [lease.package, lease.version, 'py3', 'none', 'any', null, {}, false];
  its.mark();
  const told = await its.mallory.built(lease, [
    [filename, size ?? contents.length, hash ?? sha256(contents), ...about],
  ]);
  if (told[0] !== 'SEND') throw new Error(`not asked for ${filename}: ${JSON.stringify(told)}`);
  return { lease, filename, id: String(told[2]), contents };
}

void t.test('a file is what was announced, or it is not published', async (t) => {
  const its = await stage(t, 30);
  const { mallory, output, addresses } = its;
  const begin = (s: Sending): Promise<Told> => mallory.tell(s.lease.session, 'file.HELLO', s.id);
  const sent = (s: Sending): Promise<Told> =>
    mallory.tell(s.lease.session, 'SENT', s.lease.lease, s.filename);
  const chunked = (s: Sending): Promise<Told> =>
    mallory.tell(s.lease.session, 'file.CHUNK', 0, s.contents.length);
  const published = async (s: Sending): Promise<Buffer | undefined> =>
    await readFile(join(output, 'simple', s.lease.package, s.filename)).catch(() => undefined);
  const refused = async (t: Test, s: Sending) => {
    await until(() => its.said().includes('a file was refused'));
    t.equal(await published(s), undefined, 'it is nowhere');
  };
  /** It is sent as it ought to be after all, and is what it is. */
  const arrives = async (t: Test, s: Sending) => {
    t.match(await mallory.deliver(s.lease.session, s.id, s.contents), ['DONE']);
    t.match(await sent(s), ['DONE']);
    t.ok((await published(s))?.equals(s.contents), 'what is published is what was announced');
  };

  await t.test('a wrong hash, for ever', async (t) => {
    const s = await sending(its, { hash: 'a'.repeat(64) });
    let told: Told = ['SEND'];
    for (let tries = 0; tries < 10 && told[0] === 'SEND'; tries += 1) {
      await mallory.deliver(s.lease.session, s.id, s.contents);
      told = await sent(s);
    }
    t.match(told, ['DONE'], 'it comes to an end');
    t.match(its.said(), /another SHA-256 than was announced/);
    await refused(t, s);
  });

  await t.test('a size that is too small, and one that is too large', async (t) => {
    const small = await sending(its, { size: 1000 });
    t.match(await begin(small), ['FETCH', 0, 1000]);
    await mallory.chunk(small.id, 0, small.contents.subarray(0, 600_000));
    await mallory.chunk(small.id, 0, small.contents.subarray(0, 1000));
    t.match(await mallory.tell(small.lease.session, 'file.CHUNK', 0, 1000), ['DONE']);
    await mallory.chunk(small.id, 1000, small.contents.subarray(1000, 600_000));
    for (let told = await sent(small), tries = 0; told[0] === 'SEND' && tries < 10; tries += 1)
      told = await sent(small);
    await refused(t, small);
    const large = await sending(its, { size: 2_000_000_000 });
    await mallory.deliver(large.lease.session, large.id, large.contents);
    t.match(await sent(large), ['SEND'], 'there are bytes missing');
    t.match(its.said(), /bytes of .* are missing/);
    t.equal(await published(large), undefined);
    const parts = await readdir(join(output, '.transfers'));
    const sizes = await Promise.all(
      parts.map(async (name) => (await stat(join(output, '.transfers', name))).blocks * 512),
    );
    t.ok(Math.max(...sizes) < 10_000_000, 'what was only announced takes no room');
    await mallory.tell(large.lease.session, 'BYE');
  });

  await t.test('offsets that are none', async (t) => {
    const s = await sending(its);
    t.match(await begin(s), ['FETCH', 0, s.contents.length]);
    const junk = Buffer.alloc(1000, 'j');
    const length = s.contents.length;
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
      await mallory.chunk(s.id, offset, junk);
    }
    await mallory.raw.ask(`$O.piw-slave-mallory.C.${s.id}.none`, junk);
    for (const fields of [[-1, 1], [0, -1], [0.5, 1], [NaN, 1], ['0', 1], [2 ** 60, 1], [0]])
      t.match(
        await mallory.tell(s.lease.session, 'file.CHUNK', ...fields),
        ['ERROR', 'PIW_MESSAGE_INVALID'],
        String(fields),
      );
    await until(() => its.said().includes('CHUNK: '));
    t.match(await sent(s), ['SEND'], 'nothing of it makes a file');
    t.match(its.said(), /bytes of .* are missing/);
    t.match(await mallory.tell(s.lease.session, 'BYE'), ['BYE']);
    await arrives(t, await sending(its));
  });

  await t.test('a chunk whose headers are none', async (t) => {
    const s = await sending(its);
    t.match(await begin(s), ['FETCH', 0]);
    for (const headers of ['NATS/1.0\r\na b\u0001: 1\r\n\r\n', 'NATS/1.0\r\n: :\r\n\r\n', 'x\r\n\r\n'])
      await mallory.raw.ask(`$O.piw-slave-mallory.C.${s.id}.bad`, 'x', { headers });
    await chunked(s);
    t.match(await sent(s), ['SEND'], 'there are bytes missing');
    t.match(its.said(), /is not a valid character|bytes of .* are missing/);
    t.match(await mallory.tell(s.lease.session, 'BYE'), ['BYE']);
    const other = await sending(its);
    await arrives(t, other);
  });

  await t.test('overlapping chunks, repeated ones, and others’ bytes between', async (t) => {
    const s = await sending(its);
    t.match(await begin(s), ['FETCH', 0]);
    const half = Math.floor(s.contents.length / 2);
    for (let round = 0; round < 20; round += 1) await mallory.chunk(s.id, 0, s.contents.subarray(0, 1000));
    await mallory.chunk(s.id, 500, s.contents.subarray(500, half));
    await mallory.chunk(s.id, 900, s.contents.subarray(900, half - 7));
    await arrives(t, s);
  });

  await t.test('endless chunks of single bytes', async (t) => {
    const s = await sending(its, { size: 4_000_000 });
    t.match(await begin(s), ['FETCH', 0]);
    const before = its.memory('file-juggler');
    const headers = (at: number) => `NATS/1.0\r\nPiw-Offset: ${String(at)}\r\n\r\n`;
    // Every other one, so that nothing of it joins.
    for (let i = 0; i < 60_000; i += 1) {
      mallory.raw.publish(`$O.piw-slave-mallory.C.${s.id}.x`, 'x', { headers: headers(2 * i) });
      if (i % 1000 === 0) await mallory.raw.drained();
    }
    await mallory.raw.flush();
    const began = Date.now();
    const other = await sending(its);
    await arrives(t, other);
    const grown = its.memory('file-juggler') - before;
    t.comment(
      `another file arrived ${String(Date.now() - began)} ms after 60,000 chunks of a byte; memory grew by ${(grown / 1e6).toFixed(0)} MB`,
    );
    t.ok(grown < 150e6);
    t.match(await sent(s), ['SEND'], 'there are bytes missing');
    const notes = await readdir(join(output, '.transfers'));
    const sizes = await Promise.all(
      notes.map(async (name) => (await stat(join(output, '.transfers', name))).size),
    );
    t.ok(Math.max(...sizes) < 5_000_000, 'what is noted of it is small');
    await mallory.tell(s.lease.session, 'BYE');
  });

  await t.test('transfers that are not its own', async (t) => {
    const victim = new Mallory(await RawNats.connect(addresses.victim));
    t.teardown(() => {
      victim.raw.close();
    });
    const lease = await victim.lease();
    const filename = `${lease.package}-${lease.version}-py3-none-any.whl`;
    const about = [lease.package, lease.version, 'py3', 'none', 'any', null, {}, false];
    const told = await victim.built(lease, [[filename, 1000, 'f'.repeat(64), ...about]]);
    const id = String(told[2]);
    its.mark();
    t.match(await mallory.tell('s', 'file.HELLO', id), ['ERROR', 'PIW_UNKNOWN_TRANSFER']);
    t.match(its.said(), new RegExp(`no transfer ${lease.lease}-0 is expected from mallory`));
    t.match(await mallory.tell('s', 'file.HELLO', 'no-such-transfer'), ['ERROR', 'PIW_UNKNOWN_TRANSFER']);
    t.match(await mallory.tell('s', 'file.CHUNK', 0, 1000), [/ERROR|NOBODY/], 'a chunk before any HELLO');
    // In its own bucket, under the victim's name.
    await mallory.chunk(id, 0, Buffer.alloc(1000, 'm'));
    t.match(await victim.tell(lease.session, 'file.HELLO', id), ['FETCH', 0, 1000], 'nothing of it has come');
    // The same while both are heard.
    const s = await sending(its, { bytes: 2000 });
    await mallory.tell(s.lease.session, 'file.HELLO', s.id);
    await mallory.chunk(id, 0, Buffer.alloc(1000, 'm'));
    t.match(await mallory.tell(s.lease.session, 'file.CHUNK', 0, 1000), ['FETCH'], 'it was heard by now');
    t.match(
      await victim.tell(lease.session, 'file.CHUNK', 0, 1000),
      ['FETCH', 0, 1000],
      'and nothing has come',
    );
    await victim.tell(lease.session, 'BYE');
  });

  await t.test('a thousand sessions that send one file', async (t) => {
    const s = await sending(its);
    const before = its.memory('file-juggler');
    for (let round = 0; round < 10; round += 1) {
      const said = await Promise.all(
        Array.from({ length: 100 }, (_, i) =>
          mallory.tell(`many-${String(round)}-${String(i)}`, 'file.HELLO', s.id),
        ),
      );
      t.ok(said.every(([verb]) => verb === 'FETCH' || verb === 'ERROR'));
    }
    const grown = its.memory('file-juggler') - before;
    t.comment(`memory grew by ${(grown / 1e6).toFixed(0)} MB`);
    t.ok(grown < 100e6);
    await arrives(t, s);
  });

  await t.test('a file that is published stays as it is', async (t) => {
    const s = await sending(its);
    await arrives(t, s);
    for (let round = 0; round < 5; round += 1) {
      await mallory.chunk(s.id, 0, Buffer.alloc(1000, 'm'));
      t.match(await begin(s), ['ERROR', 'PIW_UNKNOWN_TRANSFER']);
      await chunked(s);
      await sent(s);
    }
    t.ok((await published(s))?.equals(s.contents));
    t.match(await mallory.tell(s.lease.session, 'IDLE', STATS), [/BUILD|SLEEP/]);
    await mallory.tell(s.lease.session, 'BYE');
  });

  await its.survived(t);
});
