/**
 * A wheel goes from a slave to the output path, again and again, and each time one of slave, File Juggler, Slave
 * Driver and nats-server, in turn, is killed with SIGKILL at a random moment of it. Each time the file must
 * arrive whole, and no more than two windows of it may be sent again.
 *
 *     node dist/test/chaos/transfer-kills.js [--times 100] [--megabytes 500]
 *
 * With `--times 0` one file is sent, and nothing killed. Prints a line for each death, and what came of all of
 * them; exits with 1 if anything is not as it must be.
 */
import { randomBytes } from 'node:crypto';
import { fork } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Client } from '../../src/actor/client.js';
import { fileSystem, WINDOW } from '../../src/protocols/file-juggler.js';
import { oracle } from '../../src/protocols/oracle.js';
import { hashFile } from '../../src/wheels/wheel.js';
import { fill } from '../bench/dispatch.js';
import { actorsOf } from '../bench/processes.js';
import { quantile } from '../bench/quantile.js';
import { onStage, type Stage } from '../bench/stage.js';
import { writeLargeWheel } from '../helpers/stored-wheel.js';
import type { HandIn, Heard } from './sending-slave.js';

const { values } = parseArgs({
  options: { times: { type: 'string', default: '100' }, megabytes: { type: 'string', default: '500' } },
});
const times = Number(values.times);
const bytes = Number(values.megabytes) * 1e6;
const VICTIMS = ['slave', 'file-juggler', 'slave-driver', 'nats-server'] as const;
type Victim = (typeof VICTIMS)[number];
/** What may be sent again for one break, bytes. */
const AGAIN = 2 * WINDOW.near;
/** Nothing may take longer, milliseconds. */
const LIMIT_MS = 120_000;

interface Run {
  readonly ms: number;
  readonly again: number;
  readonly breaks: readonly string[];
  readonly whole: boolean;
  /** The share of the file that had been sent when it was killed; undefined: it was over before. */
  readonly killedAt: number | undefined;
}

/** One file, and one death when `share` of it has been sent; without a victim, none. */
async function once(stage: Stage, masterPid: number | undefined, victim?: Victim, share = 0): Promise<Run> {
  const session = `chaos-${randomBytes(6).toString('hex')}`;
  const breaks: string[] = [];
  let handIn: HandIn | undefined;
  let earlier = 0;
  let sent = 0;
  let killedAt: number | undefined;
  let began = performance.now();
  const kill = (pid: number | undefined): void => {
    if (pid === undefined) return;
    killedAt = (earlier + sent) / (handIn?.file.filesize ?? 1);
    process.kill(pid, 'SIGKILL');
  };
  const verb = await new Promise<string>((resolve, reject) => {
    const limit = setTimeout(() => {
      reject(new Error(`it did not arrive within ${String(LIMIT_MS / 1000)} s`));
    }, LIMIT_MS);
    const program = fileURLToPath(new URL('./sending-slave.js', import.meta.url));
    const start = (): void => {
      const slave = fork(program, [stage.nats.slave, session, ...(handIn ? [JSON.stringify(handIn)] : [])], {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      });
      slave.on('message', (heard: Heard) => {
        if ('order' in heard) {
          const { lease, package: name, version } = heard.order;
          const path = join(stage.folder.path, 'built', `${name}-${version}-py3-none-any.whl`);
          handIn = { lease, path, file: writeLargeWheel(path, name, version, bytes) };
          began = performance.now();
          slave.send(handIn);
        } else if ('sent' in heard) {
          sent = heard.sent;
          const due = killedAt === undefined && earlier + sent >= share * (handIn?.file.filesize ?? 0);
          if (!victim || !due) return;
          if (victim === 'slave') kill(slave.pid);
          else if (victim === 'nats-server') kill(stage.pids.nats);
          else kill(actorsOf(victim, masterPid)[0]);
        } else if ('broke' in heard) breaks.push(heard.broke);
        else {
          clearTimeout(limit);
          slave.disconnect();
          resolve(heard.done);
        }
      });
      slave.once('exit', (code, signal) => {
        if (signal !== 'SIGKILL') {
          if (code !== 0) reject(new Error(`the slave ended with ${String(code)}`));
          return;
        }
        breaks.push('the slave was killed');
        earlier += sent;
        sent = 0;
        start();
      });
    };
    start();
  });
  const ms = performance.now() - began;
  if (!handIn) throw new Error('nothing was built');
  const { file, path } = handIn;
  rmSync(path);
  const target = join(stage.folder.join('www'), 'simple', file.package_tag, file.filename);
  const found = await hashFile(target).catch(() => undefined);
  const whole = verb === 'DONE' && found?.sha256 === file.filehash;
  const bus = await stage.connect();
  const files = new Client(bus, fileSystem, undefined, { timeoutMs: 20_000, patienceMs: 30_000 });
  const what = { package: file.package_tag, filename: file.filename };
  const { standing } = await files.ask('STANDING', what);
  if (standing) await files.ask('REMOVE', { ...what, stamp: standing.stamp });
  await bus.drain();
  return { ms, again: earlier + sent - file.filesize, breaks, whole, killedAt };
}

const mb = (n: number): string => (n / 1e6).toFixed(1);

async function main(stage: Stage): Promise<number> {
  await fill(stage.dsn, times + 50, () => undefined);
  const master = stage.startMaster({});
  const bus = await stage.connect();
  await new Client(bus, oracle, undefined, { timeoutMs: 2000, patienceMs: 30_000 }).ask('GETABIS', {});
  await bus.drain();
  mkdirSync(join(stage.folder.path, 'built'));
  const { ms, again, whole } = await once(stage, master.pid);
  console.log(
    `undisturbed: ${mb(bytes)} MB in ${(ms / 1000).toFixed(1)} s, ${mb(again)} MB sent again${whole ? '' : '  NOT WHOLE'}`,
  );
  let faults = whole && again === 0 ? 0 : 1;
  const agains: number[] = [];
  for (let n = 0; n < times; n += 1) {
    const victim = VICTIMS[n % VICTIMS.length] ?? 'slave';
    const share = Math.random();
    const head = `${String(n + 1).padStart(3)} ${victim.padEnd(13)}`;
    try {
      const run = await once(stage, master.pid, victim, share);
      const right = run.whole && run.again <= AGAIN * Math.max(1, run.breaks.length);
      if (!right) faults += 1;
      agains.push(run.again);
      console.log(
        `${head} killed at ${((run.killedAt ?? 1) * 100).toFixed(0).padStart(3)} %, ${run.whole ? 'whole' : 'NOT WHOLE'} after ${(run.ms / 1000).toFixed(1)} s, ${mb(run.again)} MB sent again, ${String(run.breaks.length)} breaks${right ? '' : `  NOT AS IT MUST BE: ${run.breaks.join('; ')}`}`,
      );
    } catch (error) {
      faults += 1;
      console.log(`${head} ${error instanceof Error ? error.message : String(error)}  NOT AS IT MUST BE`);
    }
  }
  if (times > 0)
    console.log(
      `${String(times)} deaths, ${String(faults)} faults; sent again: median ${mb(quantile(agains, 0.5))} MB, at most ${mb(Math.max(...agains))} MB; two windows are ${mb(AGAIN)} MB`,
    );
  return faults === 0 ? 0 : 1;
}

process.exitCode = await onStage(
  (line) => {
    console.log(line);
  },
  (stage) => main(stage),
);
