import t from 'tap';
import { LeaderLease } from '../../src/bus/lease.js';
import { TestNats } from '../helpers/own-nats.js';

t.setTimeout(120_000);

const skip = process.getuid?.() === 0 ? false : 'only root can mount a small disk';
const neverAborted = new AbortController().signal;

void t.test('leases can be held and acquired while the disk of nats-server is full', { skip }, async (t) => {
  const nats = await TestNats.start(t, { diskMb: 8 });
  const bus = await nats.connect(t);
  const heldLease = await LeaderLease.acquire(bus, 'held', 'a', neverAborted);
  nats.fillDisk();
  const firstLease = await LeaderLease.acquire(bus, 'taken', 'a', neverAborted);
  await firstLease?.release();
  const secondLease = await LeaderLease.acquire(bus, 'taken', 'a', neverAborted);
  t.ok((secondLease?.fence ?? 0) > (firstLease?.fence ?? 0));
  t.ok(heldLease?.held);
  await heldLease?.release();
  await secondLease?.release();
});

void t.test(
  'repair() makes a bucket store again after the disk of nats-server was full',
  { skip },
  async (t) => {
    const nats = await TestNats.start(t, { diskMb: 8 });
    const bus = await nats.connect(t);
    const bucket = { name: 'b', maxAgeMs: 60_000, maxBytes: 4e6, dropsOldest: true };
    const write = () => bus.objects.write('b', 'object', Buffer.alloc(100_000));
    const largeBody = () => bus.publish(bus.subject('x'), 'x'.repeat(1_200_000));
    await bus.objects.buckets.ensure(bucket);
    await largeBody();
    nats.fillDisk();
    // It is refused, or replaces the large body from before.
    const large = largeBody().catch(() => undefined);
    const full = { code: 'PIW_NATS_STORAGE', message: /does not store what is sent to it/ };
    await t.rejects(write(), full);
    nats.freeDisk();
    await t.rejects(write(), full, 'nats-server does not recover on its own');
    t.equal(await bus.objects.buckets.repair(bucket), true);
    await write();
    t.equal(await bus.objects.countChunks('b', 'object'), 1);
    await large;
    await largeBody();
    t.equal(await bus.objects.buckets.repair(bucket), false, 'nothing is left to repair');
  },
);
