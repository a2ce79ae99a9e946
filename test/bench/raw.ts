/** One end of a bare line through NATS: `raw.js take ADDRESS` or `raw.js give ADDRESS BYTES`, for the limits. */
import { Bus } from '../../src/bus/bus.js';
import { CHUNK_SIZE } from '../../src/bus/objects.js';

const [role = '', address = '', bytes = '0'] = process.argv.slice(2);
/** Pieces that may be under way, as in a transfer. */
const WINDOW = 16;
const bus = await Bus.connect({ address, name: 'raw' });
const line = bus.connection;

async function take(): Promise<void> {
  const pieces = line.subscribe('limit.raw');
  await line.flush();
  process.send?.({ ready: true });
  for await (const piece of pieces) piece.respond();
}

async function give(size: number): Promise<number> {
  const piece = Buffer.alloc(CHUNK_SIZE, 1);
  const began = performance.now();
  const waiting = new Set<Promise<unknown>>();
  for (let sent = 0; sent < size; sent += piece.length) {
    if (waiting.size >= WINDOW) await Promise.race(waiting);
    const one: Promise<unknown> = line
      .request('limit.raw', piece, { timeout: 10_000 })
      .finally(() => waiting.delete(one));
    waiting.add(one);
  }
  await Promise.all(waiting);
  return size / 1e3 / (performance.now() - began);
}

process.once('disconnect', () => process.exit());
if (role === 'take') await take();
else process.send?.({ rate: await give(Number(bytes)) });
