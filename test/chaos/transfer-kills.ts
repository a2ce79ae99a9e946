/**
 * Sends a wheel from a slave to the output path, again and again, and each time kills one of slave, File
 * Juggler, Slave Driver and nats-server, in turn, with SIGKILL at a random moment. Each time the file must
 * arrive complete, and no more than two windows of it may be sent again.
 *
 *     node dist/test/chaos/transfer-kills.js [--times 100] [--megabytes 500]
 *
 * With `--times 0` one file is sent, and nothing is killed. Prints a line for each kill, and a summary; exits
 * with 1 if any check fails.
 */
import { randomBytes } from 'node:crypto';
import { fork } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ProtocolClient } from '../../src/actor/client.js';
import { fileJuggler, SEND_WINDOW_BYTES } from '../../src/protocols/file-juggler.js';
import { oracle } from '../../src/protocols/oracle.js';
import { hashFile } from '../../src/wheels/wheel.js';
import { fillQueue } from '../bench/dispatch.js';
import { actorPids } from '../bench/processes.js';
import { quantile } from '../bench/quantile.js';
import { withBenchEnvironment, type BenchEnvironment } from '../bench/stage.js';
import { writeLargeWheel } from '../helpers/stored-wheel.js';
import type { SentWheel, SenderMessage } from './sending-slave.js';

const { values } = parseArgs({
  options: { times: { type: 'string', default: '100' }, megabytes: { type: 'string', default: '500' } },
});
const times = Number(values.times);
const fileBytes = Number(values.megabytes) * 1e6;
const VICTIMS = ['slave', 'file-juggler', 'slave-driver', 'nats-server'] as const;
type Victim = (typeof VICTIMS)[number];
/** Bytes that may be sent again per interruption. */
const RESEND_ALLOWANCE_BYTES = 2 * SEND_WINDOW_BYTES;
/** Maximum milliseconds for one transfer. */
const LIMIT_MS = 120_000;

interface TransferRun {
  readonly ms: number;
  readonly resentBytes: number;
  readonly interruptions: readonly string[];
  readonly intact: boolean;
  /**
   * The share of the file that was sent when the victim was killed; undefined if the transfer was over
   * before.
   */
  readonly killedAt: number | undefined;
}

/** Sends one file, and kills the victim, if any, once `share` of it has been sent. */
async function transferOnce(
  stage: BenchEnvironment,
  masterPid: number | undefined,
  victim?: Victim,
  share = 0,
): Promise<TransferRun> {
  const session = `chaos-${randomBytes(6).toString('hex')}`;
  const interruptions: string[] = [];
  let builtWheel: SentWheel | undefined;
  let sentBefore = 0;
  let sent = 0;
  let killedAt: number | undefined;
  let began = performance.now();
  const kill = (pid: number | undefined): void => {
    if (pid === undefined) return;
    killedAt = (sentBefore + sent) / (builtWheel?.file.filesize ?? 1);
    process.kill(pid, 'SIGKILL');
  };
  const verb = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`it did not arrive within ${LIMIT_MS / 1000} s`));
    }, LIMIT_MS);
    const program = fileURLToPath(new URL('./sending-slave.js', import.meta.url));
    const start = (): void => {
      const slave = fork(
        program,
        [stage.nats.slave, session, ...(builtWheel ? [JSON.stringify(builtWheel)] : [])],
        {
          stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        },
      );
      slave.on('message', (message: SenderMessage) => {
        if ('order' in message) {
          const { lease, package: name, version } = message.order;
          const path = join(stage.folder.path, 'built', `${name}-${version}-py3-none-any.whl`);
          builtWheel = { lease, path, file: writeLargeWheel(path, name, version, fileBytes) };
          began = performance.now();
          slave.send(builtWheel);
        } else if ('sent' in message) {
          sent = message.sent;
          const due = killedAt === undefined && sentBefore + sent >= share * (builtWheel?.file.filesize ?? 0);
          if (!victim || !due) return;
          if (victim === 'slave') kill(slave.pid);
          else if (victim === 'nats-server') kill(stage.pids.nats);
          else kill(actorPids(victim, masterPid)[0]);
        } else if ('broke' in message) interruptions.push(message.broke);
        else {
          clearTimeout(timer);
          slave.disconnect();
          resolve(message.done);
        }
      });
      slave.once('exit', (code, signal) => {
        if (signal !== 'SIGKILL') {
          if (code !== 0) reject(new Error(`the slave exited with ${String(code)}`));
          return;
        }
        interruptions.push('the slave was killed');
        sentBefore += sent;
        sent = 0;
        start();
      });
    };
    start();
  });
  const ms = performance.now() - began;
  if (!builtWheel) throw new Error('nothing was built');
  const { file, path } = builtWheel;
  rmSync(path);
  const target = join(stage.folder.join('www'), 'simple', file.package_tag, file.filename);
  const published = await hashFile(target).catch(() => undefined);
  const intact = verb === 'DONE' && published?.sha256 === file.filehash;
  const bus = await stage.connect();
  const files = new ProtocolClient(bus, fileJuggler, undefined, { timeoutMs: 20_000, patienceMs: 30_000 });
  const fileKey = { package: file.package_tag, filename: file.filename };
  const { file_stamp: fileStamp } = await files.request('GETSTAMP', fileKey);
  if (fileStamp) await files.request('REMOVE', { ...fileKey, stamp: fileStamp.stamp });
  await bus.drain();
  return { ms, resentBytes: sentBefore + sent - file.filesize, interruptions, intact, killedAt };
}

const formatMb = (n: number): string => (n / 1e6).toFixed(1);

async function main(stage: BenchEnvironment): Promise<number> {
  await fillQueue(stage.dsn, times + 50, () => undefined);
  const master = stage.startMaster({});
  const bus = await stage.connect();
  await new ProtocolClient(bus, oracle, undefined, { timeoutMs: 2000, patienceMs: 30_000 }).request(
    'GETABIS',
    {},
  );
  await bus.drain();
  mkdirSync(join(stage.folder.path, 'built'));
  const { ms, resentBytes, intact } = await transferOnce(stage, master.pid);
  console.log(
    `undisturbed: ${formatMb(fileBytes)} MB in ${(ms / 1000).toFixed(1)} s, ${formatMb(resentBytes)} MB sent again${intact ? '' : '  INCOMPLETE'}`,
  );
  let faults = intact && resentBytes === 0 ? 0 : 1;
  const resentPerRun: number[] = [];
  for (let n = 0; n < times; n += 1) {
    const victim = VICTIMS[n % VICTIMS.length] ?? 'slave';
    const share = Math.random();
    const label = `${String(n + 1).padStart(3)} ${victim.padEnd(13)}`;
    try {
      const run = await transferOnce(stage, master.pid, victim, share);
      const passed =
        run.intact && run.resentBytes <= RESEND_ALLOWANCE_BYTES * Math.max(1, run.interruptions.length);
      if (!passed) faults += 1;
      resentPerRun.push(run.resentBytes);
      console.log(
        `${label} killed at ${((run.killedAt ?? 1) * 100).toFixed(0).padStart(3)} %, ${run.intact ? 'complete' : 'INCOMPLETE'} after ${(run.ms / 1000).toFixed(1)} s, ${formatMb(run.resentBytes)} MB sent again, ${run.interruptions.length} interruptions${passed ? '' : `  FAILED: ${run.interruptions.join('; ')}`}`,
      );
    } catch (error) {
      faults += 1;
      console.log(`${label} ${error instanceof Error ? error.message : String(error)}  FAILED`);
    }
  }
  if (times > 0)
    console.log(
      `${times} kills, ${faults} faults; sent again: median ${formatMb(quantile(resentPerRun, 0.5))} MB, at most ${formatMb(Math.max(...resentPerRun))} MB; two windows are ${formatMb(RESEND_ALLOWANCE_BYTES)} MB`,
    );
  return faults === 0 ? 0 : 1;
}

process.exitCode = await withBenchEnvironment(
  (line) => {
    console.log(line);
  },
  (stage) => main(stage),
);
