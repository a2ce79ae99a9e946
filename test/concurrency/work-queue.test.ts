import t from 'tap';
import { WorkQueue, type WorkOutcome } from '../../src/concurrency/work-queue.js';
import { ManualClock } from '../helpers/manual-clock.js';

type Priority = 'high' | 'low' | 'lowest';

/** A queue on a clock that the test advances; it processes a key until the test ends that. */
class QueueStage {
  readonly clock = new ManualClock();
  /** The keys that were started, in order. */
  readonly started: string[] = [];
  readonly priorities = new Map<string, Priority>();
  readonly queue: WorkQueue<Priority>;
  readonly #running = new Map<string, { end: (outcome: WorkOutcome) => void; freeWorker: () => void }>();

  constructor(rest = { factor: 0, maxMs: 0 }) {
    this.queue = new WorkQueue<Priority>(this.clock, {
      pools: [
        { priorities: ['high'], workers: 2 },
        { priorities: ['low', 'lowest'], workers: 1, rest },
      ],
      priorityOf: (key) => this.priorities.get(key) ?? 'high',
      process: (key, freeWorker) => {
        if (this.#running.has(key)) throw new Error(`${key} is processed twice at once`);
        this.started.push(key);
        return new Promise((resolve) => this.#running.set(key, { end: resolve, freeWorker }));
      },
      retry: { firstMs: 2000, maxMs: 30_000 },
      probeIntervalMs: 3000,
    });
  }

  add(priority: Priority, ...keys: string[]): void {
    for (const key of keys) {
      this.priorities.set(key, priority);
      this.queue.add(key);
    }
  }

  freeWorker(key: string): void {
    this.#running.get(key)?.freeWorker();
  }

  /** Ends the processing of a key, and waits until the queue knows. */
  async end(key: string, outcome: WorkOutcome | number = 0): Promise<void> {
    this.#running.get(key)?.end(typeof outcome === 'number' ? { is: 'done', cooldownMs: outcome } : outcome);
    this.#running.delete(key);
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** Returns the keys that were started since the last call. */
  starts(): string[] {
    return this.started.splice(0);
  }
}

const FAILED = { is: 'failed' } as const;
const STALLED = { is: 'stalled' } as const;

void t.test('a key is processed by one worker, and once more if it is added in the meantime', async (t) => {
  const stage = new QueueStage();
  stage.add('high', 'a', 'a');
  stage.add('high', 'a');
  t.same(stage.starts(), ['a']);
  stage.add('high', 'a', 'a');
  t.same(stage.starts(), []);
  await stage.end('a');
  t.same(stage.starts(), ['a'], 'once for both');
  await stage.end('a');
  t.same(stage.starts(), []);
});

void t.test('a key cools down after it was processed, also if it is added only then', async (t) => {
  const stage = new QueueStage();
  stage.add('high', 'a', 'b');
  stage.add('high', 'a');
  await stage.end('a', 1000);
  await stage.end('b', 1000);
  stage.clock.advance(600);
  stage.add('high', 'b');
  t.same(stage.starts(), ['a', 'b']);
  stage.clock.advance(399);
  t.same(stage.starts(), []);
  stage.clock.advance(1);
  t.same(stage.starts(), ['a', 'b']);
  await stage.end('a', 1000);
  await stage.end('b', 1000);
  stage.clock.advance(1000);
  t.same(stage.starts(), []);
  t.equal(stage.clock.pendingCalls, 0, 'both are forgotten');
  stage.add('high', 'a');
  t.same(stage.starts(), ['a']);
});

void t.test('an urgent key waits neither for its cooldown nor for its retry', async (t) => {
  const stage = new QueueStage();
  stage.queue.add('a');
  await stage.end('a', 1000);
  stage.queue.add('a', true);
  stage.queue.add('a', true);
  t.same(stage.starts(), ['a', 'a'], 'during its cooldown');
  await stage.end('a', 1000);
  t.same(stage.starts(), ['a'], 'added while it was processed');
  await stage.end('a', FAILED);
  stage.queue.add('a');
  t.same(stage.starts(), []);
  stage.queue.add('a', true);
  t.same(stage.starts(), ['a'], 'before its retry');
  stage.queue.add('a', true);
  await stage.end('a', FAILED);
  t.same(stage.starts(), [], 'but a failure delays even an urgent key');
  stage.clock.advance(4000);
  t.same(stage.starts(), ['a']);
});

void t.test('a key that fails is retried with growing delays until it is done', async (t) => {
  const stage = new QueueStage();
  stage.queue.add('a');
  for (const delayMs of [2000, 4000, 8000, 16_000, 30_000, 30_000]) {
    stage.starts();
    await stage.end('a', FAILED);
    stage.clock.advance(delayMs - 1);
    t.same(stage.starts(), []);
    stage.clock.advance(1);
    t.same(stage.starts(), ['a'], `after ${delayMs} ms`);
  }
  t.equal(stage.queue.failures('a'), 6);
  await stage.end('a', 1000);
  t.equal(stage.queue.failures('a'), 0);
  stage.clock.advance(60_000);
  t.same(stage.starts(), []);
});

void t.test('each pool has its own workers, which serve their priorities in turn', async (t) => {
  const stage = new QueueStage();
  stage.add('low', 'l1', 'l2', 'l3');
  stage.add('lowest', 'z1', 'z2');
  stage.add('high', 'h1', 'h2', 'h3');
  t.same(stage.starts(), ['l1', 'h1', 'h2']);
  t.ok(stage.queue.isReady('h3'));
  for (const [key, next] of [
    ['l1', 'z1'],
    ['z1', 'l2'],
    ['l2', 'z2'],
    ['z2', 'l3'],
    ['l3', undefined],
  ] as const) {
    await stage.end(key);
    t.same(stage.starts(), next === undefined ? [] : [next]);
  }
  stage.freeWorker('h1');
  t.same(stage.starts(), ['h3'], 'a worker that is freed early takes the next key');
  stage.add('high', 'h4');
  await stage.end('h1');
  t.same(stage.starts(), [], 'and is not freed twice');
  await stage.end('h2');
  t.same(stage.starts(), ['h4']);
});

void t.test('a key that becomes more important while it waits moves to the other workers', async (t) => {
  const stage = new QueueStage();
  stage.add('low', 'l', 'a');
  t.same(stage.starts(), ['l']);
  stage.add('high', 'a');
  t.same(stage.starts(), ['a']);
  await stage.end('a');
  await stage.end('l');
  t.same(stage.starts(), [], 'it is processed once');
});

void t.test('a worker rests in proportion to its work', async (t) => {
  const stage = new QueueStage({ factor: 4, maxMs: 500 });
  stage.add('low', 'a', 'b', 'c');
  stage.clock.advance(10);
  await stage.end('a');
  stage.clock.advance(39);
  t.same(stage.starts(), ['a']);
  stage.clock.advance(1);
  t.same(stage.starts(), ['b']);
  stage.clock.advance(5000);
  await stage.end('b');
  stage.clock.advance(499);
  t.same(stage.starts(), []);
  stage.clock.advance(1);
  t.same(stage.starts(), ['c']);
});

void t.test('while the queue is stalled one key is tried at an interval, and then all', async (t) => {
  const stage = new QueueStage();
  stage.add('high', 'a', 'b', 'c', 'd');
  stage.add('low', 'l');
  t.same(stage.starts(), ['a', 'b', 'l']);
  await stage.end('a', STALLED);
  await stage.end('b', STALLED);
  await stage.end('l', STALLED);
  t.same(stage.starts(), []);
  stage.clock.advance(2999);
  t.same(stage.starts(), []);
  stage.clock.advance(1);
  t.same(stage.starts(), ['c'], 'another key: the first one may be the only one that can’t be processed');
  await stage.end('c', STALLED);
  stage.clock.advance(3000);
  t.same(stage.starts(), ['d']);
  await stage.end('d');
  t.same(stage.starts(), ['a', 'l', 'b']);
  await stage.end('a');
  t.same(stage.starts(), ['c']);
  t.equal(stage.queue.failures('c'), 0, 'a stall is not a failure of the key');
  for (const key of ['b', 'c', 'l']) await stage.end(key);
  t.equal(stage.clock.pendingCalls, 0);
});

void t.test('nothing is started while the queue is paused, or once it is stopped', async (t) => {
  const stage = new QueueStage();
  stage.queue.pause();
  stage.add('high', 'a');
  t.same(stage.starts(), []);
  stage.queue.resume();
  t.same(stage.starts(), ['a']);
  stage.add('high', 'a');
  stage.queue.stop();
  await stage.end('a', 1000);
  stage.add('high', 'b');
  stage.queue.resume();
  stage.clock.advance(60_000);
  t.same(stage.starts(), []);
  t.equal(stage.clock.pendingCalls, 0, 'no timer keeps the process alive');
});
