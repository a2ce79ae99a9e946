import { appendFileSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Supervisor, type ChildSpec, type SupervisorOptions } from '../../src/actor/supervisor.js';
import { createLog } from '../../src/log.js';
import { until } from '../helpers/bus.js';

const folder = mkdtempSync(join(tmpdir(), 'piw-supervisor-'));
const BACK_OFF = { firstMs: 10, maxMs: 20 };
const log = createLog('supervisor', 'error', () => undefined);

/** Returns a child that notes its start and its end in a file, and runs `extraScript`. */
function notingChild(name: string, file: string, extraScript = ''): ChildSpec {
  const script = `
    const { appendFileSync } = require('fs');
    const note = (event) => appendFileSync(${JSON.stringify(file)}, event + ' ${name} ' + process.pid + '\\n');
    process.on('SIGTERM', () => { note('stop'); process.exit(0); });
    setInterval(() => process.connected && process.send({ beat: true }), 200);
    note('start');
    ${extraScript}`;
  return { name, command: process.execPath, args: ['-e', script] };
}

const readNotes = (file: string): string[] => readFileSync(file, 'utf8').trim().split('\n').filter(Boolean);

void t.test('a child that is killed is restarted; children are stopped in reverse order', async (t) => {
  const file = join(folder, 'a');
  appendFileSync(file, '');
  const stop = new AbortController();
  const supervisor = new Supervisor({
    children: [notingChild('one', file), notingChild('two', file)],
    env: process.env,
    log,
  });
  const running = supervisor.run(stop.signal);
  await until(() => readNotes(file).length === 2);
  const first = readNotes(file).find((line) => line.startsWith('start one'));
  process.kill(Number(first?.split(' ')[2]), 'SIGKILL');
  await until(() => readNotes(file).filter((line) => line.startsWith('start one')).length === 2);
  stop.abort();
  await running;
  t.same(
    readNotes(file)
      .filter((line) => line.startsWith('stop'))
      .map((line) => line.split(' ')[1]),
    ['two', 'one'],
  );
});

void t.test('a child that keeps failing ends the others, and the supervisor’s error names it', async (t) => {
  const file = join(folder, 'b');
  appendFileSync(file, '');
  const children = [notingChild('good', file), notingChild('bad', file, 'process.exit(3);')];
  const supervisor = new Supervisor({ children, env: process.env, log, backOff: BACK_OFF });
  await t.rejects(supervisor.run(new AbortController().signal), {
    code: 'PIW_ACTOR_FAILING',
    message: /^bad ended with exit code 3, 6 times in a row/,
  });
  t.ok(readNotes(file).some((line) => line.startsWith('stop good')));
});

const CHECK_INTERVAL_MS = 100;

void t.test('a child whose event loop is stuck is killed and restarted', async (t) => {
  const file = join(folder, 'c');
  appendFileSync(file, '');
  const stop = new AbortController();
  const stuck = notingChild('stuck', file, 'setTimeout(() => { for (;;); }, 300);');
  const supervisor = new Supervisor({
    children: [notingChild('good', file), stuck],
    env: process.env,
    log,
    checkIntervalMs: CHECK_INTERVAL_MS,
  });
  const running = supervisor.run(stop.signal);
  const starts = (name: string) => readNotes(file).filter((line) => line.startsWith(`start ${name}`)).length;
  await until(() => starts('stuck') >= 2);
  t.equal(starts('good'), 1);
  stop.abort();
  await running;
});

void t.test('a child is not killed because the whole machine stood still', async (t) => {
  const file = join(folder, 'd');
  appendFileSync(file, '');
  const stop = new AbortController();
  const supervisor = new Supervisor({
    children: [notingChild('one', file)],
    env: process.env,
    log,
    checkIntervalMs: CHECK_INTERVAL_MS,
  });
  const running = supervisor.run(stop.signal);
  await until(() => readNotes(file).length === 1);
  const pid = Number(readNotes(file)[0]?.split(' ')[2]);
  process.kill(pid, 'SIGSTOP');
  // This process does not run in the meantime either.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 30 * CHECK_INTERVAL_MS);
  process.kill(pid, 'SIGCONT');
  for (let checks = 0; checks < 5; checks += 1)
    await new Promise((resolve) => setTimeout(resolve, CHECK_INTERVAL_MS));
  t.equal(readNotes(file).length, 1, 'it still runs');
  stop.abort();
  await running;
  t.same(readNotes(file).at(-1), `stop one ${pid}`);
});

/** Runs these children until the test ends or `stop` is called; `logLines` has the lines of the supervisor's log. */
function supervise(t: Test, children: readonly ChildSpec[], overrides: Partial<SupervisorOptions> = {}) {
  const stopping = new AbortController();
  const logLines: string[] = [];
  const supervisor = new Supervisor({
    children,
    env: process.env,
    backOff: BACK_OFF,
    ...overrides,
    log: createLog('supervisor', 'info', (line) => logLines.push(line)),
  });
  const running = supervisor.run(stopping.signal);
  running.catch(() => undefined);
  const stop = async () => {
    stopping.abort();
    await running;
  };
  t.teardown(() => stop().catch(() => undefined));
  return { running, logLines, stop };
}

/**
 * Returns a child that runs `script`, in which `note(TEXT)` writes to the file, `beat(STATE)` sends a heartbeat, and
 * `beats(STATE)` sends one every 20 ms.
 */
function scriptedChild(name: string, file: string, script: string): ChildSpec {
  appendFileSync(file, '');
  const text = `
    const note = (event) => require('fs').appendFileSync(${JSON.stringify(file)}, event + ' ${name} ' + process.pid + '\\n');
    const beat = (state) => process.send({ beat: true, ...(state && { state }) });
    const beats = (state) => { beat(state); setInterval(() => process.connected && beat(state), 20); };
    note('start');
    ${script}`;
  return { name, command: process.execPath, args: ['-e', text] };
}

const countNotes = (file: string, prefix: string): number =>
  readNotes(file).filter((line) => line.startsWith(prefix)).length;

void t.test('a child that takes long to start is not killed before its first heartbeat', async (t) => {
  const file = join(folder, 'slow');
  // Longer than the 15 checks for which a running child may be silent.
  const slow = scriptedChild('slow', file, "setTimeout(() => { note('beat'); beats('at work'); }, 4000);");
  const { logLines, stop } = supervise(t, [slow], { checkIntervalMs: CHECK_INTERVAL_MS });
  await until(() => countNotes(file, 'beat') > 0 || countNotes(file, 'start') > 1);
  t.equal(countNotes(file, 'start'), 1);
  await stop();
  t.notOk(logLines.some((line) => line.includes('killed')));
});

void t.test('a child that never sends a heartbeat is killed', async (t) => {
  const file = join(folder, 'never');
  const never = scriptedChild('never', file, 'setInterval(() => undefined, 1000);');
  const { logLines } = supervise(t, [never], { checkIntervalMs: 20 });
  await until(() => countNotes(file, 'start') > 1);
  t.ok(logLines.some((line) => line.includes('task killed task=never reason="it did not start in time"')));
});

void t.test('a child that is stopped with SIGSTOP is killed', async (t) => {
  const file = join(folder, 'stopped');
  const { logLines } = supervise(t, [scriptedChild('stopped', file, "beats('at work'); note('beat');")], {
    checkIntervalMs: CHECK_INTERVAL_MS,
  });
  await until(() => countNotes(file, 'beat') > 0);
  process.kill(Number(readNotes(file)[0]?.split(' ')[2]), 'SIGSTOP');
  await until(() => countNotes(file, 'start') > 1);
  t.ok(logLines.some((line) => line.includes('its event loop is stuck')));
});

void t.test(
  'no more than maxConcurrentStarts children start at once, in the order of the cast',
  async (t) => {
    const file = join(folder, 'order');
    const delayedChild = (name: string) =>
      scriptedChild(name, file, "setTimeout(() => { note('beat'); beats('at work'); }, 200);");
    const progress: string[] = [];
    supervise(t, ['one', 'two', 'three'].map(delayedChild), {
      maxConcurrentStarts: 1,
      onProgress: ({ ready, of, missing }) =>
        progress.push(`${ready}/${of} ${missing.join().replace(/ \(.*?\)/g, '')}`),
    });
    await until(() => progress.includes('3/3 '));
    t.same(
      readNotes(file).map((line) => line.replace(/ \d+$/, '')),
      ['one', 'two', 'three'].flatMap((name) => [`start ${name}`, `beat ${name}`]),
    );
  },
);

void t.test('failures in a row end the supervisor, however far apart they are', async (t) => {
  const file = join(folder, 'rhythm');
  const flaky = scriptedChild('flaky', file, "beats('at work'); setTimeout(() => process.exit(9), 300);");
  const { running } = supervise(t, [flaky], { checkIntervalMs: CHECK_INTERVAL_MS });
  await t.rejects(running, {
    code: 'PIW_ACTOR_FAILING',
    message: 'flaky ended with exit code 9, 6 times in a row',
  });
  t.equal(countNotes(file, 'start'), 6);
});

void t.test('the failures of a child no longer count after it has worked for a while', async (t) => {
  const file = join(folder, 'healthy');
  // At work for more than 60 checks each time.
  const healthy = scriptedChild('healthy', file, "beats('at work'); setTimeout(() => process.exit(9), 800);");
  const { stop } = supervise(t, [healthy], { checkIntervalMs: 5 });
  await until(() => countNotes(file, 'start') > 6, 40_000);
  await stop();
});

void t.test('a child that can’t reach a server is restarted for as long as it takes', async (t) => {
  const file = join(folder, 'away');
  const away = scriptedChild(
    'away',
    file,
    `process.send({ failure: { code: 'PIW_UNREACHABLE', text: 'NATS is away' } }, () => process.exit(5));`,
  );
  const { logLines, stop } = supervise(t, [away]);
  await until(() => countNotes(file, 'start') > 8);
  t.ok(
    logLines.some((line) =>
      /starting it again task=away reason="ended with exit code 5" delay_s=.* error="NATS is away"/.test(
        line,
      ),
    ),
  );
  await stop();
});

void t.test('a child that ends because of its configuration is not restarted', async (t) => {
  const file = join(folder, 'config');
  const wrong = scriptedChild(
    'wrong',
    file,
    `process.send({ failure: { code: 'PIW_NOT_WRITABLE', text: '/etc/www can’t be written' } }, () => process.exit(2));`,
  );
  const { running } = supervise(t, [notingChild('good', file), wrong]);
  await t.rejects(running, { code: 'PIW_NOT_WRITABLE', message: '/etc/www can’t be written' });
  t.equal(countNotes(file, 'start wrong'), 1);
});
