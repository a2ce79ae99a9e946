import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ProtocolClient } from '../../src/actor/client.js';
import type { Bus } from '../../src/bus/bus.js';
import { fileJuggler } from '../../src/protocols/file-juggler.js';
import { oracle } from '../../src/protocols/oracle.js';
import { fileToMessage, type FileState } from '../../src/model/file-state.js';
import { writeLargeWheel } from '../helpers/stored-wheel.js';
import type { Benchmark, BenchFigures } from './bench.js';
import { cpuSeconds } from './cpu.js';
import { cpuCost, fillQueue, runSlaves } from './dispatch.js';
import { diskMbPerSecond, fsyncP99, rawNatsMbPerSecond } from './limits.js';
import { WorkerProcess, actorPids, peakRssMb } from './processes.js';
import type { SendReport } from './sender.js';
import { quantile } from './quantile.js';
import { withBenchEnvironment } from './stage.js';

/** The one-way latency of the slow link, milliseconds: an RTT of 20 ms. */
const ONE_WAY_MS = 10;

/** Files that are sent at the same time while other slaves build. */
const CONCURRENT_FILES = 4;
/** For how long the other slaves build, and the pause of each between two builds. */
const OTHER_SLAVES = { seconds: 20, restMs: 50 };

/**
 * Measures how fast files are sent from a slave and published: HELLO, FETCH, chunks, CHUNK, DONE, VERIFY. The actors
 * are the real ones, and the sender has a process of its own; the benchmark itself sends EXPECT and VERIFY, as the
 * Slave Driver does. The time is from the sender's HELLO to the answer to VERIFY: then the file is verified, on disk
 * and visible.
 */
export const transfer: Benchmark = {
  name: 'transfer',
  summary: 'large files from a slave to the output path',
  options: { megabytes: 500, rounds: 3, rtt_megabytes: 50, others: 20 },
  async run({ megabytes = 500, rounds = 3, rtt_megabytes = 50, others = 20 }, say) {
    return await withBenchEnvironment(
      say,
      async ({ nats, dsn, folder, limits, pids, startMaster, connect }) => {
        const size = megabytes * 1e6;
        const rawRates: number[] = [];
        const diskRates: number[] = [];
        const measure = async () => {
          rawRates.push(await rawNatsMbPerSecond(nats.master, size));
          diskRates.push(diskMbPerSecond(folder.path, size));
        };
        await measure();
        // 50 builds for each second of each slave: more than it can do with its pauses.
        await fillQueue(dsn, others * OTHER_SLAVES.seconds * 50, say);
        const master = startMaster({});
        const bus = await connect();
        // Waits until an Oracle is at work.
        await new ProtocolClient(bus, oracle, undefined, { timeoutMs: 2000, patienceMs: 30_000 }).request(
          'GETABIS',
          {},
        );
        const wheels = join(folder.path, 'built');
        mkdirSync(wheels);
        const makeJob = (name: string, bytes: number): TransferJob => {
          const path = join(wheels, `${name}-1.0-py3-none-any.whl`);
          return { path, file: writeLargeWheel(path, name, '1.0', bytes) };
        };
        const slave = new WorkerProcess('./sender.js', nats.slave);
        // The sender says that it is connected.
        await slave.receive();
        const juggler = actorPids('file-juggler', master.pid)[0];
        const rates: number[] = [];
        const measuredPids = { nats: pids.nats, sender: slave.pid, juggler };
        const costs: BenchFigures[] = [];
        for (let round = 0; round < rounds; round += 1) {
          const job = makeJob(`large${round}`, size);
          const before = cpuSeconds(measuredPids);
          const rate = await deliver(bus, slave, job);
          costs.push(cpuCost(before, cpuSeconds(measuredPids), megabytes, 'mb'));
          say(`sent ${megabytes} MB at ${rate.toFixed(0)} MB/s`);
          rates.push(rate);
          rmSync(job.path);
          await measure();
        }
        const peaks = {
          rss_peak_mb_sender: peakRssMb(slave.pid),
          rss_peak_mb_file_juggler: peakRssMb(juggler),
          rss_peak_mb_nats_server: peakRssMb(pids.nats),
        };
        slave.kill();
        const rtt = await overSlowLink(bus, nats.slave, rounds, (n) =>
          makeJob(`far${n}`, rtt_megabytes * 1e6),
        );
        say(
          `sent ${rtt_megabytes} MB with an RTT of 20 ms at ${rtt.map((rate) => rate.toFixed(0)).join(', ')} MB/s`,
        );
        const load = await whileFilesArrive(bus, nats.slave, {
          jobs: Array.from({ length: CONCURRENT_FILES }, (_, n) => makeJob(`four${n}`, size)),
          say,
          work: async () => {
            let finished = false;
            const fsyncs = fsyncP99(folder.path, () => finished);
            const report = await runSlaves(
              { address: nats.slave, slaves: others, ...OTHER_SLAVES },
              say,
              () => undefined,
            );
            finished = true;
            return { ...report, fsync_p99_ms_meanwhile: await fsyncs };
          },
        });
        const [raw_nats_mb_per_s, disk_mb_per_s] = [quantile(rawRates, 0.5), quantile(diskRates, 0.5)];
        const end_to_end_mb_per_s = quantile(rates, 0.5);
        return {
          figures: {
            end_to_end_mb_per_s,
            percent_of_limit: (100 * end_to_end_mb_per_s) / Math.min(raw_nats_mb_per_s, disk_mb_per_s),
            slowest_mb_per_s: Math.min(...rates),
            rss_peak_mb: Math.max(...Object.values(peaks)),
            ...peaks,
            rtt20_mb_per_s: quantile(rtt, 0.5),
            others_p99_ms: load.answerP99,
            others_answers_per_s: load.answers / load.seconds,
            ...costs.at(-1),
          },
          limits: {
            raw_nats_mb_per_s,
            disk_mb_per_s,
            fsync_p99_ms_meanwhile: load.fsync_p99_ms_meanwhile,
            ...limits,
          },
        };
      },
    );
  },
};

interface TransferJob {
  readonly path: string;
  readonly file: FileState;
}

/** Sends a file from the slave, verifies it and removes it again. Returns the rate, MB per second. */
async function deliver(bus: Bus, slave: WorkerProcess, { path, file }: TransferJob): Promise<number> {
  const files = new ProtocolClient(bus, fileJuggler, undefined, { timeoutMs: 60_000 });
  const transferId = `bench-${file.package_tag}`;
  await files.request('EXPECT', {
    transfer_id: transferId,
    sender: 'slave',
    file_state: fileToMessage(file),
  });
  const startedAt = performance.now();
  slave.send({ transferId, path, file });
  const report = (await slave.receive()) as SendReport;
  if (report.error !== undefined) throw new Error(report.error);
  const verifyRequest = { transfer_id: transferId, package: file.package_tag, rebuilt: false, past: [] };
  const verdict = await files.request('VERIFY', verifyRequest);
  const elapsedMs = performance.now() - startedAt;
  if (verdict.verb !== 'VERIFIED') throw new Error(`${file.filename}: ${verdict.reason}`);
  const { stamp } = verdict;
  await files.request('REMOVE', { package: file.package_tag, filename: file.filename, stamp });
  return file.filesize / 1e3 / elapsedMs;
}

/** Sends the files repeatedly and concurrently while `work` runs. Returns the result of `work`. */
async function whileFilesArrive<T>(
  bus: Bus,
  address: string,
  { jobs, say, work }: { jobs: readonly TransferJob[]; say: (line: string) => void; work: () => Promise<T> },
): Promise<T> {
  const slaves = jobs.map(() => new WorkerProcess('./sender.js', address));
  await Promise.all(slaves.map((slave) => slave.receive()));
  let finished = false;
  let files = 0;
  const startedAt = performance.now();
  const sending = slaves.map(async (slave, n) => {
    const job = jobs[n];
    while (!finished && job) {
      await deliver(bus, slave, job);
      files += 1;
    }
  });
  const result = await work();
  finished = true;
  await Promise.all(sending);
  const rate = (files * (jobs[0]?.file.filesize ?? 0)) / 1e3 / (performance.now() - startedAt);
  say(`sent ${files} files, ${jobs.length} at a time, at ${rate.toFixed(0)} MB/s`);
  for (const slave of slaves) slave.kill();
  return result;
}

/** Sends files over a link with an RTT of 20 ms. Returns the rate of each, MB per second. */
async function overSlowLink(
  bus: Bus,
  address: string,
  rounds: number,
  makeJob: (n: number) => TransferJob,
): Promise<number[]> {
  const server = new URL(address);
  const proxy = new WorkerProcess('../helpers/latency-proxy.js', server.port, String(ONE_WAY_MS));
  server.port = String(((await proxy.receive()) as { port: number }).port);
  const slave = new WorkerProcess('./sender.js', server.href);
  try {
    await slave.receive();
    const rates: number[] = [];
    for (let n = 0; n < rounds; n += 1) rates.push(await deliver(bus, slave, makeJob(n)));
    return rates;
  } finally {
    slave.kill();
    proxy.kill();
  }
}
