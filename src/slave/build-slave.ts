import { randomBytes } from 'node:crypto';
import { ProtocolClient } from '../actor/client.js';
import { onAbort } from '../concurrency/abort.js';
import { backOffMs } from '../concurrency/back-off.js';
import type { Clock } from '../concurrency/clock.js';
import { pause } from '../concurrency/pause.js';
import { retry } from '../concurrency/retry.js';
import { fileReader } from '../transfer/file-reader.js';
import { reportNotStored, sendFile } from '../transfer/send-file.js';
import type { Builder, BuildResult, BuiltFile } from '../builder/build.js';
import { machineStats } from '../builder/machine.js';
import { watchDisk } from '../builder/work-folder.js';
import type { Bus } from '../bus/bus.js';
import { withWaitingReports } from '../concurrency/waiting-reports.js';
import { PiwError, hasCode, rethrowUnexpected } from '../errors.js';
import type { Log } from '../log.js';
import type { Answer, Body } from '../protocols/protocol.js';
import {
  slaveDriver,
  wake,
  type BuildOrder,
  type SlaveAnswer,
  type SlaveHello,
  type SlaveVerbs,
} from '../protocols/slave-driver.js';
import { fileToMessage } from '../model/file-state.js';
import {
  findShortage,
  type ResourceThresholds,
  type ResourceShortage,
} from '../builder/resource-shortage.js';

export interface SlaveOptions {
  readonly bus: Bus;
  readonly log: Log;
  readonly clock: Clock;
  readonly builder: Builder;
  /** The NATS user, which is also a token of its subjects. */
  readonly user: string;
  /** The slave's description of itself; `clock` is filled in when it is sent. */
  readonly hello: Omit<SlaveHello, 'clock'>;
  readonly workDir: string;
  /** Free resources that this machine must have to ask for work. */
  readonly thresholds: ResourceThresholds;
  /** Exit after the first build. */
  readonly once?: boolean;
  /** Reports what the slave is doing to whoever started it. */
  readonly onProgress?: (progress: SlaveProgress) => void;
}

export type SlaveProgress =
  | { readonly state: 'hello'; readonly slaveId: number }
  | { readonly state: 'building'; readonly package: string; readonly version: string; readonly line: string }
  | { readonly state: 'sending'; readonly filename: string; readonly sent: number; readonly size: number }
  | { readonly state: 'trouble'; readonly text: string; readonly code: string }
  | { readonly state: 'resting'; readonly of: ResourceShortage['of']; readonly text: string }
  | { readonly state: 'idle' };

const RETRY_BACK_OFF = { firstMs: 1000, maxMs: 5000 };
/** Maximum seconds between two requests whether the master can take files. */
const MAX_WAIT_S = 10;

/**
 * A build slave. It sends requests, and does what the answers say:
 *
 *   HELLO --HELLO--> IDLE --BUILD--> building --BUILT--> --SEND--> sending --SENT--> --DONE--> IDLE
 *                     |  --SLEEP--> wait, at most as long as the answer says, or until WAKE --> IDLE
 *                    REST instead of IDLE while this machine can't work, e.g. while its disk is full
 *   building, sending: BUSY at intervals, and on WAKE; CONT: go on; DONE: stop, the build is no longer wanted
 *   BUILT, SENT: WAIT while the master's disk is full or failing; repeat the request until it can take files
 *   BYE, as an answer to anything, or a signal: kill the build, wipe its folder, say BYE, exit
 *
 * While the master is down, the slave builds on, and repeats its request until it is answered. A restarted
 * master doesn't know this session (PIW_UNKNOWN_SLAVE): the slave says HELLO and repeats the request. It may
 * not know the transfer either (PIW_UNKNOWN_TRANSFER): the slave says BUILT again, and sends only the missing
 * parts of its files. The files are kept until DONE.
 *
 * A build that runs out of disk goes back to the queue, and the slave rests until there is more space. If the
 * same build then runs out again, it needs more than this disk has, and its failure is reported.
 */
export class BuildSlave {
  readonly #options: SlaveOptions;
  readonly #session = randomBytes(8).toString('hex');
  readonly #master: ProtocolClient<SlaveVerbs>;
  readonly #stopController = new AbortController();
  /** Completed transfers of this build: one that is requested again was found damaged. */
  readonly #completedTransfers = new Set<string>();
  #slaveId = 0;
  /** Once the slave is registered, each line has its number. */
  #log: Log;
  /** HELLO was sent, though perhaps not answered: the master may know this session. */
  #saidHello = false;
  #indexUrls: { url: string; extra: string | null } = { url: '', extra: null };
  #onWake: () => void = () => undefined;
  /** How many times the slave was woken. */
  #wakeCount = 0;
  /** Why this machine could not work at the last check. */
  #lastUnfitReason: ResourceShortage['of'] | undefined;
  readonly #diskWatch: ReturnType<typeof watchDisk>;
  /** Builds that have run out of disk once. */
  readonly #outOfDiskBuilds = new Set<string>();

  constructor(options: SlaveOptions) {
    this.#options = options;
    this.#log = options.log;
    const tokens = [slaveDriver.name, options.user, this.#session];
    const signal = this.#stopController.signal;
    this.#diskWatch = watchDisk(options.workDir, ({ text, code }) => {
      this.#progress({ state: 'trouble', text, code });
    });
    this.#master = new ProtocolClient(options.bus, slaveDriver, tokens, {
      ...{ timeoutMs: 20_000, patienceMs: 20_000, signal },
    });
  }

  /** Works until it is told BYE or `signal` is aborted. Throws PIW_PROTOCOL_VERSION if it is refused. */
  async run(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const removeListener = onAbort(signal, () => {
      this.#stopController.abort();
    });
    const { bus, user } = this.#options;
    const wakeSubscription = bus.subscribe(bus.subject(wake.name, user, this.#session, '*'));
    const listening = this.#countWakes(wakeSubscription);
    try {
      if (await this.#hello()) await this.#work();
    } catch (error) {
      // An error after the signal comes from the shutdown itself.
      if (!this.#stopping) throw error;
    } finally {
      removeListener();
      await this.#options.builder.clean();
      await this.#bye();
      await wakeSubscription.stop();
      await listening;
    }
  }

  /** A getter, because the compiler would narrow a plain property and take it for constant. */
  get #stopping(): boolean {
    return this.#stopController.signal.aborted;
  }

  async #countWakes(wakeSubscription: AsyncIterable<unknown>): Promise<void> {
    const read = wakeSubscription[Symbol.asyncIterator]();
    while (!(await read.next()).done) {
      this.#wakeCount += 1;
      this.#onWake();
    }
  }

  async #hello(signal: AbortSignal = this.#stopController.signal): Promise<boolean> {
    const hello = { ...this.#options.hello, clock: this.#options.clock.now() };
    this.#saidHello = true;
    const answer = await this.#request('HELLO', hello, signal);
    if (answer.verb === 'BYE')
      throw new PiwError('PIW_PROTOCOL_VERSION', `the master refused this slave: ${answer.reason}`);
    if (answer.slave_id !== this.#slaveId) {
      this.#slaveId = answer.slave_id;
      this.#log = this.#options.log.with({ slave: answer.slave_id });
      this.#log.info('registered with the master');
      this.#progress({ state: 'hello', slaveId: answer.slave_id });
    }
    this.#indexUrls = { url: answer.index_url, extra: answer.extra_index_url };
    return true;
  }

  async #work(): Promise<void> {
    while (!this.#stopping) {
      const wakeCount = this.#wakeCount;
      const answer = await this.#requestWork();
      if (answer.verb === 'BYE') {
        this.#log.info('dismissed by the master', { reason: answer.reason });
        return;
      }
      if (answer.verb === 'SLEEP')
        await this.#pause(
          Math.min(Math.max(answer.seconds, 0.1), 3600) * 1000,
          wakeCount,
          this.#stopController.signal,
        );
      else {
        if (!(await this.#build(answer))) return;
        if (this.#options.once) return;
      }
    }
  }

  /** Requests work (IDLE), or reports why the machine can't do any (REST). */
  async #requestWork(): Promise<Answer<SlaveVerbs, 'IDLE'> | Answer<SlaveVerbs, 'REST'>> {
    const { workDir, thresholds } = this.#options;
    const stats = await machineStats(workDir);
    await this.#diskWatch.probe();
    const { trouble } = this.#diskWatch;
    const unfitness: ResourceShortage | undefined = trouble
      ? { of: 'disk', text: trouble.text }
      : findShortage(stats, thresholds);
    if (unfitness && unfitness.of !== this.#lastUnfitReason)
      this.#log.warning('no work for now', { reason: unfitness.text });
    if (!unfitness && this.#lastUnfitReason !== undefined) this.#log.info('ready to work again');
    this.#lastUnfitReason = unfitness?.of;
    this.#progress(unfitness ? { state: 'resting', ...unfitness } : { state: 'idle' });
    return unfitness
      ? await this.#request('REST', { reason: unfitness.text, stats })
      : await this.#request('IDLE', { stats });
  }

  /**
   * Waits for `ms` milliseconds, until the slave is woken (or was since `wakeCount`), or until `signal` is
   * aborted.
   */
  async #pause(ms: number, wakeCount: number, signal: AbortSignal): Promise<void> {
    if (this.#wakeCount !== wakeCount) return;
    const woken = new AbortController();
    this.#onWake = () => {
      woken.abort();
    };
    await pause(this.#options.clock, ms, AbortSignal.any([woken.signal, signal]));
    this.#onWake = () => undefined;
  }

  /** Runs one build from BUILD to DONE. Returns false if the slave is to exit. */
  async #build(order: BuildOrder): Promise<boolean> {
    const { builder } = this.#options;
    const { lease, package: name, version } = order;
    const log = this.#log.with({ package: name, version, lease });
    log.info('build started');
    const buildAbort = new AbortController();
    const signal = AbortSignal.any([buildAbort.signal, this.#stopController.signal]);
    const busyLoop = this.#heartbeat(lease, buildAbort);
    // An error in the heartbeat ends the build, and is thrown below.
    busyLoop.catch(() => {
      buildAbort.abort();
    });
    let continues = true;
    try {
      const result = await builder.build({
        package: name,
        version,
        indexUrl: this.#indexUrls.url,
        extraIndexUrl: this.#indexUrls.extra,
        sdistSha256: order.sdist_sha256,
        timeoutMs: Math.min(order.limits[0], this.#options.hello.build_timeout_s) * 1000,
        signal,
        onLine: (line) => {
          this.#progress({ state: 'building', package: name, version, line });
        },
      });
      if (!isAborted(signal)) {
        const durationS = Number(result.durationS.toFixed(1));
        if (result.status) log.info('build succeeded', { duration_s: durationS });
        else log.info('build failed', { class: String(result.failureClass), duration_s: durationS });
        if (!this.#isFirstDiskFailure(order, result))
          continues = await this.#submitResult(lease, result, signal);
      }
    } catch (error) {
      // A build that the master no longer wants is aborted at any point.
      const wasAborted = isAborted(signal) && isAbortError(error);
      this.#diskWatch.noteFailure(error);
      if (!wasAborted && !this.#diskWatch.trouble) throw error;
    } finally {
      buildAbort.abort();
      await builder.clean();
    }
    if (this.#stopping) return false;
    const finalAnswer = await busyLoop;
    if (finalAnswer !== undefined) log.info("build aborted on the master's request");
    return continues && finalAnswer !== 'BYE';
  }

  /**
   * Returns whether a build ran out of disk for the first time. That says nothing about its package yet:
   * something else on the same disk may have taken the space. So the build is requeued by the slave's next
   * REST or IDLE.
   */
  #isFirstDiskFailure(order: BuildOrder, { failureClass }: BuildResult): boolean {
    const build = `${order.package} ${order.version}`;
    if (failureClass !== 'disk') {
      this.#outOfDiskBuilds.delete(build);
      return false;
    }
    if (this.#outOfDiskBuilds.delete(build)) return false;
    this.#outOfDiskBuilds.add(build);
    const { workDir } = this.#options;
    const { package: name, version, lease } = order;
    this.#log.warning('build requeued: no space left', { package: name, version, lease, path: workDir });
    this.#diskWatch.noteFailure(new PiwError('PIW_DISK_FULL', `the disk that holds ${workDir} is full`));
    return true;
  }

  /**
   * Sends BUSY at intervals, and when woken, until `buildAbort` is aborted. Returns the master's answer if
   * the master no longer wants the build: then this aborts it.
   */
  async #heartbeat(lease: number, buildAbort: AbortController): Promise<'DONE' | 'BYE' | undefined> {
    const { hello, workDir } = this.#options;
    const signal = AbortSignal.any([buildAbort.signal, this.#stopController.signal]);
    for (let wakeCount = this.#wakeCount; ;) {
      await this.#pause(Math.max(hello.busy_interval_s, 1) * 1000, wakeCount, signal);
      if (isAborted(signal)) return undefined;
      wakeCount = this.#wakeCount;
      try {
        const stats = await machineStats(workDir);
        const answer = await this.#master.request('BUSY', { lease, stats }, { signal });
        if (isAborted(signal)) return undefined;
        if (answer.verb === 'CONT') continue;
        buildAbort.abort();
        return answer.verb;
      } catch (error) {
        // The build goes on; BUILT is repeated until the master is back.
        rethrowUnexpected(error);
        this.#log.debug('request failed', { verb: 'BUSY', lease }, error);
        if (error.code !== 'PIW_UNKNOWN_SLAVE' || isAborted(signal)) continue;
        await this.#hello(signal).catch((refusal: unknown) => {
          // If the build has ended in the meantime, nobody waits for the answer.
          if (!isAborted(signal)) throw refusal;
        });
      }
    }
  }

  async #submitResult(lease: number, result: BuildResult, signal: AbortSignal): Promise<boolean> {
    const built: Body<SlaveVerbs, 'BUILT'> = {
      lease,
      status: result.status,
      failure_class: result.failureClass,
      duration_s: result.durationS,
      output: result.output,
      details: result.details,
      files: result.files.map((file) => fileToMessage(file)),
    };
    this.#completedTransfers.clear();
    const sayBuilt = () => this.#request('BUILT', built, signal);
    const saySent = async (filename: string): Promise<SlaveAnswer> => {
      try {
        return await this.#request('SENT', { lease, filename }, signal);
      } catch (error) {
        if (!hasCode(error, 'PIW_UNKNOWN_TRANSFER')) throw error;
        return await sayBuilt();
      }
    };
    let repeat: () => Promise<SlaveAnswer> = sayBuilt;
    let waitReason: string | undefined;
    for (;;) {
      const answer: SlaveAnswer = await repeat();
      if (answer.verb === 'WAIT') {
        this.#reportWait(answer.reason, waitReason);
        waitReason = answer.reason;
        await pause(this.#options.clock, Math.min(answer.seconds, MAX_WAIT_S) * 1000, signal);
        continue;
      }
      if (waitReason !== undefined) this.#log.info('the master accepts files again', { lease });
      waitReason = undefined;
      if (answer.verb !== 'SEND') return answer.verb !== 'BYE';
      const { filename, transfer_id } = answer;
      const file = result.files.find((candidate) => candidate.filename === filename);
      if (!file) throw new Error(`the master requested ${filename}, which was not built`);
      if (!(await this.#transfer(file, transfer_id, signal))) return true;
      repeat = () => saySent(filename);
    }
  }

  /**
   * Reports, once per reason, why the master can't take the files. The master renews the lease, and ends the
   * wait.
   */
  #reportWait(reason: string, previousReason: string | undefined): void {
    if (reason === previousReason) return;
    this.#log.warning("waiting to send the wheels: the master can't take files", { reason });
    this.#progress({ state: 'trouble', text: `waiting for the master: ${reason}`, code: 'PIW_REFUSED' });
  }

  /**
   * Sends one file to the File Juggler. Returns false if it gave up, so that the next IDLE requeues the
   * build.
   */
  async #transfer(file: BuiltFile, id: string, signal: AbortSignal): Promise<boolean> {
    const { bus, clock, user } = this.#options;
    let sent = 0;
    const trouble = (error: PiwError) => {
      this.#log.warning('sending failed', { file: file.filename }, error);
      this.#progress({ state: 'trouble', text: error.message, code: error.code });
    };
    try {
      await sendFile({
        ...{ bus, clock, user, session: this.#session, transferId: id, file, signal },
        read: fileReader(file.path),
        verifyDigest: this.#completedTransfers.has(id),
        onSent: (bytes) => {
          sent = Math.min(sent + bytes, file.filesize);
          this.#progress({ state: 'sending', filename: file.filename, sent, size: file.filesize });
        },
        onTrouble: trouble,
      });
      this.#completedTransfers.add(id);
      return true;
    } catch (error) {
      if (isAborted(signal) || !(error instanceof PiwError)) throw error;
      trouble(error);
      if (error.code === 'PIW_UNKNOWN_TRANSFER') return true;
      this.#log.error('transfer abandoned and build requeued', { file: file.filename });
      return false;
    }
  }

  /** Repeats a request until it is answered or `signal` is aborted. Throws errors that a retry can't fix. */
  async #request<K extends keyof SlaveVerbs>(
    verb: K,
    body: Body<SlaveVerbs, K>,
    signal: AbortSignal = this.#stopController.signal,
  ): Promise<Answer<SlaveVerbs, K>> {
    const { bus, clock, user } = this.#options;
    const send = () => this.#master.request(verb, body, { signal });
    const repair = async (error: unknown, failures: number): Promise<number> => {
      if (!(error instanceof PiwError) || PERMANENT_ERRORS.has(error.code)) throw error;
      if (error.code === 'PIW_UNKNOWN_SLAVE' && verb !== 'HELLO') {
        await this.#hello();
        return 0;
      }
      this.#log.warning('request failed, retrying', { verb }, error);
      this.#progress({ state: 'trouble', text: error.message, code: error.code });
      if (error.code === 'PIW_NATS_STORAGE') await reportNotStored({ bus, user, session: this.#session });
      return backOffMs(RETRY_BACK_OFF, failures);
    };
    return await retry(
      verb === 'HELLO' ? () => withWaitingReports(this.#reportWaiting, send) : send,
      repair,
      { clock, signal },
    );
  }

  readonly #reportWaiting = (): void => {
    this.#log.info('waiting for the master: no Slave Driver is running yet');
  };

  async #bye(): Promise<void> {
    if (!this.#saidHello) return;
    // The master may be down; its leases expire by themselves.
    const tokens = [slaveDriver.name, this.#options.user, this.#session];
    const byeClient = new ProtocolClient(this.#options.bus, slaveDriver, tokens, { timeoutMs: 3000 });
    await byeClient.request('BYE', {}).catch((error: unknown) => {
      this.#log.debug('request failed', { verb: 'BYE' }, error);
    });
  }

  #progress(progress: SlaveProgress): void {
    this.#options.onProgress?.(progress);
  }
}

/** Errors that a retry of the same message would only repeat. */
const PERMANENT_ERRORS: ReadonlySet<string> = new Set([
  'PIW_UNKNOWN_TRANSFER',
  'PIW_MESSAGE_INVALID',
  'PIW_TOO_LARGE',
  'PIW_PROTOCOL_VERSION',
]);

/** Returns whether an error is the result of an abort, and not a bug. */
const isAbortError = (error: unknown): boolean =>
  error instanceof PiwError || (error instanceof Error && error.name === 'AbortError');

/**
 * A function, because the compiler would take `signal.aborted` for constant: an abort can arrive during any
 * await.
 */
const isAborted = (signal: AbortSignal): boolean => signal.aborted;
