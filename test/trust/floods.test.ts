import { randomBytes } from 'node:crypto';
import t from 'tap';
import { encode } from '../../src/bus/codec.js';
import { until } from '../helpers/bus.js';
import { RawNats } from '../helpers/raw-nats.js';
import { Mallory, STATS, startHostileFarm } from './stage.js';

t.setTimeout(290_000);

const MESSAGE_COUNT = 1_000_000;
/** Maximum milliseconds for which messages are sent. For a longer flood, by hand: PIW_TEST_SECONDS=60. */
const LIMIT_MS = Number(process.env['PIW_TEST_SECONDS'] ?? 12) * 1000;
const SESSION_COUNT = 4000;
const VERBS = ['HELLO', 'IDLE', 'BUSY', 'BUILT', 'SENT', 'BYE', 'file.HELLO', 'file.CHUNK', 'x', 'file.x'];

const pick = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T;

/** Returns a message of somebody who has read the protocol, with random bytes changed, or plain noise. */
function randomMessage(): Buffer {
  if (Math.random() < 0.5) return randomBytes(Math.floor(Math.random() * 200));
  const randomValue = (): unknown =>
    pick<unknown>([
      null,
      true,
      -1,
      0,
      1,
      2 ** 53,
      NaN,
      '',
      'x',
      '\0',
      '../x',
      [],
      {},
      STATS,
      [[]],
      randomBytes(5),
    ]);
  const fields = Array.from({ length: Math.floor(Math.random() * 13) }, randomValue);
  const bytes = Buffer.from(encode([pick(VERBS).split('.').at(-1), ...fields]));
  if (Math.random() < 0.5) bytes[Math.floor(Math.random() * bytes.length)] = Math.floor(Math.random() * 256);
  return bytes;
}

void t.test('a flood of messages from one slave does not block the others', async (t) => {
  const farm = await startHostileFarm(t, 10, { processes: 'each task' });
  const { mallory, addresses, db } = farm;
  const before = farm.residentBytes();

  await t.test('random messages without pause leave the others served', async (t) => {
    const { raw } = mallory;
    // Another slave sends normal requests in the meantime.
    const victim = new Mallory(await RawNats.connect(addresses.victim));
    t.teardown(() => {
      victim.raw.close();
    });
    await victim.hello('v');
    const delays: number[] = [];
    const finished = new AbortController();
    const victimRequests = (async () => {
      while (!finished.signal.aborted) {
        const began = Date.now();
        const [verb] = await victim.send('v', 'BUSY', 1, STATS);
        if (verb === 'DONE') delays.push(Date.now() - began);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    })();
    const messages = Array.from({ length: 5000 }, randomMessage);
    const end = Date.now() + LIMIT_MS;
    let sentMessages = 0;
    while (sentMessages < MESSAGE_COUNT && Date.now() < end && !raw.closed) {
      for (let i = 0; i < 500; i += 1, sentMessages += 1) {
        const reply = Math.random() < 0.5 ? { reply: '_INBOX_mallory.x' } : {};
        raw.publish(mallory.subject(pick(['a', 'b', 'c']), ...pick(VERBS).split('.')), pick(messages), reply);
      }
      raw.received.length = 0;
      await raw.waitForDrain();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await raw.flush();
    finished.abort();
    await victimRequests;
    const elapsedS = (LIMIT_MS - Math.max(0, end - Date.now())) / 1000;
    delays.sort((a, b) => a - b);
    t.comment(
      `${sentMessages} messages in ${elapsedS.toFixed(1)} s; of ${delays.length} requests of another slave in that time ` +
        `half were answered within ${delays[delays.length >> 1] ?? -1} ms, all within ${delays.at(-1) ?? -1} ms`,
    );
    t.ok(sentMessages >= MESSAGE_COUNT || elapsedS >= LIMIT_MS / 1000 - 1, 'it sends as many as fit');
    t.ok(delays.length > 0);
    await until(() => farm.newLogs().includes('more messages were refused'));
    t.ok(farm.newLogs().length < 50e6);
    t.comment(`memory of the cast grew by ${((farm.residentBytes() - before) / 1e6).toFixed(0)} MB`);
    t.ok(farm.residentBytes() - before < 600e6);
  });

  await t.test('thousands of sessions are limited', async (t) => {
    // A Slave Driver that the flood has starved may have lost its lease to the next one.
    await until(async () => (await mallory.hello('after'))[0] === 'HELLO', 30_000);
    const counts = new Map<string, number>();
    for (let round = 0; round < SESSION_COUNT / 500; round += 1) {
      const answers = await Promise.all(
        Array.from({ length: 500 }, (_, i) => mallory.hello(`h${round}-${i}`)),
      );
      for (const [verb, code] of answers) {
        const outcome = verb === 'ERROR' ? String(code) : String(verb);
        counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
      }
    }
    t.comment([...counts].map(([outcome, count]) => `${outcome} ${count}`).join(', '));
    t.ok((counts.get('HELLO') ?? 0) < 2000);
    t.ok((counts.get('PIW_REFUSED') ?? 0) > SESSION_COUNT - 2000);
    await until(() => farm.newLogs().includes('mallory starts too many sessions'));
    const [row] = await db.query<{ count: number }>('select count(*)::int from slaves');
    t.ok((row?.count ?? Infinity) < 2000, 'the database does not grow with them');
    t.comment(`memory of the cast grew by ${((farm.residentBytes() - before) / 1e6).toFixed(0)} MB`);
  });

  await t.test('more concurrent requests than a slave needs are refused', async (t) => {
    const answers = await Promise.all(
      Array.from({ length: 2000 }, () => mallory.send('h0-0', 'BUSY', 1, STATS)),
    );
    const outcomes = answers.map(([verb, code]) => String(verb === 'ERROR' ? code : verb));
    t.comment(`${outcomes.filter((outcome) => outcome === 'PIW_REFUSED').length} of 2000 were refused`);
    t.strictSame(
      [...new Set(outcomes)].filter(
        (outcome) => !['DONE', 'PIW_REFUSED', 'PIW_UNKNOWN_SLAVE'].includes(outcome),
      ),
      [],
    );
  });

  await farm.assertUnharmed(t);
});
