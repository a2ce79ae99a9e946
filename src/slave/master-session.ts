import { randomBytes } from 'node:crypto';
import { ProtocolClient } from '../actor/client.js';
import type { Bus } from '../bus/bus.js';
import { backOffMs } from '../concurrency/back-off.js';
import type { Clock } from '../concurrency/clock.js';
import { retry } from '../concurrency/retry.js';
import { withWaitingReports } from '../concurrency/waiting-reports.js';
import { PiwError } from '../errors.js';
import type { Log } from '../log.js';
import type { Answer, Body } from '../protocols/protocol.js';
import { slaveDriver, type SlaveHello, type SlaveVerbs } from '../protocols/slave-driver.js';
import { reportNotStored } from '../transfer/send-file.js';
import type { OnProgress } from './progress.js';

interface MasterSessionOptions {
  readonly bus: Bus;
  readonly log: Log;
  readonly clock: Clock;
  /** The NATS user, which is also a token of its subjects. */
  readonly user: string;
  /** The slave's description of itself; `clock` is filled in when it is sent. */
  readonly hello: Omit<SlaveHello, 'clock'>;
  /** Aborted when the slave stops. */
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

/** The time limit of a request, milliseconds. */
const REQUEST_LIMIT_MS = 20_000;
/**
 * The time limit of one attempt of a request of at most SMALL_BYTES, milliseconds. A slave of a leaf node is not told
 * that the leaf has lost its hub, and with it what was on its way. A larger request may take longer on a slow link.
 */
export const SMALL_ATTEMPT_LIMIT_MS = 5000;
const SMALL_BYTES = 64 * 1024;
const RETRY_BACK_OFF = { firstMs: 1000, maxMs: 5000 };
/** Errors that a retry of the same message would only repeat. */
const PERMANENT_ERRORS: ReadonlySet<string> = new Set([
  'PIW_UNKNOWN_TRANSFER',
  'PIW_MESSAGE_INVALID',
  'PIW_TOO_LARGE',
  'PIW_PROTOCOL_VERSION',
]);

/**
 * A slave's session with the master, from HELLO to BYE. While the master is down, it repeats a request until it is
 * answered. A restarted master doesn't know the session (PIW_UNKNOWN_SLAVE): then it says HELLO and repeats the
 * request.
 */
export class MasterSession {
  readonly id = randomBytes(8).toString('hex');
  readonly #options: MasterSessionOptions;
  readonly #tokens: readonly string[];
  readonly #master: ProtocolClient<SlaveVerbs>;
  #slaveId = 0;
  #log: Log;
  /** HELLO was sent, though perhaps not answered: the master may know this session. */
  #saidHello = false;
  #indexUrls: { url: string; extra: string | null } = { url: '', extra: null };

  constructor(options: MasterSessionOptions) {
    const { bus, log, user, signal } = options;
    this.#options = options;
    this.#log = log;
    this.#tokens = [slaveDriver.name, user, this.id];
    this.#master = new ProtocolClient(bus, slaveDriver, this.#tokens, {
      timeoutMs: REQUEST_LIMIT_MS,
      patienceMs: REQUEST_LIMIT_MS,
      signal,
    });
  }

  /** Once the slave is registered, each line has its number. */
  get log(): Log {
    return this.#log;
  }

  /** The indexes to build from, as the master's last answer to HELLO names them. */
  get indexUrls(): { readonly url: string; readonly extra: string | null } {
    return this.#indexUrls;
  }

  /** Registers the slave with the master. Throws PIW_PROTOCOL_VERSION if it is refused. */
  async hello(signal: AbortSignal = this.#options.signal): Promise<void> {
    const hello = { ...this.#options.hello, clock: this.#options.clock.now() };
    this.#saidHello = true;
    const answer = await this.request('HELLO', hello, signal);
    if (answer.verb === 'BYE')
      throw new PiwError('PIW_PROTOCOL_VERSION', `the master refused this slave: ${answer.reason}`);
    if (answer.slave_id !== this.#slaveId) {
      this.#slaveId = answer.slave_id;
      this.#log = this.#options.log.with({ slave: answer.slave_id });
      this.#log.info('registered with the master');
      this.#options.onProgress({ state: 'hello', slaveId: answer.slave_id });
    }
    this.#indexUrls = { url: answer.index_url, extra: answer.extra_index_url };
  }

  /** Repeats a request until it is answered or `signal` is aborted. Throws errors that a retry can't fix. */
  async request<K extends keyof SlaveVerbs>(
    verb: K,
    body: Body<SlaveVerbs, K>,
    signal: AbortSignal = this.#options.signal,
  ): Promise<Answer<SlaveVerbs, K>> {
    const { bus, clock, user, onProgress } = this.#options;
    const send = () => this.requestOnce(verb, body, signal);
    const repair = async (error: unknown, failures: number): Promise<number> => {
      if (!(error instanceof PiwError) || PERMANENT_ERRORS.has(error.code)) throw error;
      if (error.code === 'PIW_UNKNOWN_SLAVE' && verb !== 'HELLO') {
        await this.hello();
        return 0;
      }
      this.#log.warning('request failed, retrying', { verb }, error);
      onProgress({ state: 'trouble', text: error.message, code: error.code });
      if (error.code === 'PIW_NATS_STORAGE') await reportNotStored({ bus, user, session: this.id });
      return backOffMs(RETRY_BACK_OFF, failures);
    };
    return await retry(
      verb === 'HELLO' ? () => withWaitingReports(this.#reportWaiting, send) : send,
      repair,
      { clock, signal },
    );
  }

  /** Sends a request without repeating it. */
  async requestOnce<K extends keyof SlaveVerbs>(
    verb: K,
    body: Body<SlaveVerbs, K>,
    signal: AbortSignal,
  ): Promise<Answer<SlaveVerbs, K>> {
    const isSmall = JSON.stringify(body).length <= SMALL_BYTES;
    const timeoutMs = isSmall ? SMALL_ATTEMPT_LIMIT_MS : REQUEST_LIMIT_MS;
    return await this.#master.request(verb, body, { timeoutMs, signal });
  }

  /** Ends the session, also after the signal was aborted. The master may be down; its leases expire by themselves. */
  async bye(): Promise<void> {
    if (!this.#saidHello) return;
    const byeClient = new ProtocolClient(this.#options.bus, slaveDriver, this.#tokens, { timeoutMs: 3000 });
    await byeClient.request('BYE', {}).catch((error: unknown) => {
      this.#log.debug('request failed', { verb: 'BYE' }, error);
    });
  }

  readonly #reportWaiting = (): void => {
    this.#log.info('waiting for the master: no Slave Driver is running yet');
  };
}
