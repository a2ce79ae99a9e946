import t from 'tap';
import { Bus } from '../../src/bus/bus.js';
import { piwRunner } from '../helpers/command.js';

/** Nothing listens there. */
const UNREACHABLE_ADDRESS = '127.0.0.1:1';

void t.test('whoever waits for NATS is told so, and why, before it is given up', async (t) => {
  const reports: string[] = [];
  await t.rejects(
    Bus.connect({
      ...{ address: `nats://me:secret@${UNREACHABLE_ADDRESS}`, name: 'test', patienceMs: 2500 },
      onWaiting: (text) => reports.push(text),
    }),
    { code: 'PIW_UNREACHABLE' },
  );
  t.match(reports, [/^waiting for NATS at .*127\.0\.0\.1:1 \(connect ECONNREFUSED .*\); giving up in 1 s$/]);
  t.notOk(reports.some((text) => text.includes('secret')));
});

void t.test('a connection that is given up isn’t waited for', async (t) => {
  const controller = new AbortController();
  const connecting = Bus.connect({
    ...{ address: UNREACHABLE_ADDRESS, name: 'test', patienceMs: 60_000, signal: controller.signal },
  });
  setTimeout(() => {
    controller.abort();
  }, 300);
  const began = performance.now();
  await t.rejects(connecting, { code: 'PIW_INTERRUPTED' });
  t.ok(performance.now() - began < 10_000);
});

void t.test('a command says that it waits, and then that it gave up', async (t) => {
  const { code, err } = await piwRunner({ nats: UNREACHABLE_ADDRESS })('queue');
  t.equal(code, 5);
  t.match(err, /^piw: waiting for NATS at .*; giving up in 1 s\npiw: NATS at .* can't be used: .*\n$/);
});

void t.test('a slave says what is wrong with it before it waits for its master', async (t) => {
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
