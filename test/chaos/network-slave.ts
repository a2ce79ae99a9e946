/**
 * A slave of test/chaos/network.ts, in a process of its own: the product's slave, except that it makes its wheels
 * itself.
 *
 *     node network-slave.js '{"configuration":…,"abi":…,"wheelBytes":…}'
 *
 * It prints a line of JSON for each build that it is given, and another one when it has finished with it; its log goes
 * to stderr. It ends when it gets SIGTERM, as `piw slave` does.
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BuildRequest } from '../../src/builder/build.js';
import type { BuildResult } from '../../src/builder/outcome.js';
import { Bus } from '../../src/bus/bus.js';
import { systemClock } from '../../src/concurrency/clock.js';
import { slaveConnection } from '../../src/connection.js';
import { createLog } from '../../src/log.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { loadSettings } from '../../src/settings/load.js';
import { BuildSlave } from '../../src/slave/build-slave.js';
import { slaveHello } from '../helpers/master.js';
import { storedWheel } from '../helpers/stored-wheel.js';

export interface NetworkSlaveOptions {
  /** The configuration file that `piw slaves add` has written. */
  readonly configuration: string;
  readonly label: string;
  readonly abi: string;
  readonly wheelBytes: number;
}

export interface NetworkSlaveEvent {
  readonly event: 'given' | 'done';
  /** `package version` */
  readonly build: string;
}

/** How long it pretends to build, milliseconds. */
const BUILD_MS = 500;

const { configuration, label, abi, wheelBytes } = JSON.parse(process.argv[2] ?? '') as NetworkSlaveOptions;
const settings = loadSettings({}, configuration);
const { user, ...connection } = slaveConnection(settings);
const log = createLog(label, 'info', (line) => process.stderr.write(`${line}\n`));
const workDir = mkdtempSync(join(tmpdir(), 'piw-network-slave-'));
const wheelContents = Buffer.alloc(wheelBytes, 'x');
const stop = new AbortController();
process.once('SIGTERM', () => {
  stop.abort();
});

let current: string | undefined;
const report = (event: NetworkSlaveEvent['event'], build: string) => {
  process.stdout.write(`${JSON.stringify({ event, build } satisfies NetworkSlaveEvent)}\n`);
};
const builder = {
  build: async ({ package: name, version }: BuildRequest): Promise<BuildResult> => {
    current = `${name} ${version}`;
    report('given', current);
    await sleep(BUILD_MS);
    const { bytes, file } = storedWheel(name, version, wheelContents);
    const path = join(workDir, 'wheel');
    writeFileSync(path, bytes);
    const files = [{ ...file, path }];
    return { status: true, failureClass: null, durationS: 1, output: 'log', details: NO_DETAILS, files };
  },
  clean: () => {
    if (current !== undefined) report('done', current);
    current = undefined;
    return Promise.resolve();
  },
};
const bus = await Bus.connect({
  ...connection,
  name: label,
  patienceMs: 600_000,
  onStatus: (text) => {
    log.warning(text);
  },
});
await new BuildSlave({
  bus,
  log,
  clock: systemClock,
  builder: builder as never,
  user,
  workDir,
  thresholds: { diskFree: 0, memoryFree: 0, load: 0, temperature: 0 },
  hello: { ...slaveHello(label), py_version_tag: abi, abi_tag: abi },
}).run(stop.signal);
await bus.drain();
