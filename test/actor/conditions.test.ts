import t, { type Test } from 'tap';
import { Actor, type ActorContext } from '../../src/actor/actor.js';
import { systemClock, type Clock } from '../../src/concurrency/clock.js';
import { ConditionBoard, Conditions } from '../../src/actor/conditions.js';
import { TaskWatch } from '../../src/actor/task-watch.js';
import type { Bus } from '../../src/bus/bus.js';
import { createLog } from '../../src/log.js';
import { REPORT_EXPIRY_S, type Condition } from '../../src/protocols/conditions.js';
import { actorContext } from '../helpers/actor-context.js';
import { uniquePrefix, testBus } from '../helpers/bus.js';
import { ManualClock } from '../helpers/manual-clock.js';

class DiskFullActor extends Actor {
  override start(): void {
    this.conditions.raise('disk-full', '/var/www', 'no space left on /var/www');
  }
}

const context = (t: Test, bus: Bus, clock: Clock, lines: string[]): ActorContext =>
  actorContext(t, bus, 'the-scribe', {
    clock,
    log: createLog('test', 'info', (line) => lines.push(line)),
  });

void t.test('a flickering condition is logged once when it begins and once when it ends', async (t) => {
  const clock = new ManualClock();
  const lines: string[] = [];
  const log = createLog('test', 'info', (line) => lines.push(line));
  const conditions = new Conditions(await testBus(t, uniquePrefix()), log, clock, 'me');
  conditions.clear('disk-full', '/var/www');
  for (let times = 0; times < 10; times += 1) {
    conditions.raise('disk-full', '/var/www', `no space left\non /var/www, ${times}`);
    clock.advance(1000);
    conditions.clear('disk-full', '/var/www');
    clock.advance(1000);
  }
  t.match(lines, [
    /WARNING test: condition began kind=disk-full subject=\/var\/www text="no space left on \/var\/www, 0"$/,
  ]);
  t.match(conditions.active, [
    { kind: 'disk-full', since: 1_700_000_000_000, text: 'no space left on /var/www, 9' },
  ]);
  clock.advance(1000);
  t.match(lines[1], /INFO {4}test: condition ended kind=disk-full subject=\/var\/www lasted_s=21$/);
  t.equal(lines.length, 2);
  t.same(conditions.active, []);
});

void t.test('an actor reports its conditions over NATS, and they end with it', async (t) => {
  const bus = await testBus(t, uniquePrefix());
  const listener = bus.subscribe(bus.subject('conditions', 'REPORT'))[Symbol.asyncIterator]();
  await bus.rtt();
  const worker = new DiskFullActor(context(t, bus, systemClock, []));
  worker.start();
  const report = async (): Promise<unknown> => {
    const next = await listener.next();
    return next.done === true ? undefined : await next.value.body();
  };
  t.match(await report(), ['REPORT', /^the-scribe\//, [{ kind: 'disk-full', subject: '/var/www' }]]);
  await worker.stop();
  t.match(await report(), ['REPORT', /^the-scribe\//, []]);
});

void t.test('conditions of a process that died expire, and equal conditions are merged', (t) => {
  const clock = new ManualClock();
  const board = new ConditionBoard(clock);
  const conditionSince = (since: number, subject = 'a'): Condition => ({
    kind: 'disk-full',
    subject,
    since,
    text: 'x',
  });
  t.equal(board.report('one', [conditionSince(20)]), true);
  t.equal(board.report('two', [conditionSince(10)]), false, 'the same condition of another process');
  t.same(board.list(), [conditionSince(10)]);
  clock.advance((REPORT_EXPIRY_S - 1) * 1000);
  board.report('one', [conditionSince(20)]);
  clock.advance(2000);
  t.same(board.list(), [conditionSince(20)], 'the second process has not reported again');
  t.equal(board.report('one', []), true);
  t.same(board.list(), []);
  t.end();
});

void t.test(
  'a missing task is a condition after ten seconds, but not while no process is heard',
  async (t) => {
    const clock = new ManualClock();
    const log = createLog('test', 'info', () => undefined);
    const conditions = new Conditions(await testBus(t, uniquePrefix()), log, clock, 'me');
    const watch = new TaskWatch(clock, [
      { task: 'the-architect', kind: 'single' },
      { task: 'the-oracle', kind: 'pool' },
    ]);
    const activeConditions = () => {
      watch.updateConditions(conditions, () => true);
      return conditions.active.map(({ kind, subject }) => `${kind} ${subject}`);
    };
    const announceFor = (seconds: number, ...working: readonly string[]) => {
      for (let s = 0; s < seconds; s += 2) {
        clock.advance(2000);
        watch.onAnnouncement('the-architect', working.includes('the-architect'));
        for (const task of working) watch.onAnnouncement(task, true);
      }
    };
    announceFor(28, 'the-oracle');
    t.same(activeConditions(), [], 'it may still be starting');
    announceFor(6, 'the-oracle');
    t.same(activeConditions(), ['no-leader the-architect'], 'a process that stands by is not a leader');
    announceFor(4, 'the-architect', 'the-oracle');
    t.same(activeConditions(), ['no-leader the-architect'], 'it ends only after a delay');
    clock.advance(3000);
    t.same(activeConditions(), []);
    const silent = clock.now();
    clock.advance(600_000);
    t.same(activeConditions(), [], 'the connection was down');
    announceFor(4, 'the-architect', 'the-oracle');
    t.same(activeConditions(), []);
    announceFor(14, 'the-architect');
    t.same(activeConditions(), ['not-running the-oracle']);
    t.ok((conditions.active[0]?.since ?? 0) > silent + 600_000);
  },
);
