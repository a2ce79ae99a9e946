import { execFile, spawn } from 'node:child_process';
import { chmodSync, openSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Bus } from '../../src/bus/bus.js';
import type { RawSettings } from '../../src/config.js';
import { formatConfig } from '../../src/settings/config-file.js';
import { migrate } from '../../src/database/migrations.js';
import { Database } from '../../src/database/pool.js';
import { PiwError } from '../../src/errors.js';
import { tlsAndProxyEnv } from '../../src/servers/certificates.js';
import { DataFolder } from '../../src/servers/data-folder.js';
import { startNats } from '../../src/servers/nats-server.js';
import { startPostgres } from '../../src/servers/postgres.js';
import { runAs, chownTo, unprivilegedAccount } from '../../src/servers/privileges.js';
import { findPython } from '../../src/servers/python.js';
import { stageProgram } from '../../src/farm/stage.js';
import type { BenchFigures } from './bench.js';
import { commitsPerSecond, fsyncsPerSecond, requestsPerSecond } from './limits.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

export interface BenchEnvironment {
  readonly nats: { readonly master: string; readonly slave: string };
  readonly dsn: string;
  readonly folder: DataFolder;
  /** The machine's limits, measured before anything else runs. */
  readonly limits: BenchFigures;
  /** The current process ids; a server that was killed is restarted under another one. */
  readonly pids: { readonly nats: number | undefined; readonly postgres: number | undefined };
  /** Starts `piw master` with this configuration. */
  startMaster(overrides: RawSettings): { readonly pid: number | undefined; stop(): Promise<unknown> };
  connect(): Promise<Bus>;
  /** Waits until all writes are on disk, and PostgreSQL has no vacuum, analyze or checkpoint left to do. */
  settle(): Promise<void>;
}

/**
 * Starts a nats-server and a PostgreSQL that fsyncs, as a farm does, with empty tables, and calls `run`. Stops both and
 * deletes their data afterwards. Throws PIW_INTERRUPTED on SIGINT or SIGTERM.
 */
export async function withBenchEnvironment<T>(
  say: (line: string) => void,
  run: (stage: BenchEnvironment) => Promise<T>,
): Promise<T> {
  const account = unprivilegedAccount();
  const path = await mkdtemp(join(tmpdir(), 'piw-bench-'));
  chmodSync(path, 0o755);
  chownTo(path, account);
  const folder = DataFolder.open(join(path, 'data'), account);
  const stops: (() => Promise<unknown>)[] = [];
  const onFailure = (error: Error): void => {
    say(error.message);
  };
  try {
    const services = { folder, log: say, onFailure, signal: new AbortController().signal };
    const python = await findPython(undefined, account);
    const nats = await startNats({ ...services, python, prefix: 'piw' });
    stops.push(() => nats.process.stop());
    const postgres = await startPostgres(services);
    stops.push(() => postgres.process.stop());
    await migrate(postgres.adminDsn, { user: postgres.role });
    say('measuring the machine');
    const limits = {
      nats_requests_per_s: await requestsPerSecond(nats.master, 3),
      postgres_commits_per_s: await commitsPerSecond(postgres.dsn, 3),
      disk_fsyncs_per_s: await fsyncsPerSecond(path, 2),
    };
    const program = stageProgram(ROOT, account);
    const startMaster = (overrides: RawSettings) => {
      const config = folder.writeSecret(
        'bench.conf',
        formatConfig({
          nats: nats.master,
          dsn: postgres.dsn,
          'output-path': folder.subfolder('www'),
          'pypi-simple': 'http://127.0.0.1:9/simple',
          ...overrides,
        }),
      );
      const log = openSync(folder.prepareLog('master.log'), 'a');
      const bin = join(program.root, 'dist/run/bin.js');
      const master = spawn(program.node, [bin, 'master', '-q', '-c', config], {
        ...runAs(account),
        stdio: ['ignore', log, log],
        cwd: folder.path,
        env: { PATH: process.env['PATH'], HOME: folder.path, ...tlsAndProxyEnv() },
      });
      const ended = new Promise((resolve) => master.once('exit', resolve));
      const stop = () => {
        master.kill('SIGTERM');
        return ended;
      };
      stops.push(stop);
      return { pid: master.pid, stop };
    };
    const connect = async () => {
      const bus = await Bus.connect({ address: nats.master, name: 'bench' });
      stops.push(() => bus.drain());
      return bus;
    };
    const settle = async () => {
      const admin = await Database.open(postgres.adminDsn, 'bench', { connections: 1 });
      await admin.query('set statement_timeout = 0');
      for (const statement of ['vacuum analyze', 'checkpoint']) await admin.query(statement);
      await admin.close();
      await promisify(execFile)('sync');
    };
    const interrupted = new Promise<never>((_, reject) => {
      const stop = () => {
        reject(new PiwError('PIW_INTERRUPTED', 'interrupted'));
      };
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, stop);
    });
    const running = run({
      nats,
      dsn: postgres.dsn,
      folder,
      limits,
      startMaster,
      connect,
      settle,
      pids: {
        get nats() {
          return nats.process.pid;
        },
        get postgres() {
          return postgres.process.pid;
        },
      },
    });
    return await Promise.race([running, interrupted]);
  } finally {
    for (const stop of stops.reverse()) await stop();
    folder.close();
    await rm(path, { recursive: true, force: true });
  }
}
