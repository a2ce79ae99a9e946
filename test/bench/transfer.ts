import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from '../../src/actor/client.js';
import type { Bus } from '../../src/bus/bus.js';
import { fileSystem } from '../../src/protocols/file-juggler.js';
import { oracle } from '../../src/protocols/oracle.js';
import { fileToMessage, type FileState } from '../../src/states/file-state.js';
import { writeLargeWheel } from '../helpers/stored-wheel.js';
import type { Bench, Figures } from './bench.js';
import { cpuSeconds } from './cpu.js';
import { cost, fill, simulate } from './dispatch.js';
import { diskMbPerSecond, fsyncP99, rawNatsMbPerSecond } from './limits.js';
import { Worker, actorsOf, peakMb } from './processes.js';
import type { SendReport } from './sender.js';
import { quantile } from './quantile.js';
import { onStage } from './stage.js';

/** One way of the slow line, milliseconds: 20 there and back. */
const ONE_WAY_MS = 10;

/** Files that arrive at once while other slaves ask. */
const AT_ONCE = 4;
/** For how long they ask, and how long each rests between two builds. */
const OTHERS = { seconds: 20, restMs: 50 };

/**
 * How fast a file goes from a slave to its place: HELLO, FETCH, chunks, CHUNK, DONE, VERIFY, with the real cast,
 * the sender in a process of its own, and the bench in the place of the Slave Driver for EXPECT and VERIFY. The
 * time is from the sender's HELLO until VERIFY is answered: then the file is verified, on the disk and visible.
 */
export const transfer: Bench = {
  name: 'transfer',
  summary: 'large files from a slave to the output path',
  options: { megabytes: 500, rounds: 3, rtt_megabytes: 50, others: 20 },
  async run({ megabytes = 500, rounds = 3, rtt_megabytes = 50, others = 20 }, say) {
    return await onStage(say, async ({ nats, dsn, folder, limits, pids, startMaster, connect }) => {
      const size = megabytes * 1e6;
      const raw: number[] = [];
      const disk: number[] = [];
      const measure = async () => {
        raw.push(await rawNatsMbPerSecond(nats.master, size));
        disk.push(diskMbPerSecond(folder.path, size));
      };
      await measure();
      await fill(dsn, others * OTHERS.seconds * 50, say);
      const master = startMaster({});
      const bus = await connect();
      await new Client(bus, oracle, undefined, { timeoutMs: 2000, patienceMs: 30_000 }).ask('GETABIS', {});
      const wheels = join(folder.path, 'built');
      mkdirSync(wheels);
      const make = (name: string, bytes: number): Job => {
        const path = join(wheels, `${name}-1.0-py3-none-any.whl`);
        return { path, file: writeLargeWheel(path, name, '1.0', bytes) };
      };
      const slave = new Worker('./sender.js', nats.slave);
      await slave.hear();
      const juggler = actorsOf('file-juggler', master.pid)[0];
      const rates: number[] = [];
      const used = { nats: pids.nats, sender: slave.pid, juggler };
      const costs: Figures[] = [];
      for (let round = 0; round < rounds; round += 1) {
        const job = make(`large${String(round)}`, size);
        const before = cpuSeconds(used);
        const rate = await deliver(bus, slave, job);
        costs.push(cost(before, cpuSeconds(used), megabytes, 'mb'));
        say(`${String(megabytes)} MB at ${rate.toFixed(0)} MB/s`);
        rates.push(rate);
        rmSync(job.path);
        await measure();
      }
      const peaks = {
        rss_peak_mb_sender: peakMb(slave.pid),
        rss_peak_mb_file_juggler: peakMb(juggler),
        rss_peak_mb_nats_server: peakMb(pids.nats),
      };
      slave.end();
      const rtt = await overSlowLine(bus, nats.slave, rounds, (n) =>
        make(`far${String(n)}`, rtt_megabytes * 1e6),
      );
      say(`${String(rtt_megabytes)} MB over 20 ms at ${rtt.map((rate) => rate.toFixed(0)).join(', ')} MB/s`);
      const asked = await whileFilesArrive(bus, nats.slave, {
        jobs: Array.from({ length: AT_ONCE }, (_, n) => make(`four${String(n)}`, size)),
        say,
        until: async () => {
          let over = false;
          const fsyncs = fsyncP99(folder.path, () => over);
          const report = await simulate(
            { address: nats.slave, slaves: others, ...OTHERS },
            say,
            () => undefined,
          );
          over = true;
          return { ...report, fsync_p99_ms_meanwhile: await fsyncs };
        },
      });
      const [raw_nats_mb_per_s, disk_mb_per_s] = [quantile(raw, 0.5), quantile(disk, 0.5)];
      const end_to_end_mb_per_s = quantile(rates, 0.5);
      return {
        figures: {
          end_to_end_mb_per_s,
          percent_of_limit: (100 * end_to_end_mb_per_s) / Math.min(raw_nats_mb_per_s, disk_mb_per_s),
          slowest_mb_per_s: Math.min(...rates),
          rss_peak_mb: Math.max(...Object.values(peaks)),
          ...peaks,
          rtt20_mb_per_s: quantile(rtt, 0.5),
          others_p99_ms: asked.anyP99,
          others_answers_per_s: asked.answers / asked.seconds,
          ...costs.at(-1),
        },
        limits: {
          ...{ raw_nats_mb_per_s, disk_mb_per_s },
          ...{ fsync_p99_ms_meanwhile: asked.fsync_p99_ms_meanwhile },
          ...limits,
        },
      };
    });
  },
};

interface Job {
  readonly path: string;
  readonly file: FileState;
}

/** One file from the slave to its place; MB a second. */
async function deliver(bus: Bus, slave: Worker, { path, file }: Job): Promise<number> {
  const files = new Client(bus, fileSystem, undefined, { timeoutMs: 60_000 });
  const transferId = `bench-${file.package_tag}`;
  await files.ask('EXPECT', { transfer_id: transferId, sender: 'slave', file_state: fileToMessage(file) });
  const began = performance.now();
  slave.say({ transferId, path, file });
  const report = (await slave.hear()) as SendReport;
  if (report.error !== undefined) throw new Error(report.error);
  const what = { transfer_id: transferId, package: file.package_tag, rebuilt: false, past: [] };
  const verdict = await files.ask('VERIFY', what);
  const took = performance.now() - began;
  if (verdict.verb !== 'VERIFIED') throw new Error(`${file.filename}: ${verdict.reason}`);
  const { stamp } = verdict;
  await files.ask('REMOVE', { package: file.package_tag, filename: file.filename, stamp });
  return file.filesize / 1e3 / took;
}

/** Sends the files again and again, all at once, until `until` has what it wants. */
async function whileFilesArrive<T>(
  bus: Bus,
  address: string,
  { jobs, say, until }: { jobs: readonly Job[]; say: (line: string) => void; until: () => Promise<T> },
): Promise<T> {
  const slaves = jobs.map(() => new Worker('./sender.js', address));
  await Promise.all(slaves.map((slave) => slave.hear()));
  let over = false;
  let files = 0;
  const began = performance.now();
  const sending = slaves.map(async (slave, n) => {
    const job = jobs[n];
    while (!over && job) {
      await deliver(bus, slave, job);
      files += 1;
    }
  });
  const result = await until();
  over = true;
  await Promise.all(sending);
  const rate = (files * (jobs[0]?.file.filesize ?? 0)) / 1e3 / (performance.now() - began);
  say(`${String(files)} files, ${String(jobs.length)} at once: ${rate.toFixed(0)} MB/s`);
  for (const slave of slaves) slave.end();
  return result;
}

async function overSlowLine(
  bus: Bus,
  address: string,
  rounds: number,
  make: (n: number) => Job,
): Promise<number[]> {
  const server = new URL(address);
  const line = new Worker('../helpers/slow-line.js', server.port, String(ONE_WAY_MS));
  server.port = String(((await line.hear()) as { port: number }).port);
  const slave = new Worker('./sender.js', server.href);
  try {
    await slave.hear();
    const rates: number[] = [];
    for (let n = 0; n < rounds; n += 1) rates.push(await deliver(bus, slave, make(n)));
    return rates;
  } finally {
    slave.end();
    line.end();
  }
}
