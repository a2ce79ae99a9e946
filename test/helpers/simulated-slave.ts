import { Client } from '../../src/actor/client.js';
import { systemClock } from '../../src/actor/clock.js';
import { sendFile } from '../../src/actor/send-file.js';
import type { Bus } from '../../src/bus/bus.js';
import { PiwError } from '../../src/errors.js';
import {
  slaveDriver,
  type SlaveAnswer,
  type SlaveHello,
  type SlaveVerbs,
} from '../../src/protocols/slave-driver.js';
import { NO_DETAILS } from '../../src/states/build-details.js';
import { fileToMessage } from '../../src/states/file-state.js';
import { helloOf } from './master.js';
import { STATS } from './session.js';
import { wheelOf } from './stored-wheel.js';

const MEMBER = Buffer.from('print(1)\n');

/** A build that was given to a simulated slave. */
export interface Order {
  readonly package: string;
  readonly version: string;
}

/** A slave that says what slaves say, and builds nothing: whether a build works is up to the test. */
export class SimulatedSlave {
  readonly #bus: Bus;
  readonly #session: string;
  readonly #hello: Omit<SlaveHello, 'clock'>;
  readonly #master: Client<SlaveVerbs>;
  slaveId = 0;
  /** What it was given so far. */
  readonly orders: Order[] = [];

  constructor(bus: Bus, session: string, more: Partial<SlaveHello> = {}) {
    this.#bus = bus;
    this.#session = session;
    this.#hello = { ...helloOf(session), ...more };
    const patient = { timeoutMs: 20_000, patienceMs: 60_000 };
    this.#master = new Client(bus, slaveDriver, [slaveDriver.name, 'slave', session], patient);
  }

  async hello(): Promise<void> {
    const answer = await this.#master.ask('HELLO', { ...this.#hello, clock: Date.now() });
    if (answer.verb !== 'HELLO') throw new PiwError('PIW_REFUSED', answer.reason);
    this.slaveId = answer.slave_id;
  }

  async bye(): Promise<void> {
    await this.#master.ask('BYE', {});
  }

  /**
   * Asks for work once, and hands in how it ended: a wheel, or a failure of that class (null: a wheel). What it was
   * given, or undefined where it was told to sleep.
   */
  async step(outcome: (order: Order) => string | null): Promise<Order | undefined> {
    const order = await this.#ask('IDLE', { stats: STATS });
    if (order.verb !== 'BUILD') return undefined;
    this.orders.push(order);
    const { lease } = order;
    const failure = outcome(order);
    const wheel = failure === null ? wheelOf(order.package, order.version, MEMBER) : undefined;
    let answer: SlaveAnswer = await this.#ask('BUILT', {
      ...{ lease, status: failure === null, failure_class: failure, duration_s: 0.01, output: 'log' },
      details: { ...NO_DETAILS, reason: failure === null ? null : 'it does not compile' },
      files: wheel ? [fileToMessage(wheel.file)] : [],
    });
    while (answer.verb === 'SEND' && wheel) {
      const { bytes, file } = wheel;
      await sendFile({
        ...{ bus: this.#bus, clock: systemClock, user: 'slave', session: this.#session, file },
        transferId: answer.transfer_id,
        read: (offset, length) => [bytes.subarray(offset, offset + length)],
      });
      answer = await this.#ask('SENT', { lease, filename: file.filename });
    }
    if (answer.verb !== 'DONE') throw new PiwError('PIW_REFUSED', `BUILT was answered ${answer.verb}`);
    return order;
  }

  /** Says HELLO again to a Slave Driver that began anew. */
  async #ask(verb: 'IDLE' | 'BUILT' | 'SENT', body: unknown): Promise<SlaveAnswer> {
    try {
      return await this.#master.ask(verb, body as never);
    } catch (error) {
      if (!(error instanceof PiwError) || error.code !== 'PIW_UNKNOWN_SLAVE') throw error;
      await this.hello();
      return await this.#master.ask(verb, body as never);
    }
  }
}
