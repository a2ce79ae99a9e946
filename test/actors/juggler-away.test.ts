import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { actorSpecOf } from '../../actors/cast.js';
import { ProtocolClient } from '../../src/actor/client.js';
import { runActor } from '../../src/actor/run.js';
import { loadSettings } from '../../src/settings/load.js';
import { addReleases } from '../../src/database/versions.js';
import { createLog } from '../../src/log.js';
import { slaveDriver, type SlaveHello } from '../../src/protocols/slave-driver.js';
import { fileToMessage } from '../../src/model/file-state.js';
import { SLAVE_PROTOCOL_VERSION, VERSION } from '../../src/version.js';
import { testBus } from '../helpers/bus.js';
import { runTasks } from '../helpers/command.js';
import { testDatabase } from '../helpers/database.js';
import { PLATFORM, someRelease, insertTarget } from '../helpers/rows.js';
import { fileStateOf, makeWheel } from '../helpers/wheel.js';
import { NO_DETAILS } from '../../src/model/build-details.js';

t.setTimeout(120_000);

const ABI = 'cp311';
const HELLO: SlaveHello = {
  version: `${VERSION}/${SLAVE_PROTOCOL_VERSION}`,
  build_timeout_s: 100,
  busy_interval_s: 30,
  py_version_tag: ABI,
  abi_tag: ABI,
  platform_tag: PLATFORM,
  label: 'x',
  os_name: 'x',
  os_version: 'x',
  board: null,
  lacks: [],
  clock: 0,
};

void t.test('a slave that waits for a File Juggler does not block other slaves', async (t) => {
  const { db, dsn } = await testDatabase(t);
  await insertTarget(db, ABI);
  await addReleases(db, 'demo', 'feed', [someRelease('1.0'), someRelease('2.0')]);
  const folder = await mkdtemp(join(tmpdir(), 'piw-away-'));
  const tasks = ['the-oracle', 'the-architect', 'slave-driver'];
  const settings = runTasks(t, tasks, { dsn, 'output-path': folder });
  const bus = await testBus(t, settings.prefix);
  const slave = (session: string) =>
    new ProtocolClient(bus, slaveDriver, ['slave', 'slave', session], {
      timeoutMs: 60_000,
      patienceMs: 60_000,
    });
  const stats: [number, number, number, number, number, null] = [1e12, 1e12, 1e10, 1e10, 0, null];
  const [first, second] = [slave('a'), slave('b')];
  for (const session of [first, second]) t.match(await session.request('HELLO', HELLO), { verb: 'HELLO' });
  const order = await first.request('IDLE', { stats });
  if (order.verb !== 'BUILD') throw new Error(`IDLE was answered ${order.verb}`);
  const file = await fileStateOf(await makeWheel(folder, { version: order.version }));
  let answered = false;
  // There is no File Juggler yet: the Slave Driver retries for half a minute.
  const built = first
    .request('BUILT', {
      lease: order.lease,
      status: true,
      failure_class: null,
      duration_s: 1,
      output: '',
      details: NO_DETAILS,
      files: [fileToMessage(file)],
    })
    .finally(() => (answered = true));
  const other = await second.request('IDLE', { stats });
  if (other.verb !== 'BUILD') throw new Error(`IDLE was answered ${other.verb}`);
  t.match(await second.request('BUSY', { lease: other.lease, stats }), { verb: 'CONT' });
  t.notOk(answered, 'the first one still waits');
  const controller = new AbortController();
  const running = runActor(actorSpecOf('file-juggler'), loadSettings({ ...settings }, '/dev/null'), {
    bus: { address: settings.nats, name: 'file-juggler', prefix: settings.prefix },
    log: createLog('file-juggler', 'error', () => undefined),
    signal: controller.signal,
  });
  t.teardown(() => {
    controller.abort();
    return running;
  });
  t.match(
    await built,
    { verb: 'SEND', filename: file.filename },
    'once there is a File Juggler, it is answered',
  );
});
