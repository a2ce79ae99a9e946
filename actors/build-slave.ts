import { randomBytes } from 'node:crypto';
import { Client } from '../src/actor/client.js';
import type { Clock } from '../src/actor/clock.js';
import { readerOf, reportUnstored, sendFile } from '../src/actor/send-file.js';
import type { Builder, BuildResult, BuiltFile } from '../src/builder/build.js';
import { machineStats } from '../src/builder/machine.js';
import { watchDisk } from '../src/builder/work-folder.js';
import type { Bus } from '../src/bus/bus.js';
import { whileWaiting } from '../src/bus/waiting.js';
import { PiwError, reason } from '../src/errors.js';
import type { Log } from '../src/log.js';
import type { Answer, Body } from '../src/protocols/protocol.js';
import {
  slaveDriver,
  wake,
  type BuildOrder,
  type SlaveAnswer,
  type SlaveHello,
  type SlaveVerbs,
} from '../src/protocols/slave-driver.js';
import { fileToMessage } from '../src/states/file-state.js';
import { unfit, type Thresholds, type Unfit } from '../src/states/fitness.js';

export interface SlaveOptions {
  readonly bus: Bus;
  readonly log: Log;
  readonly clock: Clock;
  readonly builder: Builder;
  /** The NATS user: the token of its subjects. */
  readonly user: string;
  /** What it says of itself; `clock` is filled in when it is said. */
  readonly hello: Omit<SlaveHello, 'clock'>;
  readonly workDir: string;
  /** What this machine must have left to ask for work. */
  readonly thresholds: Thresholds;
  /** End after the first build. */
  readonly once?: boolean;
  /** What it is doing, for whoever started it. */
  readonly onProgress?: (progress: SlaveProgress) => void;
}

export type SlaveProgress =
  | { readonly state: 'hello'; readonly slaveId: number }
  | { readonly state: 'building'; readonly package: string; readonly version: string; readonly line: string }
  | { readonly state: 'sending'; readonly filename: string; readonly sent: number; readonly size: number }
  | { readonly state: 'trouble'; readonly text: string; readonly code: string }
  | { readonly state: 'resting'; readonly of: Unfit['of']; readonly text: string }
  | { readonly state: 'idle' };

/** How long to wait before something that failed is tried again: 1 s, doubled up to 5 s. */
const backOff = (tries: number): number => Math.min(1000 * 2 ** tries, 5000);
/** Longest pause between two questions whether the master can take files, seconds. */
const MAX_WAIT_S = 10;

/**
 * A build slave. It asks, and does what it is told:
 *
 *   HELLO --HELLO--> IDLE --BUILD--> building --BUILT--> --SEND--> sending --SENT--> --DONE--> IDLE
 *                     |  --SLEEP--> wait, at most as long as it says; WAKE ends it --> IDLE
 *                    REST in place of IDLE while this machine can't do any work, as while its disk is full
 *   building, sending: BUSY at intervals, and when it is woken; CONT: go on; DONE: stop, it isn't wanted any more
 *   BUILT, SENT: WAIT while the master's disk is full or fails; say the same again until it is well
 *   BYE, as an answer to anything, or a signal: kill the build, wipe its folder, say BYE, end
 *
 * While the master is away it builds on, and repeats what it has to say until it is answered. A
 * master that began anew doesn't know this session (PIW_UNKNOWN_SLAVE): HELLO, and the same again;
 * or doesn't know what it was sent (PIW_UNKNOWN_TRANSFER): BUILT again, and only what is missing of
 * its files is sent. The files stay until DONE.
 *
 * A build that ran out of disk goes back to the queue, and the slave rests until there is more room. Only if the same
 * build fails so again after that does it need more than this disk has: then its failure is handed in.
 */
export class BuildSlave {
  readonly #options: SlaveOptions;
  readonly #session = randomBytes(8).toString('hex');
  readonly #master: Client<SlaveVerbs>;
  readonly #stop = new AbortController();
  /** The transfers of this build that came to their end: one that is asked for again was found wrong. */
  readonly #sent = new Set<string>();
  #slaveId = 0;
  /** HELLO was said, if not answered: the master may know this session. */
  #introduced = false;
  #index: { url: string; extra: string | null } = { url: '', extra: null };
  #woken: () => void = () => undefined;
  /** How often it was woken. */
  #wakes = 0;
  /** Why this machine could do no work when it was looked at last. */
  #unfit: Unfit['of'] | undefined;
  readonly #disk: ReturnType<typeof watchDisk>;
  /** Builds that ran out of disk once. */
  readonly #ranOut = new Set<string>();

  constructor(options: SlaveOptions) {
    this.#options = options;
    const tokens = [slaveDriver.name, options.user, this.#session];
    const signal = this.#stop.signal;
    this.#disk = watchDisk(options.workDir, ({ text, code }) => {
      this.#progress({ state: 'trouble', text, code });
    });
    this.#master = new Client(options.bus, slaveDriver, tokens, {
      ...{ timeoutMs: 20_000, patienceMs: 20_000, signal },
    });
  }

  /** Works until it is told BYE or `signal` is aborted. Raises PIW_PROTOCOL_VERSION if it is refused. */
  async run(signal: AbortSignal): Promise<void> {
    const stop = () => {
      this.#stop.abort();
    };
    if (signal.aborted) return;
    signal.addEventListener('abort', stop, { once: true });
    const { bus, user } = this.#options;
    const wakes = bus.subscribe(bus.subject(wake.name, user, this.#session, '*'));
    const listening = this.#listen(wakes);
    try {
      if (await this.#hello()) await this.#work();
    } catch (error) {
      // What was given up because of the signal is no fault.
      if (!this.#stopping) throw error;
    } finally {
      signal.removeEventListener('abort', stop);
      await this.#options.builder.clean();
      await this.#bye();
      await wakes.stop();
      await listening;
    }
  }

  /** A method's answer, which the compiler would otherwise believe to stay the same. */
  get #stopping(): boolean {
    return this.#stop.signal.aborted;
  }

  async #listen(wakes: AsyncIterable<unknown>): Promise<void> {
    const read = wakes[Symbol.asyncIterator]();
    while (!(await read.next()).done) {
      this.#wakes += 1;
      this.#woken();
    }
  }

  async #hello(signal: AbortSignal = this.#stop.signal): Promise<boolean> {
    const hello = { ...this.#options.hello, clock: this.#options.clock.now() };
    this.#introduced = true;
    const answer = await this.#say('HELLO', hello, signal);
    if (answer.verb === 'BYE')
      throw new PiwError('PIW_PROTOCOL_VERSION', `the master said: ${answer.reason}`);
    if (answer.slave_id !== this.#slaveId) {
      this.#slaveId = answer.slave_id;
      this.#options.log.info(`this is slave ${String(answer.slave_id)}`);
      this.#progress({ state: 'hello', slaveId: answer.slave_id });
    }
    this.#index = { url: answer.index_url, extra: answer.extra_index_url };
    return true;
  }

  async #work(): Promise<void> {
    while (!this.#stopping) {
      const wakes = this.#wakes;
      const answer = await this.#ask();
      if (answer.verb === 'BYE') {
        this.#options.log.info(`the master said BYE: ${answer.reason}`);
        return;
      }
      if (answer.verb === 'SLEEP')
        await this.#pause(Math.min(Math.max(answer.seconds, 0.1), 3600) * 1000, wakes, this.#stop.signal);
      else {
        if (!(await this.#build(answer))) return;
        if (this.#options.once) return;
      }
    }
  }

  /** Asks for work, or says why it can't do any. */
  async #ask(): Promise<Answer<SlaveVerbs, 'IDLE'> | Answer<SlaveVerbs, 'REST'>> {
    const { workDir, thresholds, log } = this.#options;
    const stats = await machineStats(workDir);
    await this.#disk.probe();
    const { trouble } = this.#disk;
    const why: Unfit | undefined = trouble ? { of: 'disk', text: trouble.text } : unfit(stats, thresholds);
    if (why && why.of !== this.#unfit) log.warning(`no work for now: ${why.text}`);
    if (!why && this.#unfit !== undefined) log.info('ready to work again');
    this.#unfit = why?.of;
    this.#progress(why ? { state: 'resting', ...why } : { state: 'idle' });
    return why ? await this.#say('REST', { reason: why.text, stats }) : await this.#say('IDLE', { stats });
  }

  /** Until so many milliseconds are over, it is woken (also before, but since `wakes`), or `signal` is aborted. */
  async #pause(ms: number, wakes: number, signal: AbortSignal): Promise<void> {
    if (this.#wakes !== wakes) return;
    const woken = new AbortController();
    this.#woken = () => {
      woken.abort();
    };
    await wait(this.#options.clock, ms, AbortSignal.any([woken.signal, signal]));
    this.#woken = () => undefined;
  }

  /** One build from BUILD to DONE; false when the master said BYE. */
  async #build(order: BuildOrder): Promise<boolean> {
    const { builder, log } = this.#options;
    const { lease, package: name, version } = order;
    log.info(`building ${name} ${version}`);
    const over = new AbortController();
    const signal = AbortSignal.any([over.signal, this.#stop.signal]);
    const told = this.#busy(lease, over);
    // What went wrong there ends the build, and is raised below.
    told.catch(() => {
      over.abort();
    });
    let goesOn = true;
    try {
      const result = await builder.build({
        package: name,
        version,
        indexUrl: this.#index.url,
        extraIndexUrl: this.#index.extra,
        sdistSha256: order.sdist_sha256,
        timeoutMs: Math.min(order.limits[0], this.#options.hello.build_timeout_s) * 1000,
        signal,
        onLine: (line) => {
          this.#progress({ state: 'building', package: name, version, line });
        },
      });
      if (!aborted(signal)) {
        log.info(
          `${name} ${version} ${result.status ? 'was built' : `failed (${String(result.failureClass)})`} in ${result.durationS.toFixed(1)} s`,
        );
        if (!this.#ranOutOfDisk(order, result)) goesOn = await this.#handIn(lease, result, signal);
      }
    } catch (error) {
      // What the master doesn't want any more is broken off wherever it was.
      const broken = aborted(signal) && isGivenUp(error);
      this.#disk.failed(error);
      if (!broken && !this.#disk.trouble) throw error;
    } finally {
      over.abort();
      await builder.clean();
    }
    if (this.#stopping) return false;
    const last = await told;
    if (last !== undefined) log.info(`${name} ${version} was given up: the master said so`);
    return goesOn && last !== 'BYE';
  }

  /**
   * Whether a build ran out of disk for the first time. That says nothing of its package yet: whatever else is on this
   * disk may have taken the room. So it goes back to the queue with the slave's next REST or IDLE.
   */
  #ranOutOfDisk(order: BuildOrder, { failureClass }: BuildResult): boolean {
    const build = `${order.package} ${order.version}`;
    if (failureClass !== 'disk') {
      this.#ranOut.delete(build);
      return false;
    }
    if (this.#ranOut.delete(build)) return false;
    this.#ranOut.add(build);
    const { workDir, log } = this.#options;
    log.warning(`${build} goes back to the queue: there was no room for its build in ${workDir}`);
    this.#disk.failed(new PiwError('PIW_DISK_FULL', `the disk that holds ${workDir} is full`));
    return true;
  }

  /**
   * Says BUSY at intervals, and when it is woken, until it is over. What the master said if it wants the build
   * no more: then it is over, too.
   */
  async #busy(lease: number, over: AbortController): Promise<'DONE' | 'BYE' | undefined> {
    const { hello, log, workDir } = this.#options;
    const either = AbortSignal.any([over.signal, this.#stop.signal]);
    for (let wakes = this.#wakes; ;) {
      await this.#pause(Math.max(hello.busy_interval_s, 1) * 1000, wakes, either);
      if (aborted(either)) return undefined;
      wakes = this.#wakes;
      try {
        const stats = await machineStats(workDir);
        const answer = await this.#master.ask('BUSY', { lease, stats }, { signal: either });
        if (aborted(either)) return undefined;
        if (answer.verb === 'CONT') continue;
        over.abort();
        return answer.verb;
      } catch (error) {
        // It builds on; BUILT is repeated until the master is back.
        if (!(error instanceof PiwError)) throw error;
        log.debug(`BUSY: ${error.message}`);
        if (error.code !== 'PIW_UNKNOWN_SLAVE' || aborted(either)) continue;
        await this.#hello(either).catch((refused: unknown) => {
          // It may be over by now: then nobody waits for the answer.
          if (!aborted(either)) throw refused;
        });
      }
    }
  }

  async #handIn(lease: number, result: BuildResult, signal: AbortSignal): Promise<boolean> {
    const built: Body<SlaveVerbs, 'BUILT'> = {
      lease,
      status: result.status,
      failure_class: result.failureClass,
      duration_s: result.durationS,
      output: result.output,
      details: result.details,
      files: result.files.map((file) => fileToMessage(file)),
    };
    this.#sent.clear();
    const sayBuilt = () => this.#say('BUILT', built, signal);
    const saySent = async (filename: string): Promise<SlaveAnswer> => {
      try {
        return await this.#say('SENT', { lease, filename }, signal);
      } catch (error) {
        if (!(error instanceof PiwError) || error.code !== 'PIW_UNKNOWN_TRANSFER') throw error;
        return await sayBuilt();
      }
    };
    let repeat: () => Promise<SlaveAnswer> = sayBuilt;
    let waiting: string | undefined;
    for (;;) {
      const answer: SlaveAnswer = await repeat();
      if (answer.verb === 'WAIT') {
        this.#waits(answer.reason, waiting);
        waiting = answer.reason;
        await wait(this.#options.clock, Math.min(answer.seconds, MAX_WAIT_S) * 1000, signal);
        continue;
      }
      if (waiting !== undefined) this.#options.log.info('the master takes files again');
      waiting = undefined;
      if (answer.verb !== 'SEND') return answer.verb !== 'BYE';
      const { filename, transfer_id } = answer;
      const file = result.files.find((one) => one.filename === filename);
      if (!file) throw new Error(`the master asked for ${filename}, which was not built`);
      if (!(await this.#transfer(file, transfer_id, signal))) return true;
      repeat = () => saySent(filename);
    }
  }

  /** Tells once why the master can't take the files. The master renews the lease meanwhile, and ends the wait. */
  #waits(why: string, before: string | undefined): void {
    if (why === before) return;
    this.#options.log.warning(`waiting with what was built, for the master: ${why}`);
    this.#progress({ state: 'trouble', text: `waiting for the master: ${why}`, code: 'PIW_REFUSED' });
  }

  /**
   * Sends one file to the File Juggler; false when it was given up, so that the build goes back to the
   * queue with the next IDLE.
   */
  async #transfer(file: BuiltFile, id: string, signal: AbortSignal): Promise<boolean> {
    const { bus, clock, log, user } = this.#options;
    let sent = 0;
    const trouble = (error: PiwError) => {
      log.warning(`sending ${file.filename}: ${error.message}`);
      this.#progress({ state: 'trouble', text: error.message, code: error.code });
    };
    try {
      await sendFile({
        ...{ bus, clock, user, session: this.#session, transferId: id, file, signal },
        read: readerOf(file.path),
        doubtful: this.#sent.has(id),
        onSent: (bytes) => {
          sent = Math.min(sent + bytes, file.filesize);
          this.#progress({ state: 'sending', filename: file.filename, sent, size: file.filesize });
        },
        onTrouble: trouble,
      });
      this.#sent.add(id);
      return true;
    } catch (error) {
      if (aborted(signal) || !(error instanceof PiwError)) throw error;
      trouble(error);
      if (error.code === 'PIW_UNKNOWN_TRANSFER') return true;
      log.error(`${file.filename} was given up; its build goes back to the queue`);
      return false;
    }
  }

  /**
   * Says it until it is answered, or `signal` is aborted. What the master doesn't want to hear for other reasons
   * is raised.
   */
  async #say<K extends keyof SlaveVerbs>(
    verb: K,
    body: Body<SlaveVerbs, K>,
    signal: AbortSignal = this.#stop.signal,
  ): Promise<Answer<SlaveVerbs, K>> {
    for (let tries = 0; ; tries += 1) {
      try {
        const ask = () => this.#master.ask(verb, body, { signal });
        return await (verb === 'HELLO' ? whileWaiting(this.#reportWaiting, ask) : ask());
      } catch (error) {
        if (aborted(signal) || !(error instanceof PiwError) || FINAL.has(error.code)) throw error;
        if (error.code === 'PIW_UNKNOWN_SLAVE' && verb !== 'HELLO') {
          await this.#hello();
          continue;
        }
        this.#options.log.warning(`${verb} is said again: ${error.message}`);
        this.#progress({ state: 'trouble', text: error.message, code: error.code });
        if (error.code === 'PIW_NATS_STORAGE') {
          // It is the bucket of large messages, too.
          const { bus, user } = this.#options;
          await reportUnstored({ bus, user, session: this.#session });
        }
        await wait(this.#options.clock, backOff(tries), signal);
      }
    }
  }

  readonly #reportWaiting = (): void => {
    this.#options.log.info('waiting for the master to answer: nobody there serves slaves yet');
  };

  async #bye(): Promise<void> {
    if (!this.#introduced) return;
    // The master may be away; its leases run out by themselves.
    const tokens = [slaveDriver.name, this.#options.user, this.#session];
    const farewell = new Client(this.#options.bus, slaveDriver, tokens, { timeoutMs: 3000 });
    await farewell.ask('BYE', {}).catch((error: unknown) => {
      this.#options.log.debug(`BYE: ${reason(error)}`);
    });
  }

  #progress(progress: SlaveProgress): void {
    this.#options.onProgress?.(progress);
  }
}

/** Errors that the same message would only bring about again. */
const FINAL: ReadonlySet<string> = new Set([
  'PIW_UNKNOWN_TRANSFER',
  'PIW_MESSAGE_INVALID',
  'PIW_TOO_LARGE',
  'PIW_PROTOCOL_VERSION',
]);

/** Whether this is how something ends that was broken off, and no fault of the program. */
const isGivenUp = (error: unknown): boolean =>
  error instanceof PiwError || (error instanceof Error && error.name === 'AbortError');

/** Asked anew each time: an abort comes while something else is waited for. */
const aborted = (signal: AbortSignal): boolean => signal.aborted;

async function wait(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const over = () => {
      cancel();
      signal.removeEventListener('abort', over);
      resolve();
    };
    const cancel = clock.after(ms, over);
    signal.addEventListener('abort', over);
  });
}
