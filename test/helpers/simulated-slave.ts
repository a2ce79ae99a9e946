import { ProtocolClient } from '../../src/actor/client.js';
import { systemClock } from '../../src/concurrency/clock.js';
import { sendFile } from '../../src/transfer/send-file.js';
import type { Bus } from '../../src/bus/bus.js';
import { CHUNK_SIZE } from '../../src/bus/chunk.js';
import { PiwError, hasCode } from '../../src/errors.js';
import {
  slaveDriver,
  type SlaveAnswer,
  type SlaveHello,
  type SlaveVerbs,
} from '../../src/protocols/slave-driver.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { fileToMessage } from '../../src/model/file-state.js';
import { slaveHello } from './master.js';
import { STATS } from './session.js';
import { storedWheel } from './stored-wheel.js';

const MEMBER_BYTES = Buffer.from('print(1)\n');

/** Yields copies of parts of the bytes that fit into a message: the sender reuses their memory. */
function* chunksOf(bytes: Buffer): Iterable<Buffer> {
  for (let start = 0; start < bytes.length; start += CHUNK_SIZE)
    yield Buffer.from(bytes.subarray(start, start + CHUNK_SIZE));
}

/** A build that was given to a simulated slave. */
export interface SimulatedBuild {
  readonly package: string;
  readonly version: string;
}

/** A slave that sends a slave's messages, but builds nothing: the test decides whether a build succeeds. */
export class SimulatedSlave {
  readonly #bus: Bus;
  readonly #session: string;
  readonly #hello: Omit<SlaveHello, 'clock'>;
  readonly #slaveDriver: ProtocolClient<SlaveVerbs>;
  slaveId = 0;
  /** The builds that it was given so far. */
  readonly orders: SimulatedBuild[] = [];

  /** `timeoutMs` is the time limit of one attempt of a request. */
  constructor(bus: Bus, session: string, overrides: Partial<SlaveHello> = {}, timeoutMs = 20_000) {
    this.#bus = bus;
    this.#session = session;
    this.#hello = { ...slaveHello(session), ...overrides };
    const clientOptions = { timeoutMs, patienceMs: 60_000 };
    this.#slaveDriver = new ProtocolClient(
      bus,
      slaveDriver,
      [slaveDriver.name, 'slave', session],
      clientOptions,
    );
  }

  async hello(): Promise<void> {
    const answer = await this.#slaveDriver.request('HELLO', { ...this.#hello, clock: Date.now() });
    if (answer.verb !== 'HELLO') throw new PiwError('PIW_REFUSED', answer.reason);
    this.slaveId = answer.slave_id;
  }

  async bye(): Promise<void> {
    await this.#slaveDriver.request('BYE', {});
  }

  /**
   * Requests work once, and reports its result: a failure of the class that `failureOf` returns, or a wheel if that
   * is null, with a member of these bytes. Returns the build that it was given; undefined if it was told to sleep.
   */
  async workOnce(
    failureOf: (order: SimulatedBuild) => string | null,
    member: Buffer = MEMBER_BYTES,
  ): Promise<SimulatedBuild | undefined> {
    const order = await this.#ask('IDLE', { stats: STATS });
    if (order.verb !== 'BUILD') return undefined;
    this.orders.push(order);
    const { lease } = order;
    const failure = failureOf(order);
    const wheel = failure === null ? storedWheel(order.package, order.version, member) : undefined;
    const built = {
      lease,
      status: failure === null,
      failure_class: failure,
      duration_s: 0.01,
      output: 'log',
      details: { ...NO_DETAILS, reason: failure === null ? null : 'it does not compile' },
      files: wheel ? [fileToMessage(wheel.file)] : [],
    };
    let answer = await this.#ask('BUILT', built);
    while (answer.verb === 'SEND' && wheel) {
      const { bytes, file } = wheel;
      await sendFile({
        bus: this.#bus,
        clock: systemClock,
        user: 'slave',
        session: this.#session,
        file,
        transferId: answer.transfer_id,
        read: (offset, length) => chunksOf(bytes.subarray(offset, offset + length)),
      });
      answer = await this.#ask('SENT', { lease, filename: file.filename }).catch((error: unknown) => {
        // The answer to an earlier SENT was lost, or the Slave Driver is a new one.
        if (hasCode(error, 'PIW_UNKNOWN_TRANSFER')) return this.#ask('BUILT', built);
        throw error;
      });
    }
    if (answer.verb !== 'DONE') throw new PiwError('PIW_REFUSED', `BUILT was answered with ${answer.verb}`);
    return order;
  }

  /** Sends a request; to a Slave Driver that has restarted, first HELLO again. */
  async #ask(verb: 'IDLE' | 'BUILT' | 'SENT', body: unknown): Promise<SlaveAnswer> {
    try {
      return await this.#slaveDriver.request(verb, body as never);
    } catch (error) {
      if (!(error instanceof PiwError) || error.code !== 'PIW_UNKNOWN_SLAVE') throw error;
      await this.hello();
      return await this.#slaveDriver.request(verb, body as never);
    }
  }
}
