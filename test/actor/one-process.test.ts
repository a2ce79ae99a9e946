import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { CAST } from '../../actors/cast.js';
import { SingleProcessRunner } from '../../src/actor/one-process.js';
import { createLog } from '../../src/log.js';
import { loadSettings } from '../../src/settings/load.js';
import { until } from '../helpers/bus.js';
import { testDatabase } from '../helpers/database.js';
import { TestNats } from '../helpers/own-nats.js';

t.setTimeout(240_000);

void t.test(
  'in one process, singles that lose their leases stand by, and work again when they get them back',
  async (t) => {
    const nats = await TestNats.start(t);
    const { dsn } = await testDatabase(t);
    const output = join(mkdtempSync(join(tmpdir(), 'piw-one-process-')), 'www');
    const logLines: string[] = [];
    const settings = loadSettings(
      {
        dsn,
        'output-path': output,
        nats: nats.address,
        'pypi-simple': 'http://127.0.0.1:1/simple',
        watch: 'six',
      },
      '/dev/null',
    );
    const controller = new AbortController();
    const running = new SingleProcessRunner({
      specs: CAST,
      settings,
      connection: { address: nats.address, prefix: settings.prefix },
      log: (task) => createLog(task, 'info', (line) => logLines.push(line)),
    }).run(controller.signal);
    t.teardown(() => {
      controller.abort();
      return running.catch(() => undefined);
    });
    const ended = running.then(
      () => Promise.reject(new Error('the runner ended')),
      (error: unknown) => Promise.reject(error as Error),
    );
    ended.catch(() => undefined);
    const singles = CAST.filter(({ kind }) => kind === 'single').map(({ task }) => task);
    /** Waits until each single has logged an event this many times. */
    const untilEach = (event: string, times: number) =>
      Promise.race([
        ended,
        until(() =>
          singles.every(
            (task) => logLines.filter((line) => line.includes(`${task}: ${event}`)).length >= times,
          ),
        ),
      ]);
    try {
      await untilEach('at work', 1);
      nats.signal('SIGSTOP');
      await untilEach('task ended, starting it again', 1);
      nats.signal('SIGCONT');
      await untilEach('at work', 2);
    } catch (error) {
      t.comment(logLines.join('\n'));
      throw error;
    }
  },
);
