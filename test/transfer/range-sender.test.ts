import { createHash } from 'node:crypto';
import t, { type Test } from 'tap';
import { ProtocolClient } from '../../src/actor/client.js';
import { SEGMENT_BYTES, transfer } from '../../src/protocols/file-juggler.js';
import { RangeSender } from '../../src/transfer/range-sender.js';
import { testBus, uniquePrefix } from '../helpers/bus.js';
import { ManualClock } from '../helpers/manual-clock.js';

const FILE_BYTES = 30 * 1000 * 1000;

/** Sends a file whose segments are acknowledged after this time. Returns the lengths of the segments. */
async function sendSegments(
  t: Test,
  acknowledgedAfterMs: number,
  filesize: number,
): Promise<readonly number[]> {
  const bus = await testBus(t, uniquePrefix());
  const clock = new ManualClock();
  const tokens = ['slave', 'user', 'session', 'file'];
  const requests = bus.subscribe(bus.subject(...tokens, 'CHUNK'));
  /** By offset: on a busy machine, a request may be repeated. */
  const segments = new Map<number, number>();
  const answering = (async () => {
    for await (const request of requests) {
      const message = transfer.unpack(await request.body());
      if (message.verb === 'CHUNK') segments.set(message.offset, message.length);
      clock.advance(acknowledgedAfterMs);
      await request.respond(transfer.packAnswer('CHUNK', { verb: 'DONE' }));
    }
  })();
  const contents = Buffer.alloc(filesize, 'x');
  const filehash = createHash('sha256').update(contents).digest('hex');
  const options = {
    bus,
    clock,
    user: 'user',
    session: 'session',
    transferId: 'x',
    file: { filename: 'x', filesize, filehash },
    // As a file is read, in chunks.
    *read() {
      for (let at = 0; at < filesize; at += SEGMENT_BYTES / 2)
        yield contents.subarray(at, at + SEGMENT_BYTES / 2);
    },
  };
  const juggler = new ProtocolClient(bus, transfer, tokens);
  await new RangeSender(options, juggler, { start: 0, end: filesize }).send(() => undefined);
  await requests.stop();
  await answering;
  const lengths = [...segments.values()];
  t.equal(
    lengths.reduce((sum, length) => sum + length, 0),
    filesize,
  );
  return lengths;
}

void t.test('segments grow while they are acknowledged soon', async (t) => {
  const lengths = await sendSegments(t, 0, FILE_BYTES);
  t.equal(Math.max(...lengths), SEGMENT_BYTES);
});

void t.test('segments shrink on a slow link, on which pongs would wait behind them', async (t) => {
  const lengths = await sendSegments(t, 2000, FILE_BYTES / 10);
  t.ok(Math.max(...lengths) <= 256 * 1024, String(lengths));
  // A segment ends with a chunk, and the file's chunks are not multiples of the smallest segments.
  t.ok(
    lengths.slice(4).every((length) => length < 256 * 1024),
    String(lengths),
  );
});
