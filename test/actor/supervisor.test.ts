import { appendFileSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Supervisor, type ChildSpec } from '../../src/actor/supervisor.js';
import { createLog } from '../../src/log.js';
import { until } from '../helpers/bus.js';

const folder = mkdtempSync(join(tmpdir(), 'piw-supervisor-'));
const log = createLog('supervisor', 'error', () => undefined);

/** A child that notes its start and its end in a file, and does `more`. */
function child(name: string, file: string, more = ''): ChildSpec {
  const script = `
    const { appendFileSync } = require('fs');
    const note = (what) => appendFileSync(${JSON.stringify(file)}, what + ' ${name} ' + process.pid + '\\n');
    note('start');
    setInterval(() => process.connected && process.send({ beat: true }), 200);
    process.on('SIGTERM', () => { note('stop'); process.exit(0); });
    ${more}`;
  return { name, command: process.execPath, args: ['-e', script] };
}

const notes = (file: string): string[] => readFileSync(file, 'utf8').trim().split('\n').filter(Boolean);

void t.test('a child that is killed is started again; the end comes in reverse order', async (t) => {
  const file = join(folder, 'a');
  appendFileSync(file, '');
  const stop = new AbortController();
  const supervisor = new Supervisor({
    children: [child('one', file), child('two', file)],
    env: process.env,
    log,
  });
  const running = supervisor.run(stop.signal);
  await until(() => notes(file).length === 2);
  const first = notes(file).find((line) => line.startsWith('start one'));
  process.kill(Number(first?.split(' ')[2]), 'SIGKILL');
  await until(() => notes(file).filter((line) => line.startsWith('start one')).length === 2);
  stop.abort();
  await running;
  t.same(
    notes(file)
      .filter((line) => line.startsWith('stop'))
      .map((line) => line.split(' ')[1]),
    ['two', 'one'],
  );
});

void t.test(
  'a child that ends again and again ends the others, and the supervisor says which it was',
  async (t) => {
    const file = join(folder, 'b');
    appendFileSync(file, '');
    t.setTimeout(90_000);
    const children = [child('good', file), child('bad', file, 'process.exit(3);')];
    const supervisor = new Supervisor({ children, env: process.env, log });
    await t.rejects(supervisor.run(new AbortController().signal), {
      code: 'PIW_ACTOR_FAILING',
      message: /^bad ended with exit code 3, 6 times/,
    });
    t.ok(notes(file).some((line) => line.startsWith('stop good')));
  },
);

const LOOK_EVERY_MS = 100;

void t.test('a child whose event loop is stuck is killed, and started again', async (t) => {
  const file = join(folder, 'c');
  appendFileSync(file, '');
  const stop = new AbortController();
  const stuck = child('stuck', file, 'setTimeout(() => { for (;;); }, 300);');
  const supervisor = new Supervisor({
    ...{ children: [child('good', file), stuck], env: process.env, log, lookEveryMs: LOOK_EVERY_MS },
  });
  const running = supervisor.run(stop.signal);
  const starts = (name: string) => notes(file).filter((line) => line.startsWith(`start ${name}`)).length;
  await until(() => starts('stuck') >= 2);
  t.equal(starts('good'), 1);
  stop.abort();
  await running;
});

void t.test('that the whole machine stood still is no child’s fault', async (t) => {
  const file = join(folder, 'd');
  appendFileSync(file, '');
  const stop = new AbortController();
  const supervisor = new Supervisor({
    ...{ children: [child('one', file)], env: process.env, log, lookEveryMs: LOOK_EVERY_MS },
  });
  const running = supervisor.run(stop.signal);
  await until(() => notes(file).length === 1);
  const pid = Number(notes(file)[0]?.split(' ')[2]);
  process.kill(pid, 'SIGSTOP');
  // Nothing of this process turns meanwhile either.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 30 * LOOK_EVERY_MS);
  process.kill(pid, 'SIGCONT');
  for (let looks = 0; looks < 5; looks += 1)
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  t.equal(notes(file).length, 1, 'it runs still');
  stop.abort();
  await running;
  t.same(notes(file).at(-1), `stop one ${String(pid)}`);
});
