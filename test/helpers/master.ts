import { mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { BuildSlave, type SlaveOptions } from '../../src/slave/build-slave.js';
import { systemClock } from '../../src/concurrency/clock.js';
import { ProtocolClient } from '../../src/actor/client.js';
import type { BuildRequest } from '../../src/builder/build.js';
import type { BuildResult } from '../../src/builder/outcome.js';
import type { Bus } from '../../src/bus/bus.js';
import type { RawSettings } from '../../src/config.js';
import { addReleases } from '../../src/database/versions.js';
import { createLog } from '../../src/log.js';
import { slaveControl, type SlaveStatus } from '../../src/protocols/control.js';
import type { SlaveHello } from '../../src/protocols/slave-driver.js';
import { SLAVE_PROTOCOL_VERSION, VERSION } from '../../src/version.js';
import { testBus, until } from './bus.js';
import { runTasks } from './command.js';
import { testDatabase } from './database.js';
import { PLATFORM, someRelease, insertTarget } from './rows.js';
import { fileStateOf, makeWheel } from './wheel.js';
import { NO_DETAILS } from '../../src/model/build-details.js';

export const ABI = 'cp311';

/** The tasks of a master that are involved with slaves. */
export const MASTER_TASKS = [
  'the-oracle',
  'file-juggler',
  'the-architect',
  'slave-driver',
  'the-scribe',
  'the-secretary',
];

export interface MasterOptions {
  /** The versions of `demo` that are to be built. */
  readonly versions?: readonly string[];
  readonly overrides?: RawSettings;
  /** The tasks to run, by default MASTER_TASKS; the test provides the others. */
  readonly tasks?: readonly string[];
  /** The folder in which the output path is created. */
  readonly disk?: string;
  /** The address of a nats-server of its own, where its prefix is `piw`. */
  readonly nats?: string;
}

/** Starts a real master, except that nothing follows an index. */
export async function testMaster(
  t: Test,
  { versions = ['1.0'], overrides = {}, tasks = MASTER_TASKS, disk = tmpdir(), nats }: MasterOptions = {},
) {
  const { db, dsn } = await testDatabase(t);
  const output = join(await mkdtemp(join(disk, 'piw-master-')), 'www');
  const folder = join(output, 'simple', 'demo');
  await mkdir(folder, { recursive: true });
  await insertTarget(db, ABI);
  await addReleases(
    db,
    'demo',
    'feed',
    versions.map((version) => someRelease(version)),
  );
  const logLines: string[] = [];
  const settings = { dsn, 'output-path': output, ...overrides };
  const taskSettings = runTasks(t, tasks, settings, {
    logLines,
    ...(nats === undefined ? {} : { nats, prefix: 'piw' }),
  });
  const bus = await testBus(t, taskSettings.prefix, { address: taskSettings.nats });
  const control = new ProtocolClient(bus, slaveControl, undefined, { timeoutMs: 5000, patienceMs: 20_000 });
  const slaves = async (): Promise<readonly SlaveStatus[]> => (await control.request('HELLO', {})).slaves;
  return {
    db,
    bus,
    control,
    output,
    folder,
    logLines,
    slaves,
    settings: taskSettings,
    prefix: taskSettings.prefix,
    /** Waits until a slave satisfies the predicate. */
    untilSlave: (predicate: (row: SlaveStatus) => boolean) =>
      until(async () => (await slaves()).some(predicate)),
  };
}

export const slaveHello = (label = 'anvil'): Omit<SlaveHello, 'clock'> => ({
  version: `${VERSION}/${SLAVE_PROTOCOL_VERSION}`,
  build_timeout_s: 100,
  busy_interval_s: 30,
  py_version_tag: ABI,
  abi_tag: ABI,
  platform_tag: PLATFORM,
  label,
  os_name: 'x',
  os_version: 'x',
  board: null,
  lacks: [],
});

/** Builds in place of pip; the test decides what the result is. */
export type BuildStub = (request: BuildRequest, workDir: string) => Promise<BuildResult>;

/** Yields a wheel of the requested package and version. */
export const succeedingBuild: BuildStub = async ({ package: name, version }, workDir) => {
  const path = await makeWheel(workDir, { name, version });
  const files = [{ ...(await fileStateOf(path)), path }];
  return { status: true, failureClass: null, durationS: 1, output: 'log', details: NO_DETAILS, files };
};

/** Runs until it is told to end, like a build that takes hours. */
export const hangingBuild: BuildStub = ({ signal }) =>
  new Promise((resolve) => {
    const finish = () => {
      resolve({
        status: false,
        failureClass: 'killed',
        durationS: 1,
        output: '',
        details: NO_DETAILS,
        files: [],
      });
    };
    if (signal.aborted) finish();
    else signal.addEventListener('abort', finish, { once: true });
  });

/**
 * Starts a real slave, except that `buildStub` builds in place of pip. It ends with the test; `ended` then resolves.
 */
export async function testSlave(
  t: Test,
  prefix: string,
  buildStub: BuildStub,
  overrides: Partial<SlaveOptions> & { readonly bus?: Bus } = {},
) {
  const workDir = await mkdtemp(join(tmpdir(), 'piw-slave-'));
  const builtVersions: string[] = [];
  const logLines: string[] = [];
  const builder = {
    build: async (request: BuildRequest) => {
      builtVersions.push(request.version);
      return await buildStub(request, workDir);
    },
    clean: () => Promise.resolve(),
  };
  const controller = new AbortController();
  const slave = new BuildSlave({
    bus: overrides.bus ?? (await testBus(t, prefix)),
    log: createLog('slave', 'debug', (line) => logLines.push(line)),
    clock: systemClock,
    builder: builder as never,
    user: 'slave',
    workDir,
    thresholds: { diskFree: 0, memoryFree: 0, load: 0, temperature: 0 },
    hello: slaveHello(),
    ...overrides,
  });
  const ended = slave.run(controller.signal);
  t.teardown(() => {
    controller.abort();
    return ended.catch(() => undefined);
  });
  return {
    ended,
    builtVersions,
    logLines,
    /** Stops it as SIGTERM does. */
    stop: () => {
      controller.abort();
    },
  };
}
