import { wallTime } from '../src/concurrency/clock.js';
import { Actor, type ActorContext, type MessageOrigin } from '../src/actor/actor.js';
import { ProtocolClient } from '../src/actor/client.js';
import { PiwError } from '../src/errors.js';
import { pending } from '../src/protocols/builds.js';
import { slaveControl } from '../src/protocols/control.js';
import { fileSystem } from '../src/protocols/file-juggler.js';
import { oracle } from '../src/protocols/oracle.js';
import {
  slaveDriver,
  type BuildOrder,
  type BuiltMessage,
  type SlaveAnswer,
} from '../src/protocols/slave-driver.js';
import { toSentence } from '../src/model/build-details.js';
import { Admission } from './slave-driver/admission.js';
import { UserBuckets } from './slave-driver/buckets.js';
import { BuildState } from './slave-driver/build-state.js';
import { failureClass, failurePolicy } from '../src/failures/classes.js';
import { SlaveSessions, type SessionKey } from './slave-driver/slave-sessions.js';
import { formatTarget, type SlaveState } from './slave-driver/slave-state.js';
import { SlaveHealthMonitor } from './slave-driver/health.js';
import { SlaveLeases } from './slave-driver/leases.js';
import { Leftovers } from './slave-driver/leftovers.js';
import { ResultFiles, type FileVerdict } from './slave-driver/result-files.js';
import { SlaveOrders } from './slave-driver/orders.js';
import { RequestQueues } from './slave-driver/request-queues.js';
import { ResultRecorder } from './slave-driver/results.js';
import { SlaveStatusFeed } from './slave-driver/status.js';
import { UnregisteredTargets } from './slave-driver/unregistered-targets.js';
import { SlaveWaker } from './slave-driver/waker.js';

interface SlaveDriverSettings {
  readonly indexUrl: string;
  readonly extraIndexUrl: string | null;
  readonly registerTargets: boolean;
  /** Limits of one build: seconds, bytes of log, bytes of one wheel. */
  readonly limits: readonly [number, number, number];
  /** Whether to refuse a wheel that lacks its compiled part, instead of publishing it. */
  readonly refuseIncomplete: boolean;
}

type SlaveReply = Promise<SlaveAnswer> | SlaveAnswer;
type SlaveStats = SlaveState['stats'];

/** Timeouts of requests to The Oracle and the File Juggler, which may be restarting. */
const PATIENT = { timeoutMs: 10_000, patienceMs: 30_000 };
const DONE = { verb: 'DONE' } as const;
/** Maximum sleep of a slave that gets no work. WAKE ends the sleep earlier. */
const MAX_SLEEP_S = 10;
/** Seconds between checks whether an unknown target has been registered. */
const TARGET_CHECK_INTERVAL_S = 5;
/** Seconds between reviews of the failures of slaves that are set aside. */
const HEALTH_REVIEW_INTERVAL_S = 5;
/** Seconds between renewals of the leases of slaves that are sending files. */
const SENDING_RENEWAL_INTERVAL_S = 5;
/** Seconds between removals of files that lost builds left behind. */
const CLEANUP_INTERVAL_S = 60;
/** Seconds before a skipped build is offered again, so that the same slave does not get it straight back. */
const SKIP_COOLDOWN_S = 600;
/** Seconds before the build of a faulty slave is offered to another slave. */
const REQUEUE_COOLDOWN_S = 60;
/**
 * Seconds before a build is offered again whose result the database refused: it would most likely be refused
 * again.
 */
const UNLOGGABLE_COOLDOWN_S = 3600;
/** Seconds that a build may take beyond its time limit, for the work before and after the build itself. */
const BUILD_GRACE_S = 3600;
/**
 * Serves the build slaves. The slaves drive: each sends a request, and the answer says what to do next (see
 * the table of requests and answers in protocols/slave-driver.ts). For each session:
 *
 *   HELLO   registers the session, whatever its earlier state was
 *   IDLE    requests a build from the Architect, who grants it under a lease. A slave whose BUILD answer was
 *           lost gets the same build again
 *   REST    the slave can't work now, and says why; its lease is released
 *   BUSY    renews the lease. The answer is DONE when the slave has lost it, or the build is to be skipped
 *   BUILT   logs a failure. The files of a success are checked against the lease, announced to the
 *           File Juggler and requested one by one
 *   SENT    has the File Juggler verify the file, then requests the next one. When all are published, the
 *           build is logged and its pages are due. While the farm's disk is full or failing, the slave is
 *           told to WAIT: it keeps its lease and its files, and whatever has already arrived is kept
 *
 * All durable state is in the database (leases, results) or with the slave (the files, until DONE). The state
 * in memory is lost with the process: an unknown session is answered PIW_UNKNOWN_SLAVE, upon which the slave
 * says HELLO and repeats its request; SENT without a build is answered PIW_UNKNOWN_TRANSFER, upon which the
 * slave repeats BUILT. The requests of one session are served in sequence, so that a repeated request sees
 * the effect of the first.
 */
export class SlaveDriver extends Actor {
  readonly #settings: SlaveDriverSettings;
  readonly #slaves = new SlaveSessions();
  readonly #requests = new RequestQueues();
  readonly #buckets: UserBuckets;
  readonly #status: SlaveStatusFeed;
  readonly #targets: UnregisteredTargets;
  readonly #waker: SlaveWaker;
  readonly #leases: SlaveLeases;
  readonly #leftovers: Leftovers;
  readonly #files: ResultFiles;
  readonly #results: ResultRecorder;
  readonly #health: SlaveHealthMonitor;
  readonly #orders: SlaveOrders;
  readonly #admission: Admission;

  readonly #wallTime = (monotonicMs: number): number => wallTime(this.clock, monotonicMs);

  constructor(context: ActorContext, settings: SlaveDriverSettings) {
    super(context);
    this.#settings = settings;
    const { bus, log } = this;
    const slaves = this.#slaves;
    const database = new ProtocolClient(bus, oracle, undefined, PATIENT);
    this.#buckets = new UserBuckets(bus);
    this.#waker = new SlaveWaker(bus, slaves);
    this.#targets = new UnregisteredTargets({ log, database, slaves, waker: this.#waker });
    this.#status = new SlaveStatusFeed(bus, this.clock, slaves);
    this.#leases = new SlaveLeases(
      bus,
      this.clock,
      () => this.context.fence(),
      (error) => {
        if (error)
          this.conditions.raise(
            'no-builds',
            context.task,
            `no builds can be granted: ${error.code}: ${error.message}`,
          );
        else this.conditions.clear('no-builds', context.task);
      },
    );
    const files = new ProtocolClient(bus, fileSystem, undefined, PATIENT);
    this.#leftovers = new Leftovers({ log, clock: this.clock, database, files });
    this.#files = new ResultFiles({
      ...{ log, database, files, maxWheelBytes: settings.limits[2] },
      ...{ slaves: this.#slaves, leftovers: this.#leftovers },
    });
    this.#results = new ResultRecorder({
      ...{ bus, log, database, leftovers: this.#leftovers },
    });
    this.#health = new SlaveHealthMonitor({
      ...{ bus, log, clock: this.clock, conditions: this.conditions, slaves },
    });
    this.#orders = new SlaveOrders({
      ...{ clock: this.clock, database, slaves, waker: this.#waker, health: this.#health },
    });
    this.#admission = new Admission({
      ...{ log, clock: this.clock, database, slaves, health: this.#health },
      ...{ buckets: this.#buckets, targets: this.#targets },
      indexUrl: settings.indexUrl,
      extraIndexUrl: settings.extraIndexUrl,
      registerTargets: settings.registerTargets,
      onAdmitted: (slave) => {
        this.#status.markChanged(slave);
      },
    });
  }

  override start(): void {
    const withSlave =
      <M>(handle: (slave: SlaveState, message: M) => SlaveReply) =>
      (message: M, from: MessageOrigin): Promise<never> =>
        this.#requests.run(sessionOf(from), async () => {
          const slave = this.#slaves.getOrThrow(sessionOf(from));
          slave.lastSeen = this.clock.monotonicMs();
          if (slave.kill === 'now') return (await this.#dismiss(slave)) as never;
          return (await handle(slave, message)) as never;
        });
    this.serve(
      slaveDriver,
      {
        HELLO: (hello, from) =>
          this.#requests.run(sessionOf(from), () => this.#admission.hello(hello, sessionOf(from))),
        IDLE: withSlave<{ stats: SlaveStats }>((slave, { stats }) => {
          slave.stats = stats;
          return this.#idle(slave);
        }),
        REST: withSlave<{ reason: string; stats: SlaveStats }>((slave, { reason, stats }) => {
          slave.stats = stats;
          return this.#rest(slave, reason);
        }),
        BUSY: withSlave<{ lease: number; stats: SlaveStats }>((slave, { lease, stats }) => {
          slave.stats = stats;
          return this.#busy(slave, lease);
        }),
        BUILT: withSlave<BuiltMessage>((slave, built) => this.#built(slave, built)),
        SENT: withSlave<{ lease: number; filename: string }>((slave, sent) =>
          this.#sent(slave, sent.lease, sent.filename),
        ),
        BYE: (_, from) => this.#requests.run(sessionOf(from), () => this.#bye(from)) as never,
      },
      {
        tokens: [slaveDriver.name, '*', '*'],
        concurrency: 10_000,
        senderOf: ({ tokens }) => tokens[1] ?? '',
        bucketOf: ({ tokens }) => this.#buckets.nameOf(tokens[1] ?? ''),
      },
    );
    this.serve(slaveControl, {
      KILL: async ({ slave_id, after_build }) => {
        await this.#orders.kill(slave_id, after_build);
        return DONE;
      },
      SLEEP: async ({ slave_id }) => {
        await this.#orders.sleep(slave_id);
        return DONE;
      },
      WAKE: async ({ slave_id }) => {
        await this.#orders.wake(slave_id);
        return DONE;
      },
      SKIP: async ({ slave_id }) => {
        await this.#orders.skip(slave_id);
        return DONE;
      },
      HELLO: async () => ({ verb: 'SLAVES', slaves: await this.#status.publishAll() }),
    });
    this.serve(
      pending,
      {
        READY: ({ abi, platform }) => {
          const target = `${abi} on ${platform}`;
          this.#leases.markReady(target);
          return this.#waker.wakeWaiting(({ hello }) => formatTarget(hello) === target);
        },
      },
      { queue: null },
    );
    this.every(0.25, () => this.#status.publishChanges());
    this.every(SENDING_RENEWAL_INTERVAL_S, () =>
      this.#leases.renewSending(this.#slaves, this.clock.monotonicMs()),
    );
    this.every(CLEANUP_INTERVAL_S, () => this.#leftovers.removeExpired(), CLEANUP_INTERVAL_S);
    this.every(TARGET_CHECK_INTERVAL_S, () => this.#targets.check());
    this.every(HEALTH_REVIEW_INTERVAL_S, () => this.#health.review());
    this.every(
      60,
      () => {
        this.#slaves.expire(this.clock.monotonicMs());
      },
      60,
    );
  }

  protected override async onPauseChanged(): Promise<void> {
    if (!this.paused) await this.#waker.wakeWaiting();
  }

  async #idle(slave: SlaveState): Promise<SlaveAnswer> {
    if (slave.kill !== null) return this.#dismiss(slave);
    if (slave.unacknowledgedOrder !== undefined) return slave.unacknowledgedOrder as SlaveAnswer;
    // The slave never received BUILD, or lost its result.
    await this.#leases.release(slave);
    if (this.paused) return this.#sleep(slave, 'the master is paused');
    const idleReason = slave.idleReason(this.clock.monotonicMs(), this.#wallTime);
    if (idleReason !== undefined) return this.#sleep(slave, idleReason);
    if (!slave.targetRegistered) return this.#sleep(slave, 'its ABI and platform are not registered');
    const setAsideReason = this.#health.idleBecause(slave);
    if (setAsideReason !== undefined) return this.#sleep(slave, setAsideReason, 'resting');
    const grant = await this.#leases.requestGrant(slave);
    if (grant === null) return this.#sleep(slave);
    this.#health.onGrant(slave);
    const [lease, , name, version, sdist_url, sdist_sha256] = grant;
    const { abi_tag: abi, platform_tag: platform } = slave.hello;
    slave.lease = { lease, package: name, version, abi, platform };
    const order: BuildOrder = {
      verb: 'BUILD',
      lease,
      package: name,
      version,
      abi,
      sdist_url,
      sdist_sha256,
      limits: [...this.#settings.limits],
    };
    slave.unacknowledgedOrder = order;
    slave.setActivity('building', this.clock.monotonicMs());
    this.log.debug(
      `build granted slave=${String(slave.slaveId)} package=${name} version=${version} lease=${String(lease)}`,
    );
    this.#status.markChanged(slave);
    return order;
  }

  /**
   * Answers SLEEP: there is no work for the slave, or it may not have any for the reason in `note`, which
   * people see.
   */
  #sleep(
    slave: SlaveState,
    note: string | null = null,
    activity: 'waiting' | 'resting' = 'waiting',
  ): SlaveAnswer {
    if (slave.activity !== activity || slave.note !== note) {
      slave.setActivity(activity, this.clock.monotonicMs(), note);
      this.#status.markChanged(slave);
    }
    return { verb: 'SLEEP', seconds: MAX_SLEEP_S, paused: this.paused || slave.asleep };
  }

  async #rest(slave: SlaveState, reason: string): Promise<SlaveAnswer> {
    if (slave.kill !== null) return this.#dismiss(slave);
    if (slave.activity !== 'resting') {
      this.log.warning(
        `slave takes no work slave=${String(slave.slaveId)} label=${slave.hello.label}: ${reason}`,
      );
    }
    await this.#leases.release(slave);
    return this.#sleep(slave, reason, 'resting');
  }

  /** Has the slave drop its current build, because an administrator skipped it. */
  async #skipBuild(slave: SlaveState): Promise<SlaveAnswer> {
    const { package: name = '', version = '' } = slave.lease ?? {};
    this.log.info(
      `build skipped by an administrator slave=${String(slave.slaveId)} package=${name} version=${version}`,
    );
    await this.#leases.release(slave, SKIP_COOLDOWN_S);
    return this.#becomeIdle(slave);
  }

  async #busy(slave: SlaveState, lease: number): Promise<SlaveAnswer> {
    if (!(await this.#leases.holds(slave, lease))) return DONE;
    slave.unacknowledgedOrder = undefined;
    if (slave.skip) return await this.#skipBuild(slave);
    const limitS = Math.min(this.#settings.limits[0], slave.hello.build_timeout_s) + BUILD_GRACE_S;
    if (slave.activity === 'building' && this.clock.monotonicMs() - slave.since > limitS * 1000) {
      this.log.warning(
        `build requeued slave=${String(slave.slaveId)} lease=${String(lease)}: it exceeds its time limit of ${String(limitS)} s`,
      );
      await this.#leases.release(slave, REQUEUE_COOLDOWN_S);
      return this.#becomeIdle(slave);
    }
    if (slave.activity !== 'sending') slave.setActivity('building', this.clock.monotonicMs());
    return (await this.#leases.renew(slave)) ? { verb: 'CONT' } : this.#becomeIdle(slave);
  }

  async #built(slave: SlaveState, built: BuiltMessage): Promise<SlaveAnswer> {
    if (!(await this.#leases.holds(slave, built.lease))) {
      this.log.info(
        `result dropped slave=${String(slave.slaveId)} lease=${String(built.lease)}: the slave no longer holds the lease`,
      );
      return DONE;
    }
    slave.unacknowledgedOrder = undefined;
    const { lease, hello } = slave;
    if (!lease) return this.#becomeIdle(slave);
    if (slave.skip) return await this.#skipBuild(slave);
    if (!built.status && (await this.#restIfFaulty(slave, built))) return this.#becomeIdle(slave);
    if (built.status) slave.clearEnvironmentFailures();
    if (built.status && built.details.remark !== null && this.#health.hasBetterPeer(slave)) {
      const reason = toSentence(`the slave is at fault: ${hello.lacks.join('; ')}`);
      const failed = { status: false, failure_class: 'no-compiler', files: [] };
      return this.#logResult(slave, {
        ...built,
        ...failed,
        details: { ...built.details, reason, remark: null },
      });
    }
    if (!built.status || built.files.length === 0) {
      const failure = built.status ? 'no-wheel' : built.failure_class;
      const reason = built.status ? 'the build succeeded but produced no wheel' : built.details.reason;
      const details = { ...built.details, reason };
      return this.#logResult(
        slave,
        { ...built, status: false, failure_class: failure, details, files: [] },
        [],
      );
    }
    const { remark } = built.details;
    if (remark !== null && this.#settings.refuseIncomplete) {
      const details = { ...built.details, reason: remark, remark: null };
      return this.#logResult(
        slave,
        { ...built, status: false, failure_class: 'incomplete', details, files: [] },
        [],
      );
    }
    const build = new BuildState(lease, built);
    const refusal = this.#files.refusalReason(build, hello.platform_tag);
    if (refusal !== undefined) return this.#rejectResult(slave, built, refusal);
    if (!(await this.#leases.ensureHeld(slave))) return this.#dropLostResult(slave);
    slave.build = build;
    const verdict = await this.#files.expect(slave, build);
    return verdict.is === 'wait' ? this.#wait(slave, verdict) : this.#requestNextFile(slave, build);
  }

  async #sent(slave: SlaveState, lease: number, filename: string): Promise<SlaveAnswer> {
    const build = slave.build;
    const transfer = build?.files.find(({ file }) => file.filename === filename);
    if (!build || !transfer || build.lease.lease !== lease) {
      throw new PiwError(
        'PIW_UNKNOWN_TRANSFER',
        `no transfer of ${filename} is in progress for lease ${String(lease)}`,
      );
    }
    if (slave.skip) return await this.#skipBuild(slave);
    // A verified file is published, so the slave must still hold the lease.
    if (!(await this.#leases.ensureHeld(slave))) return this.#dropLostResult(slave);
    const verdict = await this.#files.verify(slave, build, transfer);
    switch (verdict.is) {
      case 'refused':
        return this.#rejectResult(slave, build.built, verdict.reason);
      case 'given up':
        return this.#abandonBuild(slave, verdict.reason);
      case 'wait':
        return this.#wait(slave, verdict);
      default:
        return this.#requestNextFile(slave, build);
    }
  }

  /** Answers WAIT: the farm can't take files now. Neither the slave nor its build is at fault. */
  #wait(slave: SlaveState, { reason, seconds }: Extract<FileVerdict, { is: 'wait' }>): SlaveAnswer {
    if (slave.activity !== 'sending' || slave.note !== reason) {
      this.log.info(`slave waits to send its files slave=${String(slave.slaveId)}: ${reason}`);
      slave.setActivity('sending', this.clock.monotonicMs(), reason);
      this.#status.markChanged(slave);
    }
    return { verb: 'WAIT', seconds, reason };
  }

  /** Requeues the build of a slave whose file keeps arriving damaged. Nothing is recorded as a failure. */
  async #abandonBuild(slave: SlaveState, reason: string): Promise<SlaveAnswer> {
    this.log.warning(`file refused and build requeued slave=${String(slave.slaveId)}: ${reason}`);
    slave.recordEnvironmentFailure(this.clock.monotonicMs());
    await this.#leases.release(slave, REQUEUE_COOLDOWN_S);
    return this.#becomeIdle(slave);
  }

  /**
   * Returns whether this failure says nothing about its package, because too many builds in a row have failed
   * for environmental reasons. If so, the build is requeued and the slave rests.
   */
  async #restIfFaulty(slave: SlaveState, { failure_class, output }: BuiltMessage): Promise<boolean> {
    if (!failurePolicy(failureClass(failure_class)).environmental) {
      slave.clearEnvironmentFailures();
      return false;
    }
    const restMs = slave.recordEnvironmentFailure(this.clock.monotonicMs());
    if (restMs === 0) return false;
    const lastLine = output.trimEnd().split('\n').at(-1) ?? '';
    this.log.warning(
      `faulty slave rests for ${String(restMs / 60_000)} min slave=${String(slave.slaveId)} label=${slave.hello.label}: ${lastLine.slice(0, 300)}`,
    );
    await this.#leases.release(slave, REQUEUE_COOLDOWN_S);
    return true;
  }

  #dropLostResult(slave: SlaveState): SlaveAnswer {
    this.log.info(`result dropped slave=${String(slave.slaveId)}: the lease expired`);
    return this.#becomeIdle(slave);
  }

  async #requestNextFile(slave: SlaveState, build: BuildState): Promise<SlaveAnswer> {
    const next = build.nextFile;
    if (!next) return this.#logResult(slave, build.built, build.files);
    if (slave.activity !== 'sending' || slave.note !== null) {
      slave.setActivity('sending', this.clock.monotonicMs());
      this.#status.markChanged(slave);
    }
    return { verb: 'SEND', filename: next.file.filename, transfer_id: next.transferId };
  }

  /** Logs a build whose files are unacceptable as failed, with the reason in its log. */
  #rejectResult(slave: SlaveState, built: BuiltMessage, reason: string): Promise<SlaveAnswer> {
    this.log.warning(`file refused slave=${String(slave.slaveId)}: ${reason}`);
    const output = `${built.output}\npiw: the master refused the result: ${reason}\n`;
    const details = { ...built.details, reason: toSentence(`the master refused the result: ${reason}`) };
    return this.#logResult(
      slave,
      { ...built, ...{ status: false, failure_class: 'wrong-wheel', output, files: [] }, details },
      [],
    );
  }

  /** Logs the result, which ends the lease, and answers DONE. */
  async #logResult(
    slave: SlaveState,
    built: BuiltMessage,
    files: BuildState['files'] = [],
  ): Promise<SlaveAnswer> {
    const { package: name = '' } = slave.lease ?? {};
    let countsForHealth = false;
    try {
      countsForHealth = await this.#results.log(slave, built, files);
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      // A repeated request would get the same error, so the build ends here.
      if (error.code === 'PIW_FILE_EXISTS' && files.length > 0)
        return this.#rejectResult(slave, built, error.message);
      if (error.code !== 'PIW_DATABASE_FAULT') throw error;
      this.log.error(`result could not be logged slave=${String(slave.slaveId)}: ${error.message}`);
      await this.#leases.release(slave, UNLOGGABLE_COOLDOWN_S);
    }
    if (countsForHealth) {
      const { status: worked, failure_class: failureClass, duration_s: durationS } = built;
      await this.#health
        .recordResult(slave, { package: name, failed: !worked, failureClass, durationS })
        .catch((error: unknown) => {
          if (!(error instanceof PiwError)) throw error;
          this.log.warning(
            `health check of the slave is postponed slave=${String(slave.slaveId)}: ${error.message}`,
          );
        });
    }
    return this.#becomeIdle(slave);
  }

  #becomeIdle(slave: SlaveState): SlaveAnswer {
    slave.clearBuild();
    slave.setActivity('idle', this.clock.monotonicMs());
    this.#status.markChanged(slave);
    return DONE;
  }

  async #dismiss(slave: SlaveState): Promise<SlaveAnswer> {
    await this.#leases.release(slave);
    slave.setActivity('gone', this.clock.monotonicMs());
    this.#status.markChanged(slave);
    return { verb: 'BYE', reason: 'stopped by an administrator' };
  }

  async #bye(from: MessageOrigin): Promise<SlaveAnswer> {
    const slave = this.#slaves.get(sessionOf(from));
    if (slave) {
      await this.#leases.release(slave);
      slave.setActivity('gone', this.clock.monotonicMs());
      this.#status.markChanged(slave);
      this.#slaves.delete(slave);
      this.#health.onLeave(slave);
      this.log.info(`slave disconnected slave=${String(slave.slaveId)} label=${slave.hello.label}`);
    }
    return { verb: 'BYE', reason: 'goodbye' };
  }
}

const sessionOf = ({ tokens }: MessageOrigin): SessionKey => ({
  user: tokens[1] ?? '',
  session: tokens[2] ?? '',
});
