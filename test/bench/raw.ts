/** One end of a plain NATS connection, to measure its limit: `raw.js take ADDRESS` or `raw.js give ADDRESS BYTES`. */
import { Bus } from '../../src/bus/bus.js';
import { CHUNK_SIZE } from '../../src/bus/chunk.js';

const [role = '', address = '', bytes = '0'] = process.argv.slice(2);
/** Chunks that may be in flight, as in a transfer. */
const MAX_IN_FLIGHT = 16;
const bus = await Bus.connect({ address, name: 'raw' });
const connection = bus.connection;

async function receive(): Promise<void> {
  const messages = connection.subscribe('limit.raw');
  await connection.flush();
  process.send?.({ ready: true });
  for await (const message of messages) message.respond();
}

/** Sends `size` bytes. Returns the rate, MB per second. */
async function send(size: number): Promise<number> {
  const chunk = Buffer.alloc(CHUNK_SIZE, 1);
  const startedAt = performance.now();
  const inFlight = new Set<Promise<unknown>>();
  for (let sent = 0; sent < size; sent += chunk.length) {
    if (inFlight.size >= MAX_IN_FLIGHT) await Promise.race(inFlight);
    const request: Promise<unknown> = connection
      .request('limit.raw', chunk, { timeout: 10_000 })
      .finally(() => inFlight.delete(request));
    inFlight.add(request);
  }
  await Promise.all(inFlight);
  return size / 1e3 / (performance.now() - startedAt);
}

process.once('disconnect', () => process.exit());
if (role === 'take') await receive();
else process.send?.({ rate: await send(Number(bytes)) });
