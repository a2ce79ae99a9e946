import { setImmediate as settle } from 'node:timers/promises';
import t from 'tap';
import { deferred } from '../../src/concurrency/deferred.js';
import { KeyedQueues } from '../../src/concurrency/keyed-queues.js';
import { RunningTasks } from '../../src/concurrency/running-tasks.js';

void t.test('tasks with the same key run one after the other, in their order', async (t) => {
  const queues = new KeyedQueues<string>();
  const started: string[] = [];
  const [first, other] = [deferred(), deferred()];
  const start = (name: string, end: Promise<unknown>) => () => {
    started.push(name);
    return end;
  };
  const failing = queues.run('a', start('a1', first.promise));
  const second = queues.run('a', start('a2', Promise.resolve()));
  const independent = queues.run('b', start('b1', other.promise));
  await settle();
  t.same(started, ['a1', 'b1']);
  t.equal(queues.length('a'), 2);
  first.reject(new Error('failed'));
  await t.rejects(failing, { message: 'failed' });
  await second;
  t.same(started, ['a1', 'b1', 'a2'], 'a failure does not stop the next task');
  other.resolve();
  await independent;
  t.same([queues.length('a'), queues.length('b')], [0, 0]);
});

void t.test('at most as many tasks of a key run at once as are allowed', async (t) => {
  const queues = new KeyedQueues<string>(2);
  let [running, peak] = [0, 0];
  const task = async (n: number) => {
    running += 1;
    peak = Math.max(peak, running);
    await settle();
    running -= 1;
    return n;
  };
  const numbers = Array.from({ length: 10 }, (_, n) => n);
  t.same(await Promise.all(numbers.map((n) => queues.run('a', () => task(n)))), numbers);
  t.equal(peak, 2);
});

void t.test('draining also waits for tasks that running tasks start', async (t) => {
  const tasks = new RunningTasks();
  const [first, second] = [deferred(), deferred()];
  void tasks.track(
    first.promise.then(() => {
      void tasks.track(second.promise);
    }),
  );
  const failing = tasks.track(Promise.reject(new Error('failed')));
  await t.rejects(failing, { message: 'failed' });
  let drained = false;
  const draining = tasks.drain().then(() => (drained = true));
  first.resolve();
  await settle();
  t.notOk(drained);
  second.resolve();
  await draining;
  await tasks.drain();
});
