import { wallTime } from '../src/concurrency/clock.js';
import { Actor, type ActorContext, type MessageOrigin } from '../src/actor/actor.js';
import { ProtocolClient } from '../src/actor/client.js';
import { PiwError, errorMessage } from '../src/errors.js';
import { pending } from '../src/protocols/builds.js';
import { slaveControl, status } from '../src/protocols/control.js';
import { bucketConfig, fileSystem, userBucketName } from '../src/protocols/file-juggler.js';
import { oracle } from '../src/protocols/oracle.js';
import type { KillMode } from '../src/model/slave.js';
import {
  slaveDriver,
  wake,
  type BuildOrder,
  type BuiltMessage,
  type SlaveAnswer,
  type SlaveHello,
} from '../src/protocols/slave-driver.js';
import { toSentence } from '../src/model/build-details.js';
import { BuildState } from './slave-driver/build-state.js';
import { failureClass, failurePolicy } from '../src/failures/classes.js';
import { SlaveSessions, type SessionKey } from './slave-driver/slave-sessions.js';
import { SlaveState, formatTarget } from './slave-driver/slave-state.js';
import { PROTOCOL_VERSION, VERSION } from '../src/version.js';
import { targetRefusal } from '../src/wheels/accept.js';
import { SlaveHealthMonitor } from './slave-driver/health.js';
import { SlaveLeases } from './slave-driver/leases.js';
import { Leftovers } from './slave-driver/leftovers.js';
import { ResultFiles, type FileVerdict } from './slave-driver/result-files.js';
import { ResultRecorder } from './slave-driver/results.js';

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
/** Milliseconds to wait until slaves have received the order to exit. */
const DISMISS_TIMEOUT_MS = 3000;
/** The log warns of a slave's clock that is off by more than this. */
const MAX_CLOCK_SKEW_MS = 300_000;
/** Maximum unanswered requests per user. A slave has one per interpreter, plus one. */
const MAX_PENDING_REQUESTS_PER_USER = 1000;

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
  readonly #serialQueues = new Map<string, Promise<unknown>>();
  readonly #pendingRequests = new Map<string, number>();
  readonly #unknownTargets = new Set<string>();
  /** Users over the limit of sessions, so that the log warns once per user. */
  readonly #usersOverSessionLimit = new Set<string>();
  readonly #changedSlaves = new Set<SlaveState>();
  readonly #ensuredBuckets = new Map<string, Promise<void>>();
  readonly #database: ProtocolClient<typeof oracle.verbs>;
  readonly #status: ProtocolClient<typeof status.verbs>;
  readonly #leases: SlaveLeases;
  readonly #leftovers: Leftovers;
  readonly #files: ResultFiles;
  readonly #results: ResultRecorder;
  readonly #health: SlaveHealthMonitor;

  readonly #wallTime = (monotonicMs: number): number => wallTime(this.clock, monotonicMs);

  constructor(context: ActorContext, settings: SlaveDriverSettings) {
    super(context);
    this.#settings = settings;
    const { bus, log } = this;
    this.#database = new ProtocolClient(bus, oracle, undefined, PATIENT);
    this.#status = new ProtocolClient(bus, status);
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
    const database = this.#database;
    this.#leftovers = new Leftovers({ log, clock: this.clock, database, files });
    this.#files = new ResultFiles({
      ...{ log, database, files, maxWheelBytes: settings.limits[2] },
      ...{ slaves: this.#slaves, leftovers: this.#leftovers },
    });
    this.#results = new ResultRecorder({
      ...{ bus, log, database, leftovers: this.#leftovers },
    });
    this.#health = new SlaveHealthMonitor({
      ...{ bus, log, clock: this.clock, conditions: this.conditions, slaves: this.#slaves },
    });
  }

  override start(): void {
    const withSlave =
      <M>(handle: (slave: SlaveState, message: M) => SlaveReply) =>
      (message: M, from: MessageOrigin): Promise<never> =>
        this.#runSerially(from, async () => {
          const slave = this.#slaves.getOrThrow(sessionOf(from));
          slave.lastSeen = this.clock.monotonicMs();
          if (slave.kill === 'now') return (await this.#dismiss(slave)) as never;
          return (await handle(slave, message)) as never;
        });
    this.serve(
      slaveDriver,
      {
        HELLO: (hello, from) => this.#runSerially(from, () => this.#hello(hello, from)) as never,
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
        BYE: (_, from) => this.#runSerially(from, () => this.#bye(from)) as never,
      },
      {
        tokens: [slaveDriver.name, '*', '*'],
        concurrency: 10_000,
        senderOf: ({ tokens }) => tokens[1] ?? '',
        bucketOf: ({ tokens }) => userBucketName(this.bus.prefix, tokens[1] ?? ''),
      },
    );
    this.serve(slaveControl, {
      KILL: async ({ slave_id, after_build }) => {
        const kill = after_build ? 'after' : 'now';
        const slaves = await this.#saveRequest(
          slave_id,
          { asleep: null, kill },
          (slave) => (slave.kill = kill),
        );
        if (!after_build) await this.#waitUntilGone(slaves);
        return DONE;
      },
      SLEEP: async ({ slave_id }) => {
        await this.#saveRequest(slave_id, { asleep: true, kill: null }, (slave) => (slave.asleep = true));
        return DONE;
      },
      WAKE: async ({ slave_id }) => {
        for (const slave of this.#slaves.findBySlaveId(slave_id)) await this.#health.endSetAside(slave);
        await this.#saveRequest(slave_id, { asleep: false, kill: null }, (slave) => {
          slave.asleep = false;
          slave.clearEnvironmentFailures();
        });
        return DONE;
      },
      SKIP: async ({ slave_id }) => {
        await this.#applyAndWake(
          this.#slaves.findBySlaveId(slave_id),
          (slave) => (slave.skip = slave.lease !== undefined),
        );
        return DONE;
      },
      HELLO: async () => {
        const slaves = [...this.#slaves].map((slave) => slave.toRow(this.#wallTime));
        for (const slave of slaves) await this.#status.publish('SLAVE', { slave });
        return { verb: 'SLAVES', slaves } as const;
      },
    });
    this.serve(
      pending,
      {
        READY: ({ abi, platform }) => {
          const target = `${abi} on ${platform}`;
          this.#leases.markReady(target);
          return this.#wakeAll(({ hello }) => formatTarget(hello) === target);
        },
      },
      { queue: null },
    );
    this.every(0.25, () => this.#publishChanges());
    this.every(SENDING_RENEWAL_INTERVAL_S, () =>
      this.#leases.renewSending(this.#slaves, this.clock.monotonicMs()),
    );
    this.every(CLEANUP_INTERVAL_S, () => this.#leftovers.removeExpired(), CLEANUP_INTERVAL_S);
    this.every(TARGET_CHECK_INTERVAL_S, () => this.#checkTargets());
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
    if (!this.paused) await this.#wakeAll(() => true);
  }

  async #hello(hello: SlaveHello, from: MessageOrigin): Promise<SlaveAnswer> {
    const key = sessionOf(from);
    const { user, session } = key;
    const protocol = Number(hello.version.split('/')[1]);
    if (protocol !== PROTOCOL_VERSION) {
      const reason = `this master is piw ${VERSION} with protocol ${String(PROTOCOL_VERSION)}; install the same version here`;
      this.log.warning(`slave refused user=${user} label=${hello.label}: it runs ${hello.version}`);
      return { verb: 'BYE', reason };
    }
    const refusal = targetRefusal(hello);
    if (refusal !== undefined) {
      this.log.warning(`slave refused user=${user} label=${hello.label}: ${refusal}`);
      return { verb: 'BYE', reason: refusal };
    }
    this.#admit(key);
    await this.#ensureBucket(user);
    const { slave_id, known_target, asleep, kill, set_aside } = await this.#database.request('HELLOSLAVE', {
      user,
      session,
      label: hello.label,
      abi: hello.abi_tag,
      platform: hello.platform_tag,
      py_version_tag: hello.py_version_tag,
      os_name: hello.os_name,
      os_version: hello.os_version,
      board: hello.board,
      register: this.#settings.registerTargets,
    });
    const now = this.clock.monotonicMs();
    // A session that already exists says HELLO again only because this process restarted its side: its lease
    // stays.
    const existing = this.#slaves.get(key);
    const slave = existing ?? new SlaveState(slave_id, user, session, hello, known_target, now);
    Object.assign(slave, { hello, known: known_target, asleep, kill, lastSeen: now });
    if (!existing) this.#slaves.add(slave);
    await this.#health.onHello(slave, set_aside);
    if (Math.abs(hello.clock - this.clock.now()) > MAX_CLOCK_SKEW_MS)
      this.log.warning(
        `slave clock is off by more than ${String(MAX_CLOCK_SKEW_MS / 60_000)} min slave=${String(slave_id)} label=${hello.label}`,
      );
    const target = formatTarget(hello);
    this.log.info(
      `slave connected slave=${String(slave_id)} label=${hello.label} abi=${hello.abi_tag} platform=${hello.platform_tag}`,
    );
    if (!known_target && !this.#unknownTargets.has(target)) {
      this.#unknownTargets.add(target);
      this.log.warning(
        `nothing is built for ${target}; to register it: piw abi add ${hello.abi_tag} --platform ${hello.platform_tag}`,
      );
    }
    this.#markChanged(slave);
    return {
      verb: 'HELLO',
      slave_id,
      index_url: this.#settings.indexUrl,
      extra_index_url: this.#settings.extraIndexUrl,
    };
  }

  /**
   * Admits a session. Throws PIW_REFUSED if its user starts too many; the log warns of that once per user.
   */
  #admit(key: SessionKey): void {
    try {
      this.#slaves.admit(key, this.clock.monotonicMs());
      this.#usersOverSessionLimit.delete(key.user);
    } catch (error) {
      if (!this.#usersOverSessionLimit.has(key.user)) this.log.warning(errorMessage(error));
      this.#usersOverSessionLimit.add(key.user);
      throw error;
    }
  }

  async #idle(slave: SlaveState): Promise<SlaveAnswer> {
    if (slave.kill !== null) return this.#dismiss(slave);
    if (slave.unacknowledgedOrder !== undefined) return slave.unacknowledgedOrder as SlaveAnswer;
    // The slave never received BUILD, or lost its result.
    await this.#leases.release(slave);
    if (this.paused) return this.#sleep(slave, 'the master is paused');
    const idleReason = slave.idleReason(this.clock.monotonicMs(), this.#wallTime);
    if (idleReason !== undefined) return this.#sleep(slave, idleReason);
    if (!slave.known) return this.#sleep(slave, 'its ABI and platform are not registered');
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
    this.#markChanged(slave);
    return order;
  }

  /** Wakes the slaves whose target has been registered since their HELLO. */
  async #checkTargets(): Promise<void> {
    const unregistered = [...this.#slaves].filter(({ known }) => !known);
    if (unregistered.length === 0) return;
    const { targets } = await this.#database.request('GETABIS', {});
    const registered = new Set(targets.map(({ abi, platform }) => `${abi} on ${platform}`));
    for (const slave of unregistered) slave.known = registered.has(formatTarget(slave.hello));
    for (const target of registered) this.#unknownTargets.delete(target);
    await this.#wakeAll((slave) => slave.known && unregistered.includes(slave));
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
      this.#markChanged(slave);
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
      this.#markChanged(slave);
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
      this.#markChanged(slave);
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
    this.#markChanged(slave);
    return DONE;
  }

  async #dismiss(slave: SlaveState): Promise<SlaveAnswer> {
    await this.#leases.release(slave);
    slave.setActivity('gone', this.clock.monotonicMs());
    this.#markChanged(slave);
    return { verb: 'BYE', reason: 'stopped by an administrator' };
  }

  async #bye(from: MessageOrigin): Promise<SlaveAnswer> {
    const slave = this.#slaves.get(sessionOf(from));
    if (slave) {
      await this.#leases.release(slave);
      slave.setActivity('gone', this.clock.monotonicMs());
      this.#markChanged(slave);
      this.#slaves.delete(slave);
      this.#health.onLeave(slave);
      this.log.info(`slave disconnected slave=${String(slave.slaveId)} label=${slave.hello.label}`);
    }
    return { verb: 'BYE', reason: 'goodbye' };
  }

  /**
   * Runs the tasks of one session in sequence. Throws PIW_REFUSED if its user has too many requests pending.
   */
  #runSerially<T>(from: MessageOrigin, task: () => Promise<T>): Promise<T> {
    const { user, session } = sessionOf(from);
    const key = `${user}.${session}`;
    const pendingCount = (this.#pendingRequests.get(user) ?? 0) + 1;
    if (pendingCount > MAX_PENDING_REQUESTS_PER_USER)
      throw new PiwError(
        'PIW_REFUSED',
        `${user} already has ${String(MAX_PENDING_REQUESTS_PER_USER)} unanswered requests`,
      );
    this.#pendingRequests.set(user, pendingCount);
    const previous = this.#serialQueues.get(key) ?? Promise.resolve();
    const current = previous.then(task, task);
    this.#serialQueues.set(key, current);
    const release = () => {
      if (this.#serialQueues.get(key) === current) this.#serialQueues.delete(key);
      const remaining = (this.#pendingRequests.get(user) ?? 1) - 1;
      if (remaining > 0) this.#pendingRequests.set(user, remaining);
      else this.#pendingRequests.delete(user);
    };
    current.then(release, release);
    return current;
  }

  /** Saves an administrator's request, so that the next Slave Driver honors it too, then applies it. */
  async #saveRequest(
    slaveId: number | null,
    request: { readonly asleep: boolean | null; readonly kill: KillMode | null },
    apply: (slave: SlaveState) => unknown,
  ): Promise<readonly SlaveState[]> {
    const slaves = this.#slaves.findBySlaveId(slaveId);
    await this.#database.request('SETSLAVES', {
      slave_ids: slaves.map((slave) => slave.slaveId),
      ...request,
    });
    return await this.#applyAndWake(slaves, apply);
  }

  /** Applies a change to each slave and wakes it, whatever it is doing. */
  async #applyAndWake(
    slaves: readonly SlaveState[],
    apply: (slave: SlaveState) => unknown,
  ): Promise<readonly SlaveState[]> {
    for (const slave of slaves) {
      apply(slave);
      await this.#wake(slave);
    }
    return slaves;
  }

  /**
   * Waits until the slaves have been told BYE, at most `DISMISS_TIMEOUT_MS`: silent slaves never fetch it.
   */
  async #waitUntilGone(slaves: readonly SlaveState[]): Promise<void> {
    const deadline = this.clock.monotonicMs() + DISMISS_TIMEOUT_MS;
    while (this.clock.monotonicMs() < deadline && slaves.some(({ activity }) => activity !== 'gone'))
      await new Promise<void>((resolve) => this.clock.after(50, resolve));
  }

  async #wakeAll(matches: (slave: SlaveState) => boolean): Promise<void> {
    for (const slave of this.#slaves) {
      if (slave.activity === 'waiting' && matches(slave)) await this.#wake(slave);
    }
  }

  async #wake({ user, session }: SlaveState): Promise<void> {
    await new ProtocolClient(this.bus, wake, [wake.name, user, session]).publish('WAKE', {});
  }

  /** Monitors get the changed slaves a few times a second. */
  #markChanged(slave: SlaveState): void {
    this.#changedSlaves.add(slave);
  }

  async #publishChanges(): Promise<void> {
    const changed = [...this.#changedSlaves];
    this.#changedSlaves.clear();
    for (const slave of changed) await this.#status.publish('SLAVE', { slave: slave.toRow(this.#wallTime) });
  }

  #ensureBucket(user: string): Promise<void> {
    const ensured = this.#ensuredBuckets.get(user);
    if (ensured) return ensured;
    const making = this.bus.objects.ensure(bucketConfig(userBucketName(this.bus.prefix, user)));
    this.#ensuredBuckets.set(user, making);
    making.catch(() => this.#ensuredBuckets.delete(user));
    return making;
  }
}

const sessionOf = ({ tokens }: MessageOrigin): SessionKey => ({
  user: tokens[1] ?? '',
  session: tokens[2] ?? '',
});
