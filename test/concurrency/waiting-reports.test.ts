import t from 'tap';
import { Bus } from '../../src/bus/bus.js';
import { deferred } from '../../src/concurrency/deferred.js';
import { withWaitingReports } from '../../src/concurrency/waiting-reports.js';
import { piwRunner } from '../helpers/command.js';
import { ManualClock } from '../helpers/manual-clock.js';

/** An address where nothing listens. */
const UNREACHABLE_ADDRESS = '127.0.0.1:1';

void t.test('waiting is reported after two seconds, and then every fifteen', async (t) => {
  const clock = new ManualClock();
  const start = clock.now();
  const reportTimes: number[] = [];
  const { promise, resolve } = deferred();
  const report = () => reportTimes.push(clock.now() - start);
  const waiting = withWaitingReports(report, () => promise, clock);
  clock.advance(40_000);
  resolve();
  await waiting;
  t.same(reportTimes, [2000, 17_000, 32_000]);
  t.equal(clock.pendingCalls, 0);
});

void t.test('waiting for NATS is reported with the reason before it fails', async (t) => {
  const reports: string[] = [];
  await t.rejects(
    Bus.connect({
      address: `nats://me:secret@${UNREACHABLE_ADDRESS}`,
      name: 'test',
      patienceMs: 2500,
      onWaiting: (text) => reports.push(text),
    }),
    { code: 'PIW_UNREACHABLE' },
  );
  t.match(reports, [/^waiting for NATS at .*127\.0\.0\.1:1 \(connect ECONNREFUSED .*\); giving up in 1 s$/]);
  t.notOk(reports.some((text) => text.includes('secret')));
});

void t.test('connecting stops at once when it is cancelled', async (t) => {
  const controller = new AbortController();
  const connecting = Bus.connect({
    address: UNREACHABLE_ADDRESS,
    name: 'test',
    patienceMs: 60_000,
    signal: controller.signal,
  });
  setTimeout(() => {
    controller.abort();
  }, 300);
  const began = performance.now();
  await t.rejects(connecting, { code: 'PIW_INTERRUPTED' });
  t.ok(performance.now() - began < 10_000);
});

void t.test('a command prints that it waits for NATS, and then that it can’t connect', async (t) => {
  const { code, err } = await piwRunner({ nats: UNREACHABLE_ADDRESS })('queue');
  t.equal(code, 5);
  t.match(err, /^piw: waiting for NATS at .*; giving up in 1 s\npiw: can't connect to NATS at .*: .*\n$/);
});

void t.test('a slave reports its own errors before it waits for its master', async (t) => {
  const began = performance.now();
  const slave = piwRunner({
    master: `nats://slave:secret@${UNREACHABLE_ADDRESS}`,
    python: ['/nowhere/python3'],
  });
  const { code, err } = await slave('slave', '--allow-root');
  t.equal(code, 3, err);
  t.match(err, /\/nowhere\/python3/);
  t.ok(performance.now() - began < 30_000);
});
