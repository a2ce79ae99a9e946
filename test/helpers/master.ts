import { mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { BuildSlave, type SlaveOptions } from '../../actors/build-slave.js';
import { systemClock } from '../../src/actor/clock.js';
import { Client } from '../../src/actor/client.js';
import type { BuildRequest, BuildResult } from '../../src/builder/build.js';
import type { Bus } from '../../src/bus/bus.js';
import type { Given } from '../../src/config.js';
import { newVersions } from '../../src/database/versions.js';
import { createLog } from '../../src/log.js';
import { slaveControl, type SlaveRow } from '../../src/protocols/control.js';
import type { SlaveHello } from '../../src/protocols/slave-driver.js';
import { PROTOCOL, VERSION } from '../../src/version.js';
import { testBus, until } from './bus.js';
import { runTasks } from './command.js';
import { testDatabase } from './database.js';
import { PLATFORM, someRelease, someTarget } from './rows.js';
import { announce, makeWheel } from './wheel.js';
import { NO_DETAILS } from '../../src/states/build-details.js';

export const ABI = 'cp311';

/** All of a master that has to do with slaves. */
export const MASTER_TASKS = [
  'the-oracle',
  'file-juggler',
  'the-architect',
  'slave-driver',
  'the-scribe',
  'the-secretary',
];

export interface MasterOptions {
  /** What is to be built, `demo` in these versions. */
  readonly versions?: readonly string[];
  readonly given?: Given;
  /** Those of them that are run; the others are the test's own. */
  readonly tasks?: readonly string[];
  /** The folder in which the output path is made. */
  readonly disk?: string;
}

/** A real master of which only the index is missing. */
export async function testMaster(
  t: Test,
  { versions = ['1.0'], given = {}, tasks = MASTER_TASKS, disk = tmpdir() }: MasterOptions = {},
) {
  const { db, dsn } = await testDatabase(t);
  const output = join(await mkdtemp(join(disk, 'piw-master-')), 'www');
  const folder = join(output, 'simple', 'demo');
  await mkdir(folder, { recursive: true });
  await someTarget(db, ABI);
  await newVersions(
    db,
    'demo',
    'feed',
    versions.map((version) => someRelease(version)),
  );
  const said: string[] = [];
  const settings = { dsn, 'output-path': output, ...given };
  const own = runTasks(t, tasks, settings, { said });
  const bus = await testBus(t, own.prefix);
  const control = new Client(bus, slaveControl, undefined, { timeoutMs: 5000, patienceMs: 20_000 });
  const slaves = async (): Promise<readonly SlaveRow[]> => (await control.ask('HELLO', {})).slaves;
  return {
    ...{ db, bus, control, output, folder, said, slaves, settings: own, prefix: own.prefix },
    /** Until one of the slaves is as it should be. */
    untilSlave: (is: (row: SlaveRow) => boolean) => until(async () => (await slaves()).some(is)),
  };
}

export const helloOf = (label = 'anvil'): Omit<SlaveHello, 'clock'> => ({
  ...{ version: `${VERSION}/${String(PROTOCOL)}`, build_timeout_s: 100, busy_interval_s: 30 },
  ...{ py_version_tag: ABI, abi_tag: ABI, platform_tag: PLATFORM, label },
  ...{ os_name: 'x', os_version: 'x', board: null, lacks: [] },
});

/** Builds in the place of pip: what it makes is up to the test. */
export type Pip = (request: BuildRequest, workDir: string) => Promise<BuildResult>;

/** A wheel of what was asked for. */
export const makes: Pip = async ({ package: name, version }, workDir) => {
  const path = await makeWheel(workDir, { name, version });
  const files = [{ ...(await announce(path)), path }];
  return { status: true, failureClass: null, durationS: 1, output: 'log', details: NO_DETAILS, files };
};

/** Until it is told to end, as a build does that takes hours. */
export const lasts: Pip = ({ signal }) =>
  new Promise((resolve) => {
    const end = () => {
      resolve({
        status: false,
        failureClass: 'killed',
        durationS: 1,
        output: '',
        details: NO_DETAILS,
        files: [],
      });
    };
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });

/** A real slave that only has no pip. `ended` resolves when it has; it ends with the test. */
export async function testSlave(
  t: Test,
  prefix: string,
  pip: Pip,
  more: Partial<SlaveOptions> & { readonly bus?: Bus } = {},
) {
  const workDir = await mkdtemp(join(tmpdir(), 'piw-slave-'));
  const built: string[] = [];
  const said: string[] = [];
  const builder = {
    build: async (request: BuildRequest) => {
      built.push(request.version);
      return await pip(request, workDir);
    },
    clean: () => Promise.resolve(),
  };
  const controller = new AbortController();
  const slave = new BuildSlave({
    bus: more.bus ?? (await testBus(t, prefix)),
    log: createLog('slave', 'debug', (line) => said.push(line)),
    ...{ clock: systemClock, builder: builder as never, user: 'slave', workDir },
    thresholds: { diskFree: 0, memoryFree: 0, load: 0, temperature: 0 },
    hello: helloOf(),
    ...more,
  });
  const ended = slave.run(controller.signal);
  t.teardown(() => {
    controller.abort();
    return ended.catch(() => undefined);
  });
  return {
    ...{ ended, built, said },
    /** As by SIGTERM. */
    stop: () => {
      controller.abort();
    },
  };
}
