import { readFile, stat } from 'node:fs/promises';
import { ProtocolClient } from '../../src/actor/client.js';
import type { Bus } from '../../src/bus/bus.js';
import { PiwError } from '../../src/errors.js';
import type { MachineStats } from '../../src/model/fields.js';
import { userBucketName, transferObjectName, transfer } from '../../src/protocols/file-juggler.js';
import type { Answer } from '../../src/protocols/protocol.js';
import { slaveDriver, type SlaveAnswer, type SlaveVerbs } from '../../src/protocols/slave-driver.js';
import { NO_DETAILS } from '../../src/model/build-details.js';
import { fileToMessage, type FileState } from '../../src/model/file-state.js';
import { slaveHello } from './master.js';
import { fileStateOf } from './wheel.js';

export const STATS: MachineStats = [100e9, 50e9, 8e9, 4e9, 1.5, null];
/** The lease number of a session without a build. */
const NO_LEASE = 999_999;

/** One session of a slave that has built one wheel; the test sends its messages one by one. */
export class ScriptedSession {
  readonly #slaveDriver: ProtocolClient<SlaveVerbs>;
  readonly #transferClient: ProtocolClient<typeof transfer.verbs>;
  readonly #bus: Bus;
  readonly #path: string;
  readonly #overrides: Partial<FileState>;
  #segments = 0;
  #transferId = 'none';
  lease = NO_LEASE;

  /** `overrides`: what it announces about the wheel instead of the truth. */
  constructor(bus: Bus, name: string, path: string, overrides: Partial<FileState> = {}) {
    const tokens = [slaveDriver.name, 'slave', name];
    const clientOptions = { timeoutMs: 5000, patienceMs: 20_000 };
    this.#bus = bus;
    this.#slaveDriver = new ProtocolClient(bus, slaveDriver, tokens, clientOptions);
    this.#transferClient = new ProtocolClient(bus, transfer, [...tokens, transfer.name], clientOptions);
    this.#path = path;
    this.#overrides = overrides;
  }

  /** Sends a message; returns the verb of the answer, or the code of the error. */
  async request(verb: keyof SlaveVerbs): Promise<string> {
    try {
      const answer = (await this.#slaveDriver.request(
        verb,
        (await this.#body(verb)) as never,
      )) as SlaveAnswer;
      if (answer.verb === 'BUILD') this.lease = answer.lease;
      if (answer.verb === 'SEND') this.#transferId = answer.transfer_id;
      return answer.verb;
    } catch (error) {
      if (error instanceof PiwError) return error.code;
      throw error;
    }
  }

  /** Sends the transfer's HELLO; the answer says which range of the wheel is still missing. */
  async transferHello(): Promise<Answer<typeof transfer.verbs, 'HELLO'>> {
    return await this.#transferClient.request('HELLO', { transfer_id: this.#transferId });
  }

  /** Stores these bytes of the wheel, by default all of them, and announces them with CHUNK. */
  async send(offset = 0, length = Infinity): Promise<void> {
    const bytes = (await readFile(this.#path)).subarray(offset, offset + length);
    await this.transferHello();
    this.#segments += 1;
    const { size } = await stat(this.#path);
    const object = transferObjectName(this.#transferId, size, () => `p${this.#segments}`);
    const bucket = userBucketName(this.#bus.prefix, 'slave');
    const publisher = this.#bus.objects.publisher(bucket, object, offset);
    publisher.write(bytes);
    publisher.end();
    await this.#transferClient.request('CHUNK', { offset, length: bytes.length });
  }

  async #body(verb: keyof SlaveVerbs): Promise<unknown> {
    const { lease } = this;
    const file = async () => ({ ...(await fileStateOf(this.#path)), ...this.#overrides });
    switch (verb) {
      case 'HELLO':
        return { ...slaveHello(), clock: Date.now() };
      case 'IDLE':
        return { stats: STATS };
      case 'REST':
        return { reason: 'no disk', stats: STATS };
      case 'BUSY':
        return { lease, stats: STATS };
      case 'BUILT': {
        const files = [fileToMessage(await file())];
        return {
          lease,
          status: true,
          failure_class: null,
          duration_s: 1,
          output: 'log',
          details: NO_DETAILS,
          files,
        };
      }
      case 'SENT':
        return { lease, filename: (await file()).filename };
      case 'OUTPUT':
        return { lease, first: 0, lines: ['a line'] };
      case 'BYE':
        return {};
    }
  }
}
