import t from 'tap';
import { onAbort, unlessAborted } from '../../src/concurrency/abort.js';
import { deferred } from '../../src/concurrency/deferred.js';
import { pause } from '../../src/concurrency/pause.js';
import { withTimeLimit } from '../../src/concurrency/time-limit.js';
import { ManualClock } from '../helpers/manual-clock.js';

void t.test('a pause ends after its time, or when its signal is aborted, and leaves no timer', async (t) => {
  const clock = new ManualClock();
  const controller = new AbortController();
  const paused = pause(clock, 1000, controller.signal);
  clock.advance(999);
  t.equal(clock.pendingCalls, 1);
  clock.advance(1);
  await paused;
  const interrupted = pause(clock, 1000, controller.signal);
  controller.abort();
  await interrupted;
  await pause(clock, 1000, controller.signal);
  t.equal(clock.pendingCalls, 0);
});

void t.test('a callback is called once when the signal is aborted, or at once if it already is', (t) => {
  const controller = new AbortController();
  const calls: unknown[][] = [];
  const add = (name: string) =>
    onAbort(controller.signal, (...parameters: unknown[]) => {
      calls.push([name, ...parameters]);
    });
  add('before');
  add('removed')();
  controller.abort();
  add('after');
  t.same(calls, [['before'], ['after']]);
  t.end();
});

void t.test('an abort throws PIW_INTERRUPTED, and a late result is disposed of', async (t) => {
  const controller = new AbortController();
  const late: string[] = [];
  const { promise, resolve } = deferred<string>();
  const result = unlessAborted(promise, controller.signal, (text) => late.push(text));
  controller.abort();
  await t.rejects(result, { code: 'PIW_INTERRUPTED' });
  resolve('late');
  await promise;
  t.same(late, ['late']);
  t.equal(await unlessAborted(Promise.resolve('x'), undefined), 'x');
});

void t.test('what takes longer than its limit is given up', async (t) => {
  const clock = new ManualClock();
  const { promise } = deferred();
  const limited = withTimeLimit(clock, 1000, promise, () => 'late');
  clock.advance(1000);
  t.equal(await limited, 'late');
  const onLate = () => t.fail('it is in time');
  t.equal(await withTimeLimit(clock, 1000, Promise.resolve('in time'), onLate), 'in time');
  await t.rejects(withTimeLimit(clock, 1000, Promise.reject(new Error('failed'))), { message: 'failed' });
  t.equal(clock.pendingCalls, 0);
});
