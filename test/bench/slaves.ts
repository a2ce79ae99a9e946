/** Simulated slaves in one process: they speak the slaves' protocol, and build nothing. */
import { randomBytes } from 'node:crypto';
import { ProtocolClient } from '../../src/actor/client.js';
import { systemClock } from '../../src/concurrency/clock.js';
import { sendFile } from '../../src/transfer/send-file.js';
import { Bus } from '../../src/bus/bus.js';
import { PiwError } from '../../src/errors.js';
import type { MachineStats } from '../../src/model/fields.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { slaveDriver, type SlaveAnswer, type SlaveVerbs } from '../../src/protocols/slave-driver.js';
import { fileToMessage } from '../../src/model/file-state.js';
import { SLAVE_PROTOCOL_VERSION, VERSION } from '../../src/version.js';
import { storedWheel } from '../helpers/stored-wheel.js';
import { quantile } from './quantile.js';

export interface SlavesReport {
  readonly buildsDone: number;
  readonly seconds: number;
  /** Median time from BUILT to the end of the build (DONE), milliseconds. */
  readonly p50: number;
  /** 99th percentile of the same, milliseconds. */
  readonly p99: number;
  /** Requests that were answered. */
  readonly answers: number;
  /** 99th percentile of the time from a request to its answer, milliseconds. */
  readonly answerP99: number;
  /** The longest time during which no slave got an answer, milliseconds. */
  readonly longestFreeze: number;
  /** Builds in the slowest whole second. */
  readonly slowestSecond: number;
}

const STATS: MachineStats = [100e9, 50e9, 8e9, 4e9, 1.5, null];
const LOG = randomBytes(1024).toString('hex');
/** Connections that the slaves share; a real slave has one of its own. */
const CONNECTIONS = 8;

export interface SlavesOptions {
  readonly address: string;
  readonly slaves: number;
  readonly seconds: number;
  /** How long each slave rests between two builds, milliseconds. */
  readonly restMs?: number;
  /** The size of the wheel that each build produces, bytes; without it, all builds fail. */
  readonly wheelBytes?: number;
}

async function main({
  address,
  slaves,
  seconds,
  restMs = 0,
  wheelBytes,
}: SlavesOptions): Promise<SlavesReport> {
  const buses = await Promise.all(
    Array.from({ length: CONNECTIONS }, (_, i) =>
      Bus.connect({
        address,
        name: `slaves ${i}`,
        inboxPrefix: '_INBOX_slave',
        bucket: 'piw-slave-slave',
      }),
    ),
  );
  const busOf = (i: number): Bus => {
    const bus = buses[i % CONNECTIONS];
    if (!bus) throw new Error('no connection');
    return bus;
  };
  const clients = Array.from(
    { length: slaves },
    (_, i) =>
      new ProtocolClient(busOf(i), slaveDriver, ['slave', 'slave', `s${i}`], {
        timeoutMs: 30_000,
        patienceMs: 60_000,
      }),
  );
  const member = wheelBytes === undefined ? undefined : randomBytes(wheelBytes);
  await Promise.all(clients.map((master, i) => hello(master, i)));
  const buildLatencies: number[] = [];
  const answerLatencies: number[] = [];
  const buildsPerSecond: number[] = [];
  const startedAt = performance.now();
  const end = startedAt + seconds * 1000;
  let lastAnswerAt = startedAt;
  let longestFreeze = 0;
  const noteAnswer = (): void => {
    const now = performance.now();
    longestFreeze = Math.max(longestFreeze, now - lastAnswerAt);
    lastAnswerAt = now;
  };
  const progressTimer = setInterval(
    () =>
      process.send?.({
        line: `${Math.round((performance.now() - startedAt) / 1000)} s: ${buildLatencies.length} builds`,
      }),
    10_000,
  );
  await Promise.all(
    clients.map(async (master, i) => {
      const ask: ProtocolClient<SlaveVerbs>['request'] = async (verb, body) => {
        const askedAt = performance.now();
        const answer = await master.request(verb, body);
        answerLatencies.push(performance.now() - askedAt);
        noteAnswer();
        return answer;
      };
      while (performance.now() < end) {
        const order = await ask('IDLE', { stats: STATS });
        if (order.verb !== 'BUILD') {
          await new Promise((resolve) => setTimeout(resolve, 100));
          continue;
        }
        const builtAt = performance.now();
        const wheel = member && storedWheel(order.package, order.version, member);
        let answer: SlaveAnswer = await ask('BUILT', {
          lease: order.lease,
          status: wheel !== undefined,
          failure_class: wheel ? null : 'compiler',
          duration_s: 1.5,
          output: LOG,
          details: NO_DETAILS,
          files: wheel ? [fileToMessage(wheel.file)] : [],
        });
        while (answer.verb === 'SEND' && wheel) {
          const { bytes, file } = wheel;
          await sendFile({
            bus: busOf(i),
            clock: systemClock,
            user: 'slave',
            session: `s${i}`,
            file,
            transferId: answer.transfer_id,
            read: (offset, length) => [bytes.subarray(offset, offset + length)],
          });
          answer = await ask('SENT', { lease: order.lease, filename: file.filename });
        }
        if (answer.verb !== 'DONE')
          throw new PiwError('PIW_REFUSED', `the answer to BUILT was ${answer.verb}`);
        const now = performance.now();
        buildLatencies.push(now - builtAt);
        const second = Math.floor((now - startedAt) / 1000);
        buildsPerSecond[second] = (buildsPerSecond[second] ?? 0) + 1;
        if (restMs > 0) await new Promise((resolve) => setTimeout(resolve, restMs));
      }
    }),
  );
  clearInterval(progressTimer);
  const elapsedS = (performance.now() - startedAt) / 1000;
  await Promise.all(clients.map((master) => master.request('BYE', {})));
  await Promise.all(buses.map((bus) => bus.drain()));
  return {
    buildsDone: buildLatencies.length,
    seconds: elapsedS,
    p50: quantile(buildLatencies, 0.5),
    p99: quantile(buildLatencies, 0.99),
    answers: answerLatencies.length,
    answerP99: quantile(answerLatencies, 0.99),
    longestFreeze,
    // Without the first second and the last one, which are incomplete. A second without builds has no element.
    slowestSecond: Math.min(
      ...Array.from({ length: Math.floor(seconds) - 1 }, (_, i) => buildsPerSecond[i + 1] ?? 0),
    ),
  };
}

async function hello(master: ProtocolClient<typeof slaveDriver.verbs>, number: number): Promise<void> {
  const answer = await master.request('HELLO', {
    version: `${VERSION}/${SLAVE_PROTOCOL_VERSION}`,
    build_timeout_s: 3600,
    busy_interval_s: 30,
    py_version_tag: 'cp311',
    abi_tag: 'cp311',
    platform_tag: 'linux_x86_64',
    label: `simulated ${number}`,
    os_name: 'none',
    os_version: '',
    board: null,
    lacks: [],
    clock: Date.now(),
  });
  if (answer.verb !== 'HELLO') throw new PiwError('PIW_REFUSED', answer.reason);
}

const report = await main(JSON.parse(process.argv[2] ?? '{}') as Parameters<typeof main>[0]);
process.send?.(report);
process.disconnect();
