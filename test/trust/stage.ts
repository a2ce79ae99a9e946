import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { BuildSlave } from '../../src/slave/build-slave.js';
import { ProtocolClient } from '../../src/actor/client.js';
import { systemClock } from '../../src/concurrency/clock.js';
import { Bus } from '../../src/bus/bus.js';
import { decode, encode } from '../../src/bus/codec.js';
import type { RawSettings } from '../../src/config.js';
import { formatConfig } from '../../src/settings/config-file.js';
import { addReleases } from '../../src/database/versions.js';
import type { Database } from '../../src/database/pool.js';
import { createLog } from '../../src/log.js';
import { parseTransferId } from '../../src/protocols/file-juggler.js';
import { oracle } from '../../src/protocols/oracle.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { until } from '../helpers/bus.js';
import { testDatabase } from '../helpers/database.js';
import { slaveHello } from '../helpers/master.js';
import { startFarmNats } from '../helpers/nats.js';
import { RawNats, type RawRequestOptions } from '../helpers/raw-nats.js';
import { someRelease, insertTarget } from '../helpers/rows.js';
import { fileStateOf, makeWheel } from '../helpers/wheel.js';
import { allProcesses } from '../helpers/proc.js';

const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));
const ABI = 'cp311';

/** An answer to a slave: the verb, then its fields. */
export type AnswerFields = readonly unknown[];

/** A real farm, with the real permissions in nats-server, and a malicious slave of it. */
export interface HostileFarm {
  readonly mallory: Mallory;
  readonly addresses: { readonly mallory: string; readonly victim: string; readonly honest: string };
  /** The users file for piw slaves. */
  readonly usersFile: string;
  readonly pidFile: string;
  readonly bus: Bus;
  readonly db: Database;
  readonly output: string;
  /** The lines of the master and of nats-server since the last call of `markLog`. */
  readonly newLogs: () => string;
  readonly markLog: () => void;
  /** Returns the resident bytes of a task's process, or of the whole cast. */
  readonly residentBytes: (task?: string) => number;
  /**
   * Asserts that no process has exited, that no stray file was written, and that an honest slave can build
   * and publish.
   */
  readonly assertUnharmed: (t: Test) => Promise<void>;
}

/** Starts a hostile farm with `versions` versions of demo in the queue, and one of `other`. */
export async function startHostileFarm(
  t: Test,
  versions: number,
  {
    settings = {},
    processes = 'one',
  }: {
    readonly settings?: RawSettings;
    /** `each task` has a process of its own only where a test measures it: starting them costs seconds. */
    readonly processes?: 'one' | 'each task';
  } = {},
): Promise<HostileFarm> {
  const folder = mkdtempSync(join(tmpdir(), 'piw-hostile-'));
  const output = join(folder, 'www');
  const { db, dsn } = await testDatabase(t);
  await insertTarget(db, ABI);
  const releases = Array.from({ length: versions }, (_, i) => someRelease(`1.${i}`));
  await addReleases(db, 'demo', 'feed', releases);
  await addReleases(db, 'other', 'feed', [someRelease('1.0')]);
  const nats = await startFarmNats(t, ['mallory', 'victim', 'honest']);
  const configFile = join(folder, 'piwheels.conf');
  writeFileSync(
    configFile,
    formatConfig({
      nats: nats.master,
      dsn,
      'output-path': output,
      'pypi-simple': 'http://127.0.0.1:9/simple',
      'watch-only': true,
      'dev-mode': true,
      'allow-root': true,
      'allow-superuser': true,
      ...settings,
    }),
  );
  const args = [BIN, 'master', '-v', '-c', configFile, ...(processes === 'one' ? ['--one-process'] : [])];
  const master = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  master.stderr.on('data', (data: Buffer) => (log += data.toString()));
  t.teardown(() => {
    if (process.env['PIW_TRUST_LOG'] !== undefined) writeFileSync(process.env['PIW_TRUST_LOG'], log);
  });
  const ended = new Promise<void>((resolve) => {
    master.once('close', () => {
      resolve();
    });
  });
  t.teardown(async () => {
    master.kill('SIGTERM');
    await ended;
  });
  const bus = await Bus.connect({ address: nats.master, name: 'test' });
  t.teardown(() => bus.drain());
  await new ProtocolClient(bus, oracle, undefined, { timeoutMs: 2000, patienceMs: 90_000 }).request(
    'GETABIS',
    {},
  );
  await until(() => TASKS.every((task) => new RegExp(` ${task}: at work`).test(log)), 60_000).catch(() => {
    throw new Error(`the cast did not start:\n${log.slice(-3000)}`);
  });
  const addresses = {
    mallory: nats.slaves[0] ?? '',
    victim: nats.slaves[1] ?? '',
    honest: nats.slaves[2] ?? '',
  };
  const mallory = new Mallory(await RawNats.connect(addresses.mallory));
  t.teardown(() => {
    mallory.raw.close();
  });
  let logStart = { log: 0, nats: 0 };
  const filesOutsideOutput = () =>
    listTree(folder).filter((path) => !path.startsWith('www/') && path !== 'www');
  const before = filesOutsideOutput();
  return {
    mallory,
    addresses,
    bus,
    db,
    output,
    usersFile: nats.usersFile,
    pidFile: nats.pidFile,
    newLogs: () => log.slice(logStart.log) + nats.log().slice(logStart.nats),
    markLog: () => {
      logStart = { log: log.length, nats: nats.log().length };
    },
    residentBytes: (task) => residentBytesOf(master.pid ?? 0, task),
    assertUnharmed: async (t) => {
      t.equal(master.exitCode, null, 'the master is running');
      t.same(
        log
          .split('\n')
          .filter((line) => / master: .*(?:ended|starting it again|killed)|PIW_INTERNAL/.test(line)),
        [],
        'no process has exited',
      );
      await runHonestSlave(t, addresses.honest, output);
      t.same(filesOutsideOutput(), before, 'nothing was written outside of the output path');
      const unexpectedFiles = async () => {
        const listed = await db.query<{ filename: string }>('select filename from files');
        const expectedFiles = new Set(listed.flatMap(({ filename }) => [filename, `${filename}.metadata`]));
        return listTree(join(output, 'simple')).filter(
          (path) => !PAGE_PATH.test(path) && !expectedFiles.has(path.replace(/^(?:demo|other)\//, '')),
        );
      };
      // While the Scribe writes a page, it has a temporary file: only a file that stays is unexpected.
      let unexpected: readonly string[] = [];
      await until(async () => (unexpected = await unexpectedFiles()).length === 0, 10_000).catch(
        () => undefined,
      );
      t.same(unexpected, [], 'nothing was written within it except published files');
    },
  };
}

const TASKS = ['the-oracle', 'file-juggler', 'the-scribe', 'the-secretary', 'the-architect', 'slave-driver'];

/** The folders and the index pages of `simple`. */
const PAGE_PATH = /^(?:[a-z0-9-]+|(?:[a-z0-9-]+\/)?index\.[^/]+)$/;

/** Returns the relative paths of everything below a folder, without following links. */
function listTree(folder: string): readonly string[] {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true })
      .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
      .sort();
  } catch {
    return [];
  }
}

/** Returns the resident bytes of a master's children. */
function residentBytesOf(parent: number, task?: string): number {
  return allProcesses()
    .filter((entry) => entry.parent === parent && (task === undefined || entry.task === task))
    .reduce((bytes, { residentBytes }) => bytes + residentBytes, 0);
}

/** Runs a real slave for one build, and checks that its wheel is published. */
async function runHonestSlave(t: Test, address: string, output: string): Promise<void> {
  const workDir = await mkdtemp(join(tmpdir(), 'piw-honest-'));
  let builtPath = '';
  const builder = {
    build: async ({ package: name, version }: { package: string; version: string }) => {
      await mkdir(workDir, { recursive: true });
      const contents = { 'demo.py': randomBytes(1_500_000) };
      const path = await makeWheel(workDir, { name, version, files: contents });
      const file = await fileStateOf(path);
      builtPath = `${name}/${file.filename}`;
      return {
        status: true,
        failureClass: null,
        durationS: 1,
        output: 'honest',
        details: NO_DETAILS,
        files: [{ ...file, path }],
      };
    },
    clean: () => Promise.resolve(),
  };
  const bus = await Bus.connect({
    address,
    name: 'honest',
    inboxPrefix: '_INBOX_honest',
    bucket: 'piw-slave-honest',
  });
  const slave = new BuildSlave({
    bus,
    clock: systemClock,
    builder: builder as never,
    user: 'honest',
    workDir,
    once: true,
    thresholds: { diskFree: 0, memoryFree: 0, load: 0, temperature: 0 },
    log: createLog('slave', 'error', (line) => {
      t.comment(line);
    }),
    hello: slaveHello('honest'),
  });
  await slave.run(AbortSignal.timeout(60_000));
  await bus.drain();
  const folder = builtPath.replace(/\/.*/, '');
  const published = await readdir(join(output, 'simple', folder)).catch(() => []);
  t.ok(
    published.some((name) => `${folder}/${name}` === builtPath),
    `an honest slave has published ${builtPath}`,
  );
  t.ok(statSync(join(output, 'simple', builtPath)).size > 1_500_000);
}

export const STATS = [1, 1, 1, 1, 0, null];

/** A slave that sends whatever it likes, on its own subjects or others. */
export class Mallory {
  readonly raw: RawNats;

  constructor(raw: RawNats) {
    this.raw = raw;
  }

  subject(session: string, ...tokens: readonly string[]): string {
    return ['piw', 'slave', this.raw.user, session, ...tokens].join('.');
  }

  /** Sends a possibly malformed message; returns the raw answer. */
  async sendRaw(
    session: string,
    verb: string,
    body: Uint8Array,
    options?: RawRequestOptions,
  ): Promise<AnswerFields> {
    const answer = await this.raw.ask(this.subject(session, ...verb.split('.')), body, options);
    if (answer === undefined || answer.length === 0) return [answer === undefined ? 'SILENCE' : 'NOBODY'];
    return decode(answer) as AnswerFields;
  }

  /** Sends an array: the verb, then the fields. */
  send(session: string, verb: string, ...fields: readonly unknown[]): Promise<AnswerFields> {
    return this.sendRaw(session, verb, encode([verb.split('.').at(-1), ...fields]));
  }

  /** Says HELLO, with its fields in order. */
  hello(
    session: string,
    overrides: Partial<Record<keyof ReturnType<typeof slaveHello> | 'clock', unknown>> = {},
  ): Promise<AnswerFields> {
    const fields = { ...slaveHello('mallory'), clock: 1, ...overrides };
    return this.send(session, 'HELLO', ...HELLO_FIELDS.map((name) => fields[name]));
  }

  /** Requests a build, in a new session unless one is named. Returns the lease. */
  async lease(session = randomBytes(6).toString('hex')): Promise<MalloryLease> {
    await this.hello(session);
    for (let attempt = 0; attempt < 100; attempt += 1) {
      const [verb, lease, name, version] = await this.send(session, 'IDLE', STATS);
      if (verb === 'BUILD')
        return { session, lease: Number(lease), package: String(name), version: String(version) };
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error('mallory was granted no build');
  }

  built(lease: MalloryLease, files: readonly unknown[], status = true): Promise<AnswerFields> {
    return this.send(
      lease.session,
      'BUILT',
      lease.lease,
      status,
      status ? null : 'other',
      1,
      'log',
      NO_DETAILS,
      files,
    );
  }

  /**
   * Stores bytes as one chunk, both as a small file's and as a large file's, and waits until they are stored.
   */
  async storeChunk(
    id: string,
    offset: number | string,
    data: Uint8Array,
    object = randomBytes(6).toString('hex'),
  ): Promise<void> {
    const transferId = parseTransferId(id).id;
    for (const name of [transferId, `${transferId}.${object}`]) {
      const headers = `NATS/1.0\r\nPiw-Offset: ${String(offset)}\r\n\r\n`;
      this.raw.publish(`$O.piw-slave-${this.raw.user}.C.file.${name}`, data, { headers });
    }
    await this.raw.flush();
  }

  /** Sends a whole file as the protocol says; returns the File Juggler's last answer. */
  async deliver(session: string, id: string, contents: Uint8Array): Promise<AnswerFields> {
    const answer = await this.send(session, 'file.HELLO', id);
    if (answer[0] !== 'FETCH') return answer;
    for (let at = 0; at < contents.length; at += CHUNK_BYTES)
      await this.storeChunk(id, at, contents.subarray(at, at + CHUNK_BYTES));
    return await this.send(session, 'file.CHUNK', 0, contents.length);
  }
}

const CHUNK_BYTES = 512 * 1024;
const HELLO_FIELDS = [
  ...([
    'version',
    'build_timeout_s',
    'busy_interval_s',
    'py_version_tag',
    'abi_tag',
    'platform_tag',
  ] as const),
  ...(['label', 'os_name', 'os_version', 'board', 'lacks', 'clock'] as const),
];

export interface MalloryLease {
  readonly session: string;
  readonly lease: number;
  readonly package: string;
  readonly version: string;
}
