import { setImmediate as tick } from 'node:timers/promises';
import t from 'tap';
import { PiwError } from '../../src/errors.js';
import type { Body } from '../../src/protocols/protocol.js';
import type { SlaveVerbs } from '../../src/protocols/slave-driver.js';
import { OutputFeed } from '../../src/slave/output-feed.js';
import { ManualClock } from '../helpers/manual-clock.js';

const LEASE = 7;
type Output = Body<SlaveVerbs, 'OUTPUT'>;

/** A feed during a build; what it sends is in `sent`, and `answer` decides what the master answers. */
function startFeed(answer: (output: Output) => 'CONT' | 'DONE' = () => 'CONT') {
  const clock = new ManualClock();
  const sent: Output[] = [];
  const controller = new AbortController();
  const feed = new OutputFeed({
    clock,
    send: (output) => {
      sent.push(output);
      return Promise.resolve({ verb: answer(output) });
    },
  });
  feed.begin(LEASE, controller.signal);
  const advance = async (ms: number): Promise<void> => {
    clock.advance(ms);
    await tick();
  };
  const end = async (): Promise<void> => {
    controller.abort();
    await feed.end();
  };
  return { feed, sent, advance, end, clock };
}

void t.test('output is sent only while somebody follows the build', async (t) => {
  const { feed, sent, advance, end, clock } = startFeed();
  feed.add('one');
  feed.follow({ lease: LEASE + 1, from: 0, seconds: 15 });
  await advance(60_000);
  t.same(sent, [], 'nobody follows this build');
  t.equal(clock.pendingCalls, 0, 'nothing is scheduled');

  feed.follow({ lease: LEASE, from: 0, seconds: 15 });
  await tick();
  t.same(sent, [{ lease: LEASE, first: 0, lines: ['one'] }]);
  feed.add('two');
  feed.add('\u001b[31mthree\u001b[0m\tand \u001b]0;title\u0007four\u0000');
  await advance(100);
  t.equal(sent.length, 1, 'at most twice a second');
  await advance(400);
  t.same(sent.slice(1), [{ lease: LEASE, first: 1, lines: ['two', 'three and four '] }]);
  await advance(15_000);
  feed.add('five');
  await advance(60_000);
  t.equal(sent.length, 2, 'the time of the last FOLLOW is over');
  t.equal(clock.pendingCalls, 0);
  await end();
});

void t.test('a FOLLOW says from which line on the output is missing', async (t) => {
  const { feed, sent, advance, end } = startFeed(({ first }) => (first === 2 ? 'DONE' : 'CONT'));
  for (const line of ['zero', 'one', 'two']) feed.add(line);
  feed.follow({ lease: LEASE, from: 1, seconds: 15 });
  await tick();
  feed.follow({ lease: LEASE, from: 0, seconds: 15 });
  await advance(500);
  feed.follow({ lease: LEASE, from: 2, seconds: 15 });
  await advance(500);
  feed.add('three');
  await advance(5000);
  t.same(
    sent.map(({ first, lines }) => [first, ...lines]),
    [
      [1, 'one', 'two'],
      [0, 'zero', 'one', 'two'],
      [2, 'two'],
    ],
    'nothing after DONE',
  );
  await end();
});

void t.test('a slave keeps little of the output, and sends long lines cut off', async (t) => {
  const { feed, sent, end } = startFeed();
  for (let i = 0; i < 5000; i += 1) feed.add(`line ${i}`);
  feed.add('x'.repeat(9000));
  feed.follow({ lease: LEASE, from: 0, seconds: 15 });
  await tick();
  const { first, lines } = sent[0] ?? { first: 0, lines: [] };
  t.equal(lines.length, 1000);
  t.equal(lines[0], `line ${first}`);
  t.equal(lines.at(-1), 'x'.repeat(1000));
  await end();
});

void t.test('a failure to send disturbs nothing, and the next FOLLOW repeats the lines', async (t) => {
  let isAway = true;
  const { feed, sent, advance, end } = startFeed(() => {
    if (isAway) throw new PiwError('PIW_DISCONNECTED', 'away');
    return 'CONT';
  });
  feed.add('one');
  feed.follow({ lease: LEASE, from: 0, seconds: 15 });
  await tick();
  isAway = false;
  await advance(5000);
  t.equal(sent.length, 1);
  feed.follow({ lease: LEASE, from: 0, seconds: 15 });
  await tick();
  t.same(sent.at(-1), { lease: LEASE, first: 0, lines: ['one'] });
  await end();
  feed.add('two');
  feed.follow({ lease: LEASE, from: 0, seconds: 15 });
  t.equal(sent.length, 2, 'the build has ended');
});
