import type { Test } from 'tap';
import { controlDesk } from '../../actors/cast.js';
import { discoverFarm, type FarmIdentity } from '../../src/actor/identity.js';
import { runActor } from '../../src/actor/run.js';
import { deferred } from '../../src/concurrency/deferred.js';
import { createLog } from '../../src/log.js';
import { loadSettings } from '../../src/settings/load.js';
import type { RawSettings } from '../../src/config.js';
import { testBus, until } from './bus.js';

/**
 * Runs what a master answers to piw pause, resume and quit, for a farm whose Oracle runs with these settings; it ends
 * with the test. `quit` resolves when the farm is told to end.
 */
export async function runControlDesk(
  t: Test,
  settings: RawSettings & { readonly nats: string; readonly prefix: string },
): Promise<{ readonly quit: Promise<unknown> }> {
  const quit = deferred();
  const controller = new AbortController();
  const bus = await testBus(t, settings.prefix);
  let identity: FarmIdentity | undefined;
  await until(async () => (identity = await discoverFarm(bus)) !== undefined);
  if (identity === undefined) throw new Error('the Oracle has not joined');
  const desk = runActor(
    controlDesk({ quit: quit.resolve, isStarting: () => false, identity }),
    loadSettings(settings, '/dev/null'),
    {
      bus: { address: settings.nats, name: 'master', prefix: settings.prefix },
      log: createLog('master', 'warning', () => undefined),
      signal: controller.signal,
      supervised: true,
    },
  );
  t.teardown(async () => {
    controller.abort();
    await desk;
  });
  return { quit: quit.promise };
}
