import { wallTime } from '../src/concurrency/clock.js';
import { Actor, type ActorContext, type MessageOrigin } from '../src/actor/actor.js';
import { ProtocolClient } from '../src/actor/client.js';
import { PiwError, errorMessage } from '../src/errors.js';
import { pending } from '../src/protocols/builds.js';
import { slaveControl, status } from '../src/protocols/control.js';
import { bucketConfig, userBucketName } from '../src/protocols/file-juggler.js';
import { oracle } from '../src/protocols/oracle.js';
import { type KillMode } from '../src/model/slave.js';
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
import { ResultRecorder, type FileVerdict } from './slave-driver/results.js';

export interface SlaveDriverSettings {
  readonly indexUrl: string;
  readonly extraIndexUrl: string | null;
  readonly registerTargets: boolean;
  /** What a build may use: seconds, bytes of log, bytes of a wheel. */
  readonly limits: readonly [number, number, number];
  /** Wheels that lack their compiled part are not published. */
  readonly refuseIncomplete: boolean;
}

type SlaveReply = Promise<SlaveAnswer> | SlaveAnswer;
type SlaveStats = SlaveState['stats'];

const DONE = { verb: 'DONE' } as const;
/** How long a slave waits at most when there is nothing for it; it is woken earlier. */
const MAX_SLEEP_S = 10;
/** How often it is looked whether a target that was unknown is registered by now, seconds. */
const TARGET_CHECK_INTERVAL_S = 5;
/** How often it is reviewed what has become of the failures of slaves that are set aside, seconds. */
const HEALTH_REVIEW_INTERVAL_S = 5;
/** How often the leases of those who send are renewed, seconds. */
const SENDING_RENEWAL_INTERVAL_S = 5;
/** How often it looks for files of lost builds whose time has come, seconds. */
const CLEANUP_INTERVAL_S = 60;
/** What a slave was to give up may be another's so much later, seconds: not the same one's again at once. */
const SKIP_COOLDOWN_S = 600;
/** What a slave that is out of order had is another's so much later, seconds. */
const REQUEUE_COOLDOWN_S = 60;
/** A build whose result the database refuses is not given out again for this long, seconds: it would go the same way. */
const UNLOGGABLE_COOLDOWN_S = 3600;
/** What a build may take over its limit, for what is done before and after it, seconds. */
const BUILD_GRACE_S = 3600;
/** How long it is waited for slaves to hear that they are to end, milliseconds. */
const DISMISS_TIMEOUT_MS = 3000;
/** A clock that is wrong by more than this is said so. */
const MAX_CLOCK_SKEW_MS = 300_000;
/** How many unanswered questions a user may have: a slave has one for every interpreter, and one more. */
const MAX_PENDING_REQUESTS_PER_USER = 1000;

/**
 * Talks to the build slaves. The slaves drive: each asks, and is told what to do next (the table of
 * questions and answers stands in protocols/slave-driver.ts). For each session:
 *
 *   HELLO   makes it known, whatever was before
 *   IDLE    a build is asked of the Architect, who grants it as a lease; if the slave was given one
 *           whose BUILD got lost, it is given the same again
 *   REST    it can't work now, and says why; what it had is given back
 *   BUSY    the lease is renewed; DONE when it is another's by now, or is to be given up
 *   BUILT   a failure is logged; files of a success are checked against the lease, announced to the
 *           File Juggler and asked for, one by one
 *   SENT    the File Juggler verifies; then the next file, or, when all are in place, the build is
 *           logged and its pages are due. While the farm's disk is full or fails, the slave is told to WAIT:
 *           it keeps its lease and its files, and what has arrived of them stays
 *
 * Everything is kept by the database (leases, results) or the slave (the files, until DONE). What is
 * in memory here is lost with the process: a session that isn't known is answered
 * PIW_UNKNOWN_SLAVE, says HELLO again and repeats itself; SENT without a build is answered
 * PIW_UNKNOWN_TRANSFER, and the slave says BUILT again. Questions of one session are answered one
 * after the other, so that one that was put twice finds what the first has done.
 */
export class SlaveDriver extends Actor {
  readonly #settings: SlaveDriverSettings;
  readonly #slaves = new SlaveSessions();
  readonly #serialQueues = new Map<string, Promise<unknown>>();
  readonly #pendingRequests = new Map<string, number>();
  readonly #unknownTargets = new Set<string>();
  /** Users that have begun too many sessions. */
  readonly #usersOverSessionLimit = new Set<string>();
  readonly #changedSlaves = new Set<SlaveState>();
  readonly #ensuredBuckets = new Map<string, Promise<void>>();
  readonly #database: ProtocolClient<typeof oracle.verbs>;
  readonly #status: ProtocolClient<typeof status.verbs>;
  readonly #leases: SlaveLeases;
  readonly #results: ResultRecorder;
  readonly #health: SlaveHealthMonitor;

  readonly #wallTime = (monotonicMs: number): number => wallTime(this.clock, monotonicMs);

  constructor(context: ActorContext, settings: SlaveDriverSettings) {
    super(context);
    this.#settings = settings;
    const { bus, log } = this;
    this.#database = new ProtocolClient(bus, oracle, undefined, { timeoutMs: 10_000, patienceMs: 30_000 });
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
            `no build can be had: ${error.code}: ${error.message}`,
          );
        else this.conditions.clear('no-builds', context.task);
      },
    );
    this.#results = new ResultRecorder({
      ...{ bus, log, maxWheelBytes: settings.limits[2], slaves: this.#slaves },
      track: (what) => this.runInBackground(what),
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
        REST: withSlave<{ reason: string; stats: SlaveStats }>((slave, { reason: why, stats }) => {
          slave.stats = stats;
          return this.#rest(slave, why);
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
    this.every(CLEANUP_INTERVAL_S, () => this.#results.removeLeftovers(), CLEANUP_INTERVAL_S);
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
      this.log.warning(`a slave of version ${hello.version} was refused`);
      return { verb: 'BYE', reason };
    }
    const refusal = targetRefusal(hello);
    if (refusal !== undefined) {
      this.log.warning(`a slave of ${user} was refused: ${refusal}`);
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
    // One that is known began anew on our side only: what it was given is still its own.
    const existing = this.#slaves.get(key);
    const slave = existing ?? new SlaveState(slave_id, user, session, hello, known_target, now);
    Object.assign(slave, { hello, known: known_target, asleep, kill, lastSeen: now });
    if (!existing) this.#slaves.add(slave);
    await this.#health.onHello(slave, set_aside);
    if (Math.abs(hello.clock - this.clock.now()) > MAX_CLOCK_SKEW_MS)
      this.log.warning(
        `the clock of slave ${String(slave_id)} (${hello.label}) differs from this one by minutes`,
      );
    const target = formatTarget(hello);
    this.log.info(`slave ${String(slave_id)} (${hello.label}) says HELLO: ${target}`);
    if (!known_target && !this.#unknownTargets.has(target)) {
      this.#unknownTargets.add(target);
      this.log.warning(
        `nothing is built for ${target}: piw abi add ${hello.abi_tag} --platform ${hello.platform_tag}`,
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

  /** A user that begins too many sessions is told of in the log, once. */
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
    // It has forgotten what it was doing (it never got BUILD, or lost its result).
    await this.#leases.release(slave);
    if (this.paused) return this.#sleep(slave, 'the master is paused');
    const idleReason = slave.idleReason(this.clock.monotonicMs(), this.#wallTime);
    if (idleReason !== undefined) return this.#sleep(slave, idleReason);
    if (!slave.known) return this.#sleep(slave, 'nothing is built for its ABI and platform');
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
    this.log.debug(`slave ${String(slave.slaveId)} builds ${name} ${version}`);
    this.#markChanged(slave);
    return order;
  }

  /** Slaves of a target that has been registered since their HELLO begin to work. */
  async #checkTargets(): Promise<void> {
    const unregistered = [...this.#slaves].filter(({ known }) => !known);
    if (unregistered.length === 0) return;
    const { targets } = await this.#database.request('GETABIS', {});
    const registered = new Set(targets.map(({ abi, platform }) => `${abi} on ${platform}`));
    for (const slave of unregistered) slave.known = registered.has(formatTarget(slave.hello));
    for (const target of registered) this.#unknownTargets.delete(target);
    await this.#wakeAll((slave) => slave.known && unregistered.includes(slave));
  }

  /** Not now: because there is nothing, or for a reason that people are shown. */
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

  async #rest(slave: SlaveState, why: string): Promise<SlaveAnswer> {
    if (slave.kill !== null) return this.#dismiss(slave);
    if (slave.activity !== 'resting') {
      this.log.warning(`slave ${String(slave.slaveId)} (${slave.hello.label}) takes no work: ${why}`);
    }
    await this.#leases.release(slave);
    return this.#sleep(slave, why, 'resting');
  }

  /** It is to give up what it builds. */
  async #skipBuild(slave: SlaveState): Promise<SlaveAnswer> {
    const { package: name = '', version = '' } = slave.lease ?? {};
    this.log.info(`slave ${String(slave.slaveId)} gives up ${name} ${version}: an administrator said so`);
    await this.#leases.release(slave, SKIP_COOLDOWN_S);
    return this.#becomeIdle(slave);
  }

  async #busy(slave: SlaveState, lease: number): Promise<SlaveAnswer> {
    if (!(await this.#leases.holds(slave, lease))) return DONE;
    slave.unacknowledgedOrder = undefined;
    if (slave.skip) return await this.#skipBuild(slave);
    const limitS = Math.min(this.#settings.limits[0], slave.hello.build_timeout_s) + BUILD_GRACE_S;
    if (slave.activity === 'building' && this.clock.monotonicMs() - slave.since > limitS * 1000) {
      this.log.warning(`slave ${String(slave.slaveId)}: its build takes longer than it may; it goes back`);
      await this.#leases.release(slave, REQUEUE_COOLDOWN_S);
      return this.#becomeIdle(slave);
    }
    if (slave.activity !== 'sending') slave.setActivity('building', this.clock.monotonicMs());
    return (await this.#leases.renew(slave)) ? { verb: 'CONT' } : this.#becomeIdle(slave);
  }

  async #built(slave: SlaveState, built: BuiltMessage): Promise<SlaveAnswer> {
    if (!(await this.#leases.holds(slave, built.lease))) {
      this.log.info(
        `slave ${String(slave.slaveId)}: the result of lease ${String(built.lease)} is not wanted any more`,
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
      const reason = built.status ? 'the build succeeded but made no wheel' : built.details.reason;
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
    const refusal = this.#results.refusalReason(build, hello.platform_tag);
    if (refusal !== undefined) return this.#rejectResult(slave, built, refusal);
    if (!(await this.#leases.ensureHeld(slave))) return this.#dropLostResult(slave);
    slave.build = build;
    const verdict = await this.#results.expect(slave, build);
    return verdict.is === 'wait' ? this.#wait(slave, verdict) : this.#requestNextFile(slave, build);
  }

  async #sent(slave: SlaveState, lease: number, filename: string): Promise<SlaveAnswer> {
    const build = slave.build;
    const transfer = build?.files.find(({ file }) => file.filename === filename);
    if (!build || !transfer || build.lease.lease !== lease) {
      throw new PiwError('PIW_UNKNOWN_TRANSFER', `lease ${String(lease)} has no file ${filename} under way`);
    }
    if (slave.skip) return await this.#skipBuild(slave);
    // What is verified is published: not for a build that is another's by now.
    if (!(await this.#leases.ensureHeld(slave))) return this.#dropLostResult(slave);
    const verdict = await this.#results.verify(slave, build, transfer);
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

  /** The farm can't take its files now. It is no fault of the slave's, nor of what it has built. */
  #wait(slave: SlaveState, { reason, seconds }: Extract<FileVerdict, { is: 'wait' }>): SlaveAnswer {
    if (slave.activity !== 'sending' || slave.note !== reason) {
      this.log.info(`slave ${String(slave.slaveId)} waits with its files: ${reason}`);
      slave.setActivity('sending', this.clock.monotonicMs(), reason);
      this.#markChanged(slave);
    }
    return { verb: 'WAIT', seconds, reason };
  }

  /** Its file arrives damaged again and again: the build is another slave's for now, and nothing is recorded. */
  async #abandonBuild(slave: SlaveState, why: string): Promise<SlaveAnswer> {
    this.log.warning(
      `slave ${String(slave.slaveId)}: a file was refused, and its build goes back to the queue: ${why}`,
    );
    slave.recordEnvironmentFailure(this.clock.monotonicMs());
    await this.#leases.release(slave, REQUEUE_COOLDOWN_S);
    return this.#becomeIdle(slave);
  }

  /**
   * True: so many of its builds have failed for reasons of its surroundings that this one says nothing of its
   * package. It goes back to the queue, and the slave rests.
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
      `slave ${String(slave.slaveId)} (${slave.hello.label}) is out of order, and rests for ${String(restMs / 60_000)} min: ${lastLine.slice(0, 300)}`,
    );
    await this.#leases.release(slave, REQUEUE_COOLDOWN_S);
    return true;
  }

  #dropLostResult(slave: SlaveState): SlaveAnswer {
    this.log.info(`slave ${String(slave.slaveId)}: its lease ran out; its result is not wanted any more`);
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

  /** The slave's files will not do: the build failed, and its log says why. */
  #rejectResult(slave: SlaveState, built: BuiltMessage, why: string): Promise<SlaveAnswer> {
    this.log.warning(`slave ${String(slave.slaveId)}: a file was refused: ${why}`);
    const output = `${built.output}\npiw: the master refused the result: ${why}\n`;
    const details = { ...built.details, reason: toSentence(`the master refused the result: ${why}`) };
    return this.#logResult(
      slave,
      { ...built, ...{ status: false, failure_class: 'wrong-wheel', output, files: [] }, details },
      [],
    );
  }

  /** Logs the result, which ends the lease. */
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
      // The slave would only say the same again, and get the same answer.
      if (error.code === 'PIW_FILE_EXISTS' && files.length > 0)
        return this.#rejectResult(slave, built, error.message);
      if (error.code !== 'PIW_DATABASE_FAULT') throw error;
      this.log.error(`slave ${String(slave.slaveId)}: its result can't be logged: ${error.message}`);
      await this.#leases.release(slave, UNLOGGABLE_COOLDOWN_S);
    }
    if (countsForHealth) {
      const { status: worked, failure_class: failureClass, duration_s: durationS } = built;
      await this.#health
        .recordResult(slave, { package: name, failed: !worked, failureClass, durationS })
        .catch((error: unknown) => {
          if (!(error instanceof PiwError)) throw error;
          this.log.warning(
            `slave ${String(slave.slaveId)} is compared with the others later: ${error.message}`,
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
    return { verb: 'BYE', reason: 'an administrator said so' };
  }

  async #bye(from: MessageOrigin): Promise<SlaveAnswer> {
    const slave = this.#slaves.get(sessionOf(from));
    if (slave) {
      await this.#leases.release(slave);
      slave.setActivity('gone', this.clock.monotonicMs());
      this.#markChanged(slave);
      this.#slaves.delete(slave);
      this.#health.onLeave(slave);
      this.log.info(`slave ${String(slave.slaveId)} (${slave.hello.label}) says BYE`);
    }
    return { verb: 'BYE', reason: 'goodbye' };
  }

  /** The answers to one session's questions, one after the other. */
  #runSerially<T>(from: MessageOrigin, task: () => Promise<T>): Promise<T> {
    const { user, session } = sessionOf(from);
    const key = `${user}.${session}`;
    const pendingCount = (this.#pendingRequests.get(user) ?? 0) + 1;
    if (pendingCount > MAX_PENDING_REQUESTS_PER_USER)
      throw new PiwError(
        'PIW_REFUSED',
        `${user} has asked ${String(MAX_PENDING_REQUESTS_PER_USER)} questions at once`,
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

  /** Keeps an administrator's wish, also for a Slave Driver that comes after this one. */
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

  /** Has them say something now, whatever they are doing. */
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

  /** Until they were told BYE; those that say nothing are not waited for. */
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

  /** Monitors are told a few times a second, of those that have changed. */
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
