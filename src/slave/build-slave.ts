import type { Builder } from '../builder/build.js';
import { machineStats } from '../builder/machine.js';
import type { BuildResult } from '../builder/outcome.js';
import type { ResourceThresholds } from '../builder/resource-shortage.js';
import type { Bus, BusSubscription } from '../bus/bus.js';
import { onAbort } from '../concurrency/abort.js';
import type { Clock } from '../concurrency/clock.js';
import { pause } from '../concurrency/pause.js';
import { PiwError, hasCode, rethrowUnexpected } from '../errors.js';
import type { Log } from '../log.js';
import { fileToMessage } from '../model/file-state.js';
import type { Answer, Body } from '../protocols/protocol.js';
import {
  wake,
  type BuildOrder,
  type SlaveAnswer,
  type SlaveHello,
  type SlaveVerbs,
} from '../protocols/slave-driver.js';
import { FileSender } from './file-sender.js';
import { MachineFitness } from './fitness.js';
import { MasterSession } from './master-session.js';
import { OutputFeed } from './output-feed.js';
import type { OnProgress, SlaveProgress } from './progress.js';
import { WakeCounter } from './wake-counter.js';

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
  readonly onProgress?: OnProgress;
}

/** Maximum seconds between two requests whether the master can take files. */
const MAX_WAIT_S = 10;

/**
 * Builds packages for a farm. The build slave sends requests, and does what the answers say:
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
  readonly #session: MasterSession;
  readonly #fitness: MachineFitness;
  readonly #wakes: WakeCounter;
  readonly #output: OutputFeed;
  readonly #stopController = new AbortController();

  constructor(options: SlaveOptions) {
    const { bus, log, clock, user, hello, workDir, thresholds } = options;
    const { signal } = this.#stopController;
    const onProgress = this.#progress;
    this.#options = options;
    this.#session = new MasterSession({ bus, log, clock, user, hello, signal, onProgress });
    this.#fitness = new MachineFitness({ workDir, thresholds, onProgress });
    this.#wakes = new WakeCounter(clock);
    this.#output = new OutputFeed({
      clock,
      send: (output, abort) => this.#session.requestOnce('OUTPUT', output, abort),
    });
  }

  /** Works until it is told BYE or `signal` is aborted. Throws PIW_PROTOCOL_VERSION if it is refused. */
  async run(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const removeListener = onAbort(signal, () => {
      this.#stopController.abort();
    });
    const { bus, user } = this.#options;
    const wakeSubscription = bus.subscribe(bus.subject(wake.name, user, this.#session.id, '*'));
    const listening = this.#listen(wakeSubscription);
    try {
      await this.#session.hello();
      await this.#work();
    } catch (error) {
      // An error after the signal comes from the shutdown itself.
      if (!this.#stopping) throw error;
    } finally {
      removeListener();
      await this.#options.builder.clean();
      await this.#session.bye();
      await wakeSubscription.stop();
      await listening;
    }
  }

  /** Reads the messages to this slave until the subscription ends. */
  async #listen(subscription: BusSubscription): Promise<void> {
    for await (const message of subscription) {
      if (!message.subject.endsWith('.FOLLOW')) {
        this.#wakes.wake();
        continue;
      }
      try {
        const follow = wake.unpack(await message.body());
        if (follow.verb === 'FOLLOW') this.#output.follow(follow);
      } catch (error) {
        rethrowUnexpected(error);
      }
    }
  }

  /** A getter, because the compiler would narrow a plain property and take it for constant. */
  get #stopping(): boolean {
    return this.#stopController.signal.aborted;
  }

  async #work(): Promise<void> {
    while (!this.#stopping) {
      const wakeCount = this.#wakes.count;
      const answer = await this.#requestWork();
      if (answer.verb === 'BYE') {
        this.#session.log.info('dismissed by the master', { reason: answer.reason });
        return;
      }
      if (answer.verb === 'SLEEP')
        await this.#wakes.pause(
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
    const { stats, shortage } = await this.#fitness.check(this.#session.log);
    return shortage
      ? await this.#session.request('REST', { reason: shortage.text, stats })
      : await this.#session.request('IDLE', { stats });
  }

  /** Runs one build from BUILD to DONE. Returns false if the slave is to exit. */
  async #build(order: BuildOrder): Promise<boolean> {
    const { builder } = this.#options;
    const { lease, package: name, version } = order;
    const log = this.#session.log.with({ package: name, version, lease });
    log.info('build started');
    const buildAbort = new AbortController();
    const signal = AbortSignal.any([buildAbort.signal, this.#stopController.signal]);
    this.#output.begin(lease, signal);
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
        indexUrl: this.#session.indexUrls.url,
        extraIndexUrl: this.#session.indexUrls.extra,
        sdistSha256: order.sdist_sha256,
        timeoutMs: Math.min(order.limits[0], this.#options.hello.build_timeout_s) * 1000,
        signal,
        onLine: (line) => {
          this.#output.add(line);
          this.#progress({ state: 'building', package: name, version, line });
        },
      });
      if (!isAborted(signal)) {
        const durationS = Number(result.durationS.toFixed(1));
        if (result.status) log.info('build succeeded', { duration_s: durationS });
        else log.info('build failed', { class: String(result.failureClass), duration_s: durationS });
        if (!this.#fitness.isFirstDiskFailure(order, result.failureClass, this.#session.log))
          continues = await this.#submitResult(lease, result, signal);
      }
    } catch (error) {
      // A build that the master no longer wants is aborted at any point.
      const wasAborted = isAborted(signal) && isAbortError(error);
      const isDiskFailure = this.#fitness.isDiskFailure(error);
      if (!wasAborted && !isDiskFailure) throw error;
    } finally {
      buildAbort.abort();
      await this.#output.end();
      await builder.clean();
    }
    if (this.#stopping) return false;
    const finalAnswer = await busyLoop;
    if (finalAnswer !== undefined) log.info("build aborted on the master's request");
    return continues && finalAnswer !== 'BYE';
  }

  /**
   * Sends BUSY at intervals, and when woken, until `buildAbort` is aborted. Returns the master's answer if
   * the master no longer wants the build: then this aborts it.
   */
  async #heartbeat(lease: number, buildAbort: AbortController): Promise<'DONE' | 'BYE' | undefined> {
    const { hello, workDir } = this.#options;
    const signal = AbortSignal.any([buildAbort.signal, this.#stopController.signal]);
    for (let wakeCount = this.#wakes.count; ;) {
      await this.#wakes.pause(Math.max(hello.busy_interval_s, 1) * 1000, wakeCount, signal);
      if (isAborted(signal)) return undefined;
      wakeCount = this.#wakes.count;
      try {
        const stats = await machineStats(workDir);
        const answer = await this.#session.requestOnce('BUSY', { lease, stats }, signal);
        if (isAborted(signal)) return undefined;
        if (answer.verb === 'CONT') continue;
        buildAbort.abort();
        return answer.verb;
      } catch (error) {
        // The build goes on; BUILT is repeated until the master is back.
        rethrowUnexpected(error);
        this.#session.log.debug('request failed', { verb: 'BUSY', lease }, error);
        if (error.code !== 'PIW_UNKNOWN_SLAVE' || isAborted(signal)) continue;
        await this.#session.hello(signal).catch((refusal: unknown) => {
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
    const { bus, clock, user } = this.#options;
    const sender = new FileSender({
      bus,
      clock,
      user,
      session: this.#session,
      onProgress: this.#progress,
    });
    const sayBuilt = () => this.#session.request('BUILT', built, signal);
    const saySent = async (filename: string): Promise<SlaveAnswer> => {
      try {
        return await this.#session.request('SENT', { lease, filename }, signal);
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
        await pause(clock, Math.min(answer.seconds, MAX_WAIT_S) * 1000, signal);
        continue;
      }
      if (waitReason !== undefined) this.#session.log.info('the master accepts files again', { lease });
      waitReason = undefined;
      if (answer.verb !== 'SEND') return answer.verb !== 'BYE';
      const { filename, transfer_id } = answer;
      const file = result.files.find((candidate) => candidate.filename === filename);
      if (!file) throw new Error(`the master requested ${filename}, which was not built`);
      if (!(await sender.send(file, transfer_id, signal))) return true;
      repeat = () => saySent(filename);
    }
  }

  /**
   * Reports, once per reason, why the master can't take the files. The master renews the lease, and ends the
   * wait.
   */
  #reportWait(reason: string, previousReason: string | undefined): void {
    if (reason === previousReason) return;
    this.#session.log.warning("waiting to send the wheels: the master can't take files", { reason });
    this.#progress({ state: 'trouble', text: `waiting for the master: ${reason}`, code: 'PIW_REFUSED' });
  }

  readonly #progress = (progress: SlaveProgress): void => {
    this.#options.onProgress?.(progress);
  };
}

/** Returns whether an error is the result of an abort, and not a bug. */
const isAbortError = (error: unknown): boolean =>
  error instanceof PiwError || (error instanceof Error && error.name === 'AbortError');

/**
 * A function, because the compiler would take `signal.aborted` for constant: an abort can arrive during any
 * await.
 */
const isAborted = (signal: AbortSignal): boolean => signal.aborted;
