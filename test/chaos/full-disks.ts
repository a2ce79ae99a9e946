/**
 * Runs a farm and fills two of its disks in turn: that of the output path, and that of the slaves' builds.
 * Each is a tmpfs of its own, so this runs as root. No failure may be recorded, no process may exit, and work
 * must resume within 15 s of free space.
 *
 *     node dist/test/chaos/full-disks.js [--seconds 25] [--slaves 3]
 *
 * Prints a table; exits with 1 if any check fails. Prints `skipped` if no disk can be mounted.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ProtocolClient } from '../../src/actor/client.js';
import type { Bus } from '../../src/bus/bus.js';
import { formatConfig } from '../../src/settings/config-file.js';
import { Database } from '../../src/database/pool.js';
import { addReleases } from '../../src/database/versions.js';
import { PiwError, errorMessage } from '../../src/errors.js';
import { tarGz } from '../../src/farm/sdist.js';
import { startWebServer } from '../../src/web/web-server.js';
import { bigBrother } from '../../src/protocols/big-brother.js';
import { slaveControl } from '../../src/protocols/control.js';
import { withBenchEnvironment, type BenchEnvironment } from '../bench/stage.js';
import { someRelease } from '../helpers/rows.js';

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '25' }, slaves: { type: 'string', default: '3' } },
});
const FULL_S = Number(values.seconds);
const SLAVES = Number(values.slaves);
const VERSIONS = 600;
/** Large enough that a wheel is written to the disk before it is published. */
const WHEEL_BYTES = 300_000;
const DISK_MB = 160;
const RECOVERY_LIMIT_S = 15;
const BIN = fileURLToPath(new URL('../../run/bin.js', import.meta.url));
const PACKAGE_NAME = 'piw-full-disk';
const BACKEND = `
import os, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    version = [line[9:].strip() for line in open('PKG-INFO') if line.startswith('Version: ')][0]
    name = 'piw_full_disk-' + version
    with open('scratch.bin', 'wb') as scratch:
        scratch.write(os.urandom(2000000))
    with zipfile.ZipFile(os.path.join(folder, name + '-py3-none-any.whl'), 'w', zipfile.ZIP_STORED) as z:
        z.writestr(name + '.dist-info/METADATA', open('PKG-INFO').read())
        z.writestr(name + '.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
        z.writestr('data.bin', os.urandom(${WHEEL_BYTES}))
        z.writestr(name + '.dist-info/RECORD', '')
    return name + '-py3-none-any.whl'
`;

interface DiskReport {
  readonly disk: string;
  readonly full: string;
  readonly failures: number;
  readonly recoveryS: number;
  readonly pages: number;
  readonly crashes: number;
  readonly reportedIn: readonly string[];
}

/** Serves an index with the sources of many versions. */
async function makeIndex(folder: string): Promise<Awaited<ReturnType<typeof startWebServer>>> {
  const projectDir = join(folder, 'simple', PACKAGE_NAME);
  mkdirSync(projectDir, { recursive: true });
  const links = Array.from({ length: VERSIONS }, (_, n) => {
    const root = `piw_full_disk-${n + 1}.0`;
    const archive = tarGz([
      [`${root}/backend.py`, Buffer.from(BACKEND)],
      [
        `${root}/pyproject.toml`,
        Buffer.from('[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'),
      ],
      [
        `${root}/PKG-INFO`,
        Buffer.from(`Metadata-Version: 2.1\nName: ${PACKAGE_NAME}\nVersion: ${n + 1}.0\n`),
      ],
    ]);
    writeFileSync(join(projectDir, `${root}.tar.gz`), archive);
    const digest = createHash('sha256').update(archive).digest('hex');
    return `<a href="${root}.tar.gz#sha256=${digest}">${root}.tar.gz</a>`;
  });
  writeFileSync(join(projectDir, 'index.html'), `<!DOCTYPE html><title>Links</title>${links.join('\n')}`);
  return await startWebServer({ root: folder, host: '127.0.0.1', port: 0 });
}

/** Mounts a disk; returns undefined if that is impossible. */
function mountDisk(folder: string): string | undefined {
  mkdirSync(folder, { recursive: true });
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MB}m,mode=777`, 'piw-chaos', folder], {
      stdio: 'pipe',
    });
    return folder;
  } catch {
    return undefined;
  }
}

function startSlave(stage: BenchEnvironment, label: string, work: string, folder: string): ChildProcess {
  const config = join(folder, `${label}.conf`);
  const settings = { master: stage.nats.slave, 'work-dir': work, label, sandbox: 'none' };
  const limits = { 'min-disk-free': '0', 'build-disk-free': '0', 'min-memory-free': '0', 'max-load': '0' };
  writeFileSync(config, formatConfig({ ...settings, ...limits, 'busy-interval': '5' }), { mode: 0o600 });
  const log = openSync(join(folder, `${label}.log`), 'a');
  return spawn(process.execPath, [BIN, 'slave', '-c', config, '--allow-root', '--allow-exposed'], {
    stdio: ['ignore', log, log],
  });
}

/**
 * Keeps filling a disk, so that space that others release is taken, too. Returns a function that frees it.
 */
function keepDiskFull(folder: string): () => void {
  const path = join(folder, '.filler');
  const file = openSync(path, 'w');
  const fillUp = (): void => {
    for (const size of [1024 * 1024, 4096])
      for (;;) {
        try {
          writeSync(file, Buffer.alloc(size));
        } catch {
          break;
        }
      }
  };
  fillUp();
  const timer = setInterval(fillUp, 50);
  return () => {
    clearInterval(timer);
    closeSync(file);
    rmSync(path);
  };
}

const countBuilds = async (db: Database, condition: string): Promise<number> => {
  const [row] = await db.query<{ n: number }>(`select count(*)::int as n from builds where ${condition}`);
  return row?.n ?? 0;
};

/** Returns the seconds until the condition holds, at most a minute. */
async function secondsUntil(condition: () => Promise<boolean>): Promise<number> {
  const began = performance.now();
  while (performance.now() - began < 60_000 && !(await condition())) await sleep(100);
  return (performance.now() - began) / 1000;
}

/** Returns where the full disk is reported, besides the logs. */
async function reportChannels(bus: Bus, kind: 'output' | 'work'): Promise<ReadonlySet<string>> {
  const channels = new Set<string>();
  const bigBrotherClient = new ProtocolClient(bus, bigBrother, undefined, { timeoutMs: 3000, once: true });
  const slaveDriverClient = new ProtocolClient(bus, slaveControl, undefined, { timeoutMs: 3000, once: true });
  try {
    const { statistics } = await bigBrotherClient.request('GATHER', {});
    if (statistics.conditions.some((condition) => condition.kind === 'disk-full')) channels.add('conditions');
    const { slaves } = await slaveDriverClient.request('HELLO', {});
    if (slaves.some(({ note }) => note?.includes('is full'))) channels.add(`slaves (${kind})`);
  } catch (error) {
    if (!(error instanceof PiwError)) throw error;
    console.log(`  no answer: ${errorMessage(error)}`);
  }
  return channels;
}

async function runScenario(
  db: Database,
  bus: Bus,
  {
    disk,
    kind,
    logs,
    page,
  }: { disk: string; kind: 'output' | 'work'; logs: () => string; page: () => string },
): Promise<DiskReport> {
  const before = await countBuilds(db, 'true');
  await secondsUntil(async () => (await countBuilds(db, 'true')) >= before + SLAVES);
  const failures = await countBuilds(db, 'not status');
  const logStart = logs().length;
  const freeDisk = keepDiskFull(disk);
  const reportedIn = new Set<string>();
  for (const end = performance.now() + FULL_S * 1000; performance.now() < end;) {
    for (const channel of await reportChannels(bus, kind)) reportedIn.add(channel);
    await sleep(1000);
  }
  freeDisk();
  const builtBefore = await countBuilds(db, 'status');
  const recoveryS = await secondsUntil(async () => (await countBuilds(db, 'status')) > builtBefore);
  const [{ filename } = { filename: '' }] = await db.query<{ filename: string }>(
    'select filename from files order by build_id desc limit 1',
  );
  const pages = await secondsUntil(() => Promise.resolve(page().includes(filename)));
  const newLogs = logs().slice(logStart);
  if (/disk-full|is full/.test(newLogs)) reportedIn.add('log');
  return {
    disk: kind === 'output' ? 'output path' : "slaves' folder",
    full: FULL_S.toFixed(0),
    failures: (await countBuilds(db, 'not status')) - failures,
    recoveryS,
    pages: recoveryS + pages,
    crashes: newLogs.match(CRASH_LINE)?.length ?? 0,
    reportedIn: [...reportedIn],
  };
}

/** Log lines about a process that exited without being told to. */
const CRASH_LINE = /task killed|ended with exit code|was ended by|starting it again|internal error/g;

async function main(): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'piw-full-disks-'));
  chmodSync(folder, 0o755);
  const disks = [mountDisk(join(folder, 'www')), mountDisk(join(folder, 'work'))];
  const [output, work] = disks;
  const slaves: ChildProcess[] = [];
  let server: Awaited<ReturnType<typeof makeIndex>> | undefined;
  try {
    if (output === undefined || work === undefined) {
      console.log('skipped: no tmpfs can be mounted here (it takes root)');
      return 0;
    }
    server = await makeIndex(join(folder, 'index'));
    const indexUrl = `http://127.0.0.1:${server.port}/simple`;
    return await withBenchEnvironment(console.error, async (stage) => {
      const db = await Database.open(stage.dsn, 'full-disks');
      const bus = await stage.connect();
      // With dev-mode, pages follow a build within a second, so that their delay is due to the disk.
      const settings = {
        'output-path': output,
        'index-url': indexUrl,
        'register-targets': 'true',
        'dev-mode': 'true',
      };
      const master = stage.startMaster(settings);
      try {
        await addReleases(
          db,
          PACKAGE_NAME,
          'add',
          Array.from({ length: VERSIONS }, (_, n) => someRelease(`${n + 1}.0`)),
        );
        for (let n = 1; n <= SLAVES; n += 1) slaves.push(startSlave(stage, `slave-${n}`, work, folder));
        const logs = (): string =>
          [stage.folder.join('logs/master.log'), ...slaves.map((_, n) => join(folder, `slave-${n + 1}.log`))]
            .map((path) => readFileSync(path, 'utf8'))
            .join('\n');
        const page = (): string => {
          try {
            return readFileSync(join(output, 'simple', PACKAGE_NAME, 'index.v1_json'), 'utf8');
          } catch {
            return '';
          }
        };
        const rows = [
          await runScenario(db, bus, { disk: output, kind: 'output', logs, page }),
          await runScenario(db, bus, { disk: work, kind: 'work', logs, page }),
        ];
        return report(rows);
      } finally {
        for (const slave of slaves) slave.kill('SIGTERM');
        await Promise.all(slaves.map((slave) => new Promise((resolve) => slave.once('exit', resolve))));
        await master.stop();
        await db.close();
      }
    });
  } finally {
    await server?.close();
    for (const disk of disks) if (disk !== undefined) execFileSync('umount', ['-l', disk]);
    rmSync(folder, { recursive: true, force: true });
  }
}

function report(rows: readonly DiskReport[]): number {
  let faults = 0;
  console.log(
    'disk            full s  failures  builds resume after s  pages after s  crash lines  reported in',
  );
  for (const { disk, full, failures, recoveryS, pages, crashes, reportedIn } of rows) {
    const passed =
      failures === 0 &&
      recoveryS <= RECOVERY_LIMIT_S &&
      pages <= RECOVERY_LIMIT_S &&
      crashes === 0 &&
      reportedIn.length > 1;
    if (!passed) faults += 1;
    console.log(
      `${disk.padEnd(15)} ${full.padStart(6)}  ${String(failures).padStart(8)}  ${recoveryS.toFixed(1).padStart(21)}  ${pages.toFixed(1).padStart(13)}  ${String(crashes).padStart(11)}  ${reportedIn.join(', ')}${passed ? '' : '  FAILED'}`,
    );
  }
  return faults === 0 ? 0 : 1;
}

process.exitCode = await main();
