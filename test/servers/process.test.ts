import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { PiwError } from '../../src/errors.js';
import { ManagedProcess, type ProcessOptions } from '../../src/servers/process.js';
import { StartupMonitor } from '../../src/farm/start-up.js';
import { uniquePrefix, testBus, until } from '../helpers/bus.js';

/** Returns a process that runs `script`, its failures and its output. */
function demoProcess(t: Test, script: string, options: Partial<ProcessOptions> = {}) {
  const logFile = join(mkdtempSync(join(tmpdir(), 'piw-process-')), 'log');
  const failures: PiwError[] = [];
  const child = new ManagedProcess({
    name: 'demo',
    command: process.execPath,
    args: ['-e', script],
    account: undefined,
    logFile,
    stopSignal: 'SIGTERM',
    graceMs: 5000,
    ready: () => Promise.resolve(),
    stallTimeoutMs: 2000,
    onFailure: (error) => failures.push(error),
    log: () => undefined,
    ...options,
  });
  t.teardown(() => child.stop());
  return { child, failures, readLog: () => readFileSync(logFile, 'utf8') };
}

void t.test('a process that exits with a final code is not restarted', async (t) => {
  const script = "console.log('wrong option'); process.exit(2);";
  const { child, failures, readLog } = demoProcess(t, script, { finalCodes: [2] });
  await child.start();
  await until(() => failures.length > 0);
  t.match(failures, [{ code: 'PIW_SERVER_FAILED', message: /^demo ended with exit code 2: wrong option/ }]);
  t.equal(readLog(), 'wrong option\n');
});

void t.test('a process that has ended for good is not restarted', async (t) => {
  let hasFinished = false;
  const restarts: string[] = [];
  const { child, failures } = demoProcess(
    t,
    "process.send('quit'); setTimeout(() => process.exit(0), 100);",
    {
      onMessage: () => {
        hasFinished = true;
      },
      hasFinished: () => hasFinished,
      log: (line) => restarts.push(line),
    },
  );
  await child.start();
  await until(() => child.pid === undefined);
  t.same([hasFinished, failures, restarts], [true, [], []]);
});

void t.test('a failed command of piw is reported with its own code, without its advice', async (t) => {
  const error = new PiwError('PIW_NO_PYTHON', 'no Python was found');
  const { child, failures } = demoProcess(
    t,
    `console.error(${JSON.stringify(error.line)}); process.exit(3)`,
    { finalCodes: [3] },
  );
  await child.start();
  await until(() => failures.length > 0);
  t.match(failures, [
    { code: 'PIW_NO_PYTHON', message: /^demo ended with exit code 3: no Python was found \(/ },
  ]);
});

void t.test('a starting process that is busy is waited for; an idle one is not', async (t) => {
  const work =
    "const end = Date.now() + 4000; while (Date.now() < end); console.log('ready'); setInterval(() => {}, 1000);";
  const slow = demoProcess(t, work, {
    ready: async (signal) => {
      while (!signal.aborted && !slow.readLog().includes('ready')) await sleep(50);
    },
  });
  await slow.child.start();
  t.equal(slow.readLog(), 'ready\n');
  const { child } = demoProcess(t, 'setInterval(() => {}, 60_000)', {
    ready: () => new Promise(() => undefined),
  });
  await t.rejects(child.start(), { code: 'PIW_SERVER_FAILED', message: /^demo was not ready in time/ });
});

void t.test('an interrupted start is not waited for', async (t) => {
  const controller = new AbortController();
  const { child } = demoProcess(t, 'setInterval(() => {}, 60_000)', {
    ready: () => new Promise(() => undefined),
    stallTimeoutMs: 600_000,
    signal: controller.signal,
  });
  const starting = child.start();
  controller.abort();
  await t.rejects(starting, { code: 'PIW_INTERRUPTED' });
});

void t.test('the tasks may take long to start, but not without progress', async (t) => {
  const messages: string[] = [];
  const startUp = new StartupMonitor((text) => messages.push(text), {
    stallTimeoutMs: 4500,
    reportDelaysMs: { first: 0, every: 1000 },
  });
  const startedAt = performance.now();
  const finished = startUp.waitUntilReady(await testBus(t, uniquePrefix()), new AbortController().signal);
  finished.catch(() => undefined);
  for (let ready = 0; ready < 6; ready += 1) {
    startUp.handleMessage({ starting: { ready, of: 11, missing: ['mr-chase (starting, 3 s)'] } });
    await sleep(1100);
  }
  await t.rejects(finished, {
    code: 'PIW_TIMEOUT',
    message: /^the tasks have made no progress .*: waiting for mr-chase \(starting, 3 s\)$/,
  });
  t.ok(performance.now() - startedAt > 5 * 1100 + 4500, 'a start that makes progress is waited for');
  t.equal(messages[0], 'Starting the tasks: 0 of 11 are ready…');
  t.equal(messages.at(-1), 'Starting the tasks: 5 of 11 are ready…');
});
