/**
 * A farm for test/chaos/nats-outages.ts: a real cast, real slaves that don't run pip, and a nats-server to
 * fail.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BuildSlave } from '../../src/slave/build-slave.js';
import { systemClock } from '../../src/concurrency/clock.js';
import type { BuildRequest } from '../../src/builder/build.js';
import type { BuildResult } from '../../src/builder/outcome.js';
import { Bus } from '../../src/bus/bus.js';
import { migrate } from '../../src/database/migrations.js';
import { Database } from '../../src/database/pool.js';
import { DataFolder } from '../../src/servers/data-folder.js';
import { findNatsServer, startNats } from '../../src/servers/nats-server.js';
import { freePort } from '../../src/servers/ports.js';
import { startPostgres } from '../../src/servers/postgres.js';
import { runAs, chownTo, unprivilegedAccount } from '../../src/servers/privileges.js';
import { findPython } from '../../src/servers/python.js';
import { createLog } from '../../src/log.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { SLAVE_PROTOCOL_VERSION, VERSION } from '../../src/version.js';
import { fillQueue } from '../bench/dispatch.js';
import { ControlledNats } from '../helpers/controlled-nats.js';
import { storedWheel } from '../helpers/stored-wheel.js';
import { startMaster } from './start-master.js';

const QUEUED_BUILDS = 20_000;
const BUILD_MS = 300;
const WHEEL_PAYLOAD = Buffer.alloc(200_000, 7);
/** Of so many builds one fails, with a log that is too large for one message. */
const FAILURE_INTERVAL = 10;
const LARGE_LOG = 'a line of a log\n'.repeat(80_000);

/** A farm's nats-server, whose store is a small disk of its own if this runs as root. */
export class OutageNats extends ControlledNats {
  readonly hasOwnDisk: boolean;

  private constructor(binary: string, folder: DataFolder, monitorPort: number) {
    const config = folder.join('nats.conf');
    super(
      { binary, config, log: folder.prepareLog('nats.log'), store: folder.subfolder('nats') },
      monitorPort,
      { ...runAs(folder.account), env: { PATH: process.env['PATH'] } },
    );
    this.hasOwnDisk = process.getuid?.() === 0;
    if (this.hasOwnDisk) {
      const { uid = 0, gid = 0 } = folder.account ?? {};
      const options = `size=64m,uid=${uid},gid=${gid}`;
      execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', this.store]);
    }
    const text = readFileSync(config, 'utf8').replace(/^ *store_dir: .*$/m, '$&\n  max_file_store: 1TB');
    const monitorConfig = `http: 127.0.0.1:${monitorPort}\nlame_duck_duration: 30s\nlame_duck_grace_period: 2s\n`;
    writeFileSync(config, `${monitorConfig}${text}`);
  }

  static async create(binary: string, folder: DataFolder): Promise<OutageNats> {
    return new OutageNats(binary, folder, await freePort());
  }

  /** Deletes all that JetStream has stored. */
  clearStore(): void {
    for (const name of readdirSync(this.store)) rmSync(join(this.store, name), { recursive: true });
  }

  async close(): Promise<void> {
    await this.stop();
    if (this.hasOwnDisk) execFileSync('umount', [this.store]);
  }
}

export interface OutageFarm {
  readonly nats: OutageNats;
  /** Returns how many builds the database has. */
  buildCount(): Promise<number>;
  /** Returns everything that master and slaves have logged. */
  log(): string;
}

/** Runs a farm while `run` is running. */
export async function withOutageFarm(
  slaves: number,
  print: (line: string) => void,
  run: (farm: OutageFarm) => Promise<void>,
): Promise<void> {
  const account = unprivilegedAccount();
  const path = mkdtempSync(join(tmpdir(), 'piw-outages-'));
  chmodSync(path, 0o755);
  chownTo(path, account);
  const folder = DataFolder.open(join(path, 'data'), account);
  const stops: (() => Promise<unknown>)[] = [];
  try {
    const onFailure = (error: Error) => {
      print(error.message);
    };
    const services = { folder, log: print, onFailure, signal: new AbortController().signal };
    const python = await findPython(undefined, account);
    // This creates the configuration and the credentials.
    const initialNats = await startNats({ ...services, python, prefix: 'piw' });
    await initialNats.process.stop();
    const nats = await OutageNats.create(await findNatsServer({ ...services, python }), folder);
    stops.push(() => nats.close());
    await nats.start();
    const postgres = await startPostgres(services);
    stops.push(() => postgres.process.stop());
    await migrate(postgres.adminDsn, { user: postgres.role });
    await fillQueue(postgres.dsn, QUEUED_BUILDS, print);
    const logFile = folder.prepareLog('master.log');
    stops.push(startMaster(folder, initialNats.master, postgres.dsn, logFile));
    const database = await Database.open(postgres.dsn, 'outages', { connections: 1 });
    stops.push(() => database.close());
    const slaveLog: string[] = [];
    const workDir = join(path, 'slaves');
    mkdirSync(workDir);
    for (let n = 0; n < slaves; n += 1) stops.push(await startSlave(initialNats.slave, n, workDir, slaveLog));
    await run({
      nats,
      buildCount: async () =>
        (await database.query<{ count: number }>('select count(*)::int as count from builds'))[0]?.count ?? 0,
      log: () => `${readFileSync(logFile, 'utf8')}${slaveLog.join('\n')}\n`,
    });
  } finally {
    for (const stop of stops.reverse()) await stop();
    folder.close();
    rmSync(path, { recursive: true, force: true });
  }
}

/** Starts a slave that makes its wheels itself. Each has a connection of its own, as a real one has. */
async function startSlave(
  address: string,
  index: number,
  workDir: string,
  slaveLog: string[],
): Promise<() => Promise<unknown>> {
  const bus = await Bus.connect({
    address,
    name: `slave ${index}`,
    inboxPrefix: '_INBOX_slave',
    bucket: 'piw-slave-slave',
  });
  let buildCount = index;
  const build = async ({ package: name, version }: BuildRequest): Promise<BuildResult> => {
    await sleep(BUILD_MS);
    buildCount += 1;
    if (buildCount % FAILURE_INTERVAL === 0)
      return {
        status: false,
        failureClass: 'compiler',
        durationS: 1,
        output: LARGE_LOG,
        details: NO_DETAILS,
        files: [],
      };
    const { bytes, file } = storedWheel(name, version, WHEEL_PAYLOAD);
    const path = join(workDir, `${index}.whl`);
    writeFileSync(path, bytes);
    return {
      status: true,
      failureClass: null,
      durationS: 1,
      output: 'log',
      details: NO_DETAILS,
      files: [{ ...file, path }],
    };
  };
  const controller = new AbortController();
  const builder = { build, clean: () => Promise.resolve() };
  const slave = new BuildSlave({
    bus,
    clock: systemClock,
    user: 'slave',
    workDir,
    builder: builder as never,
    log: createLog(`slave ${index}`, 'info', (line) => slaveLog.push(line)),
    thresholds: { diskFree: 0, memoryFree: 0, load: 0, temperature: 0 },
    hello: {
      version: `${VERSION}/${SLAVE_PROTOCOL_VERSION}`,
      build_timeout_s: 3600,
      busy_interval_s: 30,
      py_version_tag: 'cp311',
      abi_tag: 'cp311',
      platform_tag: 'linux_x86_64',
      label: `slave ${index}`,
      os_name: 'none',
      os_version: '',
      board: null,
      lacks: [],
    },
  });
  const ended = slave.run(controller.signal).catch((error: unknown) => {
    slaveLog.push(`slave ${index} exited: ${String(error)}`);
  });
  return async () => {
    controller.abort();
    await ended;
    await bus.drain();
  };
}
