import t, { type Test } from 'tap';
import { Actor, type ActorContext } from '../../src/actor/actor.js';
import { systemClock, type Clock } from '../../src/actor/clock.js';
import { ConditionBoard, Conditions } from '../../src/actor/conditions.js';
import { TaskWatch } from '../../src/actor/task-watch.js';
import type { Bus } from '../../src/bus/bus.js';
import { createLog } from '../../src/log.js';
import { REPORT_EXPIRY_S, type Condition } from '../../src/protocols/conditions.js';
import { ownPrefix, testBus } from '../helpers/bus.js';

/** Time passes when the test says so. */
class TurnedClock implements Clock {
  #ms = 1_700_000_000_000;
  #calls: { readonly at: number; readonly what: () => void }[] = [];

  now = (): number => this.#ms;
  monotonicMs = (): number => this.#ms;
  after = (ms: number, what: () => void): (() => void) => {
    const call = { at: this.#ms + ms, what };
    this.#calls.push(call);
    return () => (this.#calls = this.#calls.filter((one) => one !== call));
  };

  turn(ms: number): void {
    const end = this.#ms + ms;
    for (;;) {
      const next = this.#calls.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#calls = this.#calls.filter((call) => call !== next);
      this.#ms = Math.max(this.#ms, next.at);
      next.what();
    }
    this.#ms = end;
  }
}

class Worker extends Actor {
  override start(): void {
    this.conditions.raise('disk-full', '/var/www', 'no space left on /var/www');
  }
}

function context(t: Test, bus: Bus, clock: Clock, lines: string[]): ActorContext {
  return {
    ...{ task: 'the-scribe', bus, clock, log: createLog('test', 'info', (line) => lines.push(line)) },
    ...{ pausing: 'ignores', fence: () => 0, crash: (error: unknown) => t.fail(String(error)) },
  };
}

void t.test(
  'a condition is logged once when it begins and once when it ends, however it flickers',
  async (t) => {
    const clock = new TurnedClock();
    const lines: string[] = [];
    const log = createLog('test', 'info', (line) => lines.push(line));
    const conditions = new Conditions(await testBus(t, ownPrefix()), log, clock, 'me');
    conditions.clear('disk-full', '/var/www');
    for (let times = 0; times < 10; times += 1) {
      conditions.raise('disk-full', '/var/www', `no space left\non /var/www, ${String(times)}`);
      clock.turn(1000);
      conditions.clear('disk-full', '/var/www');
      clock.turn(1000);
    }
    t.match(lines, [
      /WARNING test: condition began kind=disk-full subject=\/var\/www: no space left on \/var\/www, 0$/,
    ]);
    t.match(conditions.active, [
      { kind: 'disk-full', since: 1_700_000_000_000, text: 'no space left on /var/www, 9' },
    ]);
    clock.turn(1000);
    t.match(lines[1], /INFO {4}test: condition ended kind=disk-full subject=\/var\/www lasted=21s$/);
    t.equal(lines.length, 2);
    t.same(conditions.active, []);
  },
);

void t.test('an actor reports its conditions over NATS in one line, and they end with it', async (t) => {
  const bus = await testBus(t, ownPrefix());
  const listener = bus.subscribe(bus.subject('conditions', 'REPORT'))[Symbol.asyncIterator]();
  await bus.rtt();
  const worker = new Worker(context(t, bus, systemClock, []));
  worker.start();
  const report = async (): Promise<unknown> => {
    const next = await listener.next();
    return next.done === true ? undefined : await next.value.body();
  };
  t.match(await report(), ['REPORT', /^the-scribe\//, [{ kind: 'disk-full', subject: '/var/www' }]]);
  await worker.stop();
  t.match(await report(), ['REPORT', /^the-scribe\//, []]);
});

void t.test('what a process that died has reported expires, and equal conditions are one', (t) => {
  const clock = new TurnedClock();
  const board = new ConditionBoard(clock);
  const at = (since: number, subject = 'a'): Condition => ({ kind: 'disk-full', subject, since, text: 'x' });
  t.equal(board.report('one', [at(20)]), true);
  t.equal(board.report('two', [at(10)]), false, 'the same condition from elsewhere');
  t.same(board.list(), [at(10)]);
  clock.turn((REPORT_EXPIRY_S - 1) * 1000);
  board.report('one', [at(20)]);
  clock.turn(2000);
  t.same(board.list(), [at(20)], 'the second was not heard again');
  t.equal(board.report('one', []), true);
  t.same(board.list(), []);
  t.end();
});

void t.test(
  'a task without a leader is told after ten seconds, and none while nobody is heard',
  async (t) => {
    const clock = new TurnedClock();
    const log = createLog('test', 'info', () => undefined);
    const conditions = new Conditions(await testBus(t, ownPrefix()), log, clock, 'me');
    const watch = new TaskWatch(clock, [
      { task: 'the-architect', kind: 'single' },
      { task: 'the-oracle', kind: 'pool' },
    ]);
    const told = () => {
      watch.tell(conditions, () => true);
      return conditions.active.map(({ kind, subject }) => `${kind} ${subject}`);
    };
    const pass = (seconds: number, ...working: readonly string[]) => {
      for (let s = 0; s < seconds; s += 2) {
        clock.turn(2000);
        watch.heard('the-architect', working.includes('the-architect'));
        for (const task of working) watch.heard(task, true);
      }
    };
    pass(28, 'the-oracle');
    t.same(told(), [], 'it may still be starting');
    pass(6, 'the-oracle');
    t.same(told(), ['no-leader the-architect'], 'a process that stands by is not a leader');
    pass(4, 'the-architect', 'the-oracle');
    t.same(told(), ['no-leader the-architect'], 'it has not ended before it is calm');
    clock.turn(3000);
    t.same(told(), []);
    const silent = clock.now();
    clock.turn(600_000);
    t.same(told(), [], 'the connection was away');
    pass(4, 'the-architect', 'the-oracle');
    t.same(told(), []);
    pass(14, 'the-architect');
    t.same(told(), ['not-running the-oracle']);
    t.ok((conditions.active[0]?.since ?? 0) > silent + 600_000);
  },
);
