import t from 'tap';
import { CAST, actorSpecOf } from '../../actors/cast.js';
import { ProtocolClient } from '../../src/actor/client.js';
import { runActor } from '../../src/actor/run.js';
import { loadSettings } from '../../src/settings/load.js';
import { createLog } from '../../src/log.js';
import { actorPing } from '../../src/protocols/control.js';
import { oracle } from '../../src/protocols/oracle.js';
import { natsAddress, uniquePrefix, testBus, until } from '../helpers/bus.js';
import { testDatabase } from '../helpers/database.js';

t.setTimeout(60_000);

void t.test('a second Oracle takes its share of the requests, and stops without a failed one', async (t) => {
  const { dsn } = await testDatabase(t);
  const prefix = uniquePrefix();
  const address = natsAddress();
  const settings = loadSettings({ nats: address, prefix, dsn }, '/dev/null');
  const start = (instance: string) => {
    const controller = new AbortController();
    const log = createLog(instance, 'error', () => undefined);
    const running = runActor(actorSpecOf('the_oracle'), settings, {
      bus: { address, name: instance, prefix },
      log,
      signal: controller.signal,
      instance,
    });
    t.teardown(() => {
      controller.abort();
      return running;
    });
    return {
      stop: () => {
        controller.abort();
      },
      running,
    };
  };
  start('first');
  const bus = await testBus(t, prefix);
  const database = new ProtocolClient(bus, oracle, undefined, { timeoutMs: 5000, patienceMs: 10_000 });
  await database.request('NEWPKG', { package: 'a', description: null, origin: 'add', aliases: [] });
  let requestCount = 0;
  const failures: unknown[] = [];
  let isLoadRunning = true;
  const load = Array.from({ length: 8 }, async () => {
    while (isLoadRunning) {
      // Without retries, so that a lost request shows.
      await database
        .request('PKGEXISTS', { package: 'a' }, { timeoutMs: 5000 })
        .catch((error: unknown) => failures.push(error));
      requestCount += 1;
    }
  });
  await until(() => requestCount > 200);
  const second = start('second');
  const counter = new ProtocolClient(bus, actorPing, [actorPing.name, 'second'], {
    timeoutMs: 1000,
    patienceMs: 10_000,
  });
  let served = 0;
  await until(async () => {
    served = (await counter.request('PING', {})).served;
    return served > 50;
  });
  t.ok(served > 50, 'its counter shows that it takes its share');
  const before = requestCount;
  second.stop();
  await second.running;
  await until(() => requestCount > before + 200);
  isLoadRunning = false;
  await Promise.all(load);
  t.same(failures, []);
});

void t.test('every task of the documentation is in the cast, and _ and - are equivalent in its name', (t) => {
  t.same(CAST.map(({ task }) => task).sort(), [
    'big-brother',
    'cloud-gazer',
    'file-juggler',
    'lumberjack',
    'mr-chase',
    'slave-driver',
    'the-architect',
    'the-oracle',
    'the-scribe',
    'the-secretary',
  ]);
  t.equal(actorSpecOf('Slave_Driver').task, 'slave-driver');
  t.throws(() => actorSpecOf('seraph'), { code: 'PIW_UNKNOWN_TASK' });
  t.end();
});
