import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { deferred } from '../../src/concurrency/deferred.js';
import { Actor, type ActorContext, type Handlers, type PauseMode } from '../../src/actor/actor.js';
import { ProtocolClient } from '../../src/actor/client.js';
import { PiwError } from '../../src/errors.js';
import { createLog } from '../../src/log.js';
import { Protocol } from '../../src/protocols/protocol.js';
import { Type } from '../../src/model/schema.js';
import { actorContext } from '../helpers/actor-context.js';
import { uniquePrefix, testBus } from '../helpers/bus.js';

const talkProtocol = new Protocol('talk', {
  ADD: { fields: { a: Type.Number(), b: Type.Number() }, answers: { SUM: { sum: Type.Number() } } },
  FAIL: { fields: { how: Type.String() }, answers: { DONE: {} } },
});

class Talker extends Actor {
  readonly #handlers: Handlers<typeof talkProtocol.verbs>;
  constructor(context: ActorContext, handlers: Handlers<typeof talkProtocol.verbs>) {
    super(context);
    this.#handlers = handlers;
  }
  override start(): void {
    this.serve(talkProtocol, this.#handlers);
  }
  /** Starts a task in the background, for which stop() has to wait. */
  startTask(task: () => Promise<void>): void {
    void this.runInBackground(task);
  }
}

async function startTalker(
  t: Test,
  pausing: PauseMode = 'stops',
  add?: (a: number, b: number) => Promise<number>,
) {
  const prefix = uniquePrefix();
  const bus = await testBus(t, prefix);
  const crashes: unknown[] = [];
  const lines: string[] = [];
  const actor = new Talker(
    actorContext(t, bus, 'talker', {
      log: createLog('talker', 'debug', (line) => lines.push(line)),
      pausing,
      crash: (error) => crashes.push(error),
    }),
    {
      ADD: async ({ a, b }) => ({ verb: 'SUM', sum: add ? await add(a, b) : a + b }),
      FAIL: ({ how }) => {
        if (how === 'known') throw new PiwError('PIW_DISK_FULL', 'no room');
        throw new TypeError('a bug');
      },
    },
  );
  actor.start();
  await bus.rtt();
  const client = await testBus(t, prefix);
  return { actor, bus: client, client: new ProtocolClient(client, talkProtocol), crashes, lines };
}

void t.test('an actor answers requests and counts them', async (t) => {
  const { actor, client } = await startTalker(t);
  t.same(await client.request('ADD', { a: 1, b: 2 }), { verb: 'SUM', sum: 3 });
  t.equal(actor.served, 1);
});

void t.test('an invalid message is answered with an error and logged, and the actor goes on', async (t) => {
  const { bus, client, crashes, lines } = await startTalker(t);
  for (const bad of [['ADD', 1], ['ADD', 1, 'x'], ['NO'], 'text', null, { verb: 'ADD' }]) {
    t.match(await bus.request(bus.subject('talk', 'ADD'), bad), ['ERROR', 'PIW_MESSAGE_INVALID']);
  }
  t.match(
    await bus.request(bus.subject('talk', 'ADD'), ['FAIL', 'x']),
    ['ERROR', 'PIW_MESSAGE_INVALID'],
    'a verb on the subject of another verb',
  );
  t.equal(lines.filter((line) => line.includes('WARNING')).length, 7);
  t.same(await client.request('ADD', { a: 2, b: 2 }), { verb: 'SUM', sum: 4 });
  t.same(crashes, []);
});

void t.test(
  'a PiwError of a handler is the answer; any other error is answered as PIW_INTERNAL and crashes the actor',
  async (t) => {
    const { client, crashes } = await startTalker(t);
    await t.rejects(client.request('FAIL', { how: 'known' }), { code: 'PIW_DISK_FULL', message: 'no room' });
    t.same(crashes, []);
    await t.rejects(client.request('FAIL', { how: 'bug' }), { code: 'PIW_INTERNAL' });
    t.match(crashes, [TypeError]);
  },
);

void t.test('a task that stops on PAUSE does not answer until it is resumed', async (t) => {
  const { actor, client } = await startTalker(t);
  await actor.pause(true);
  await t.rejects(client.request('ADD', { a: 1, b: 1 }, { timeoutMs: 50 }), { code: 'PIW_NO_RESPONDERS' });
  await actor.pause(false);
  t.same(await client.request('ADD', { a: 1, b: 1 }, { timeoutMs: 1000, patienceMs: 5000 }), {
    verb: 'SUM',
    sum: 2,
  });
});

void t.test('tasks that ignore PAUSE or answer while paused go on answering', async (t) => {
  const ignoring = await startTalker(t, 'ignores');
  await ignoring.actor.pause(true);
  t.equal(ignoring.actor.paused, false);
  const answering = await startTalker(t, 'answers');
  await answering.actor.pause(true);
  t.equal(answering.actor.paused, true);
  t.same(await answering.client.request('ADD', { a: 1, b: 1 }), { verb: 'SUM', sum: 2 });
});

void t.test('a stopping actor finishes its pending requests and accepts no more', async (t) => {
  const [started, finish] = [deferred(), deferred()];
  const { actor, client } = await startTalker(t, 'stops', async (a, b) => {
    started.resolve();
    await finish.promise;
    return a + b;
  });
  const answer = client.request('ADD', { a: 20, b: 22 });
  await started.promise;
  const stopping = actor.stop();
  finish.resolve();
  t.same(await answer, { verb: 'SUM', sum: 42 });
  await stopping;
  await t.rejects(client.request('ADD', { a: 1, b: 1 }, { timeoutMs: 50 }), { code: 'PIW_NO_RESPONDERS' });
});

void t.test('a stopping actor also waits for what its last tasks start', async (t) => {
  const { actor } = await startTalker(t);
  const finish = deferred();
  const ended: string[] = [];
  actor.startTask(async () => {
    await finish.promise;
    actor.startTask(async () => {
      await sleep(20);
      ended.push('second');
    });
    ended.push('first');
  });
  const stopping = actor.stop();
  finish.resolve();
  await stopping;
  t.same(ended, ['first', 'second']);
});
