import { wallTime } from '../src/actor/clock.js';
import { Actor, type ActorContext, type From } from '../src/actor/actor.js';
import { Client } from '../src/actor/client.js';
import { PiwError, reason } from '../src/errors.js';
import { pending } from '../src/protocols/builds.js';
import { slaveControl, status } from '../src/protocols/control.js';
import { bucketFor, bucketOf } from '../src/protocols/file-juggler.js';
import { oracle, type Kill } from '../src/protocols/oracle.js';
import {
  slaveDriver,
  wake,
  type BuildOrder,
  type Built,
  type SlaveAnswer,
  type SlaveHello,
} from '../src/protocols/slave-driver.js';
import { sentenceOf } from '../src/states/build-details.js';
import { BuildState } from '../src/states/build-state.js';
import { failureClass, failureKind } from '../src/states/failure.js';
import { Sessions, type SessionKey } from '../src/states/sessions.js';
import { SlaveState, targetOf } from '../src/states/slave-state.js';
import { PROTOCOL, VERSION } from '../src/version.js';
import { refuseTarget } from '../src/wheels/accept.js';
import { Health } from './slave-driver/health.js';
import { Leases } from './slave-driver/leases.js';
import { Results, type FileVerdict } from './slave-driver/results.js';

export interface SlaveDriverSettings {
  readonly indexUrl: string;
  readonly extraIndexUrl: string | null;
  readonly registerTargets: boolean;
  /** What a build may use: seconds, bytes of log, bytes of a wheel. */
  readonly limits: readonly [number, number, number];
  /** Wheels that lack their compiled part are not published. */
  readonly refuseIncomplete: boolean;
}

type Told = Promise<SlaveAnswer> | SlaveAnswer;
type Stats = SlaveState['stats'];

const DONE = { verb: 'DONE' } as const;
/** How long a slave waits at most when there is nothing for it; it is woken earlier. */
const SLEEP_S = 10;
/** How often it is looked whether a target that was unknown is registered by now, seconds. */
const TARGETS_S = 5;
/** How often it is reviewed what has become of the failures of slaves that are set aside, seconds. */
const REVIEW_S = 5;
/** How often the leases of those who send are renewed, seconds. */
const SENDING_S = 5;
/** How often it looks for files of lost builds whose time has come, seconds. */
const CLEAN_UP_S = 60;
/** What a slave was to give up may be another's so much later, seconds: not the same one's again at once. */
const SKIPPED_S = 600;
/** What a slave that is out of order had is another's so much later, seconds. */
const HELD_S = 60;
/** A build whose result the database refuses is not given out again for this long, seconds: it would go the same way. */
const UNLOGGABLE_HOLD_S = 3600;
/** What a build may take over its limit, for what is done before and after it, seconds. */
const OVERTIME_S = 3600;
/** How long it is waited for slaves to hear that they are to end, milliseconds. */
const GONE_MS = 3000;
/** A clock that is wrong by more than this is said so. */
const CLOCK_MS = 300_000;
/** How many unanswered questions a user may have: a slave has one for every interpreter, and one more. */
const QUESTIONS = 1000;

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
  readonly #slaves = new Sessions();
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #questions = new Map<string, number>();
  readonly #unknownTargets = new Set<string>();
  /** Users that have begun too many sessions. */
  readonly #tooMany = new Set<string>();
  readonly #changed = new Set<SlaveState>();
  readonly #buckets = new Map<string, Promise<void>>();
  readonly #database: Client<typeof oracle.verbs>;
  readonly #status: Client<typeof status.verbs>;
  readonly #leases: Leases;
  readonly #results: Results;
  readonly #health: Health;

  readonly #wallTime = (monotonicMs: number): number => wallTime(this.clock, monotonicMs);

  constructor(context: ActorContext, settings: SlaveDriverSettings) {
    super(context);
    this.#settings = settings;
    const { bus, log } = this;
    this.#database = new Client(bus, oracle, undefined, { timeoutMs: 10_000, patienceMs: 30_000 });
    this.#status = new Client(bus, status);
    this.#leases = new Leases(
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
    this.#results = new Results({
      ...{ bus, log, maxFile: settings.limits[2], slaves: this.#slaves },
      track: (what) => this.track(what),
    });
    this.#health = new Health({
      ...{ bus, log, clock: this.clock, conditions: this.conditions, slaves: this.#slaves },
    });
  }

  override start(): void {
    const turn =
      <M>(handle: (slave: SlaveState, message: M) => Told) =>
      (message: M, from: From): Promise<never> =>
        this.#inTurn(from, async () => {
          const slave = this.#slaves.known(sessionOf(from));
          slave.lastSeen = this.clock.monotonicMs();
          if (slave.kill === 'now') return (await this.#dismiss(slave)) as never;
          return (await handle(slave, message)) as never;
        });
    this.serve(
      slaveDriver,
      {
        HELLO: (hello, from) => this.#inTurn(from, () => this.#hello(hello, from)) as never,
        IDLE: turn<{ stats: Stats }>((slave, { stats }) => {
          slave.stats = stats;
          return this.#idle(slave);
        }),
        REST: turn<{ reason: string; stats: Stats }>((slave, { reason: why, stats }) => {
          slave.stats = stats;
          return this.#rest(slave, why);
        }),
        BUSY: turn<{ lease: number; stats: Stats }>((slave, { lease, stats }) => {
          slave.stats = stats;
          return this.#busy(slave, lease);
        }),
        BUILT: turn<Built>((slave, built) => this.#built(slave, built)),
        SENT: turn<{ lease: number; filename: string }>((slave, sent) =>
          this.#sent(slave, sent.lease, sent.filename),
        ),
        BYE: (_, from) => this.#inTurn(from, () => this.#bye(from)) as never,
      },
      {
        tokens: [slaveDriver.name, '*', '*'],
        concurrency: 10_000,
        senderOf: ({ tokens }) => tokens[1] ?? '',
        bucketOf: ({ tokens }) => bucketOf(this.bus.prefix, tokens[1] ?? ''),
      },
    );
    this.serve(slaveControl, {
      KILL: async ({ slave_id, after_build }) => {
        const kill = after_build ? 'after' : 'now';
        const slaves = await this.#wish(slave_id, { asleep: null, kill }, (slave) => (slave.kill = kill));
        if (!after_build) await this.#untilGone(slaves);
        return DONE;
      },
      SLEEP: async ({ slave_id }) => {
        await this.#wish(slave_id, { asleep: true, kill: null }, (slave) => (slave.asleep = true));
        return DONE;
      },
      WAKE: async ({ slave_id }) => {
        for (const slave of this.#slaves.named(slave_id)) await this.#health.wake(slave);
        await this.#wish(slave_id, { asleep: false, kill: null }, (slave) => {
          slave.asleep = false;
          slave.fine();
        });
        return DONE;
      },
      SKIP: async ({ slave_id }) => {
        await this.#prompt(this.#slaves.named(slave_id), (slave) => (slave.skip = slave.lease !== undefined));
        return DONE;
      },
      HELLO: async () => {
        const slaves = [...this.#slaves].map((slave) => slave.row(this.#wallTime));
        for (const slave of slaves) await this.#status.publish('SLAVE', { slave });
        return { verb: 'SLAVES', slaves } as const;
      },
    });
    this.serve(
      pending,
      {
        READY: ({ abi, platform }) => {
          const target = `${abi} on ${platform}`;
          this.#leases.ready(target);
          return this.#wakeAll(({ hello }) => targetOf(hello) === target);
        },
      },
      { queue: null },
    );
    this.every(0.25, () => this.#tell());
    this.every(SENDING_S, () => this.#leases.keepSending(this.#slaves, this.clock.monotonicMs()));
    this.every(CLEAN_UP_S, () => this.#results.cleanUp(), CLEAN_UP_S);
    this.every(TARGETS_S, () => this.#lookForTargets());
    this.every(REVIEW_S, () => this.#health.review());
    this.every(
      60,
      () => {
        this.#slaves.forget(this.clock.monotonicMs());
      },
      60,
    );
  }

  protected override async pauseChanged(): Promise<void> {
    if (!this.paused) await this.#wakeAll(() => true);
  }

  async #hello(hello: SlaveHello, from: From): Promise<SlaveAnswer> {
    const key = sessionOf(from);
    const { user, session } = key;
    const protocol = Number(hello.version.split('/')[1]);
    if (protocol !== PROTOCOL) {
      const reason = `this master is piw ${VERSION} with protocol ${String(PROTOCOL)}; install the same version here`;
      this.log.warning(`a slave of version ${hello.version} was refused`);
      return { verb: 'BYE', reason };
    }
    const fault = refuseTarget(hello);
    if (fault !== undefined) {
      this.log.warning(`a slave of ${user} was refused: ${fault}`);
      return { verb: 'BYE', reason: fault };
    }
    this.#admit(key);
    await this.#bucket(user);
    const { slave_id, known_target, asleep, kill, set_aside } = await this.#database.ask('HELLOSLAVE', {
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
    const known = this.#slaves.get(key);
    const slave = known ?? new SlaveState(slave_id, user, session, hello, known_target, now);
    Object.assign(slave, { hello, known: known_target, asleep, kill, lastSeen: now });
    if (!known) this.#slaves.add(slave);
    await this.#health.greet(slave, set_aside);
    if (Math.abs(hello.clock - this.clock.now()) > CLOCK_MS)
      this.log.warning(
        `the clock of slave ${String(slave_id)} (${hello.label}) differs from this one by minutes`,
      );
    const target = targetOf(hello);
    this.log.info(`slave ${String(slave_id)} (${hello.label}) says HELLO: ${target}`);
    if (!known_target && !this.#unknownTargets.has(target)) {
      this.#unknownTargets.add(target);
      this.log.warning(
        `nothing is built for ${target}: piw abi add ${hello.abi_tag} --platform ${hello.platform_tag}`,
      );
    }
    this.#show(slave);
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
      this.#tooMany.delete(key.user);
    } catch (error) {
      if (!this.#tooMany.has(key.user)) this.log.warning(reason(error));
      this.#tooMany.add(key.user);
      throw error;
    }
  }

  async #idle(slave: SlaveState): Promise<SlaveAnswer> {
    if (slave.kill !== null) return this.#dismiss(slave);
    if (slave.order !== undefined) return slave.order as SlaveAnswer;
    // It has forgotten what it was doing (it never got BUILD, or lost its result).
    await this.#leases.giveBack(slave);
    if (this.paused) return this.#sleep(slave, 'the master is paused');
    const why = slave.idleBecause(this.clock.monotonicMs(), this.#wallTime);
    if (why !== undefined) return this.#sleep(slave, why);
    if (!slave.known) return this.#sleep(slave, 'nothing is built for its ABI and platform');
    const aside = this.#health.idleBecause(slave);
    if (aside !== undefined) return this.#sleep(slave, aside, 'resting');
    const grant = await this.#leases.next(slave);
    if (grant === null) return this.#sleep(slave);
    this.#health.granted(slave);
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
    slave.order = order;
    slave.become('building', this.clock.monotonicMs());
    this.log.debug(`slave ${String(slave.slaveId)} builds ${name} ${version}`);
    this.#show(slave);
    return order;
  }

  /** Slaves of a target that has been registered since their HELLO begin to work. */
  async #lookForTargets(): Promise<void> {
    const idle = [...this.#slaves].filter(({ known }) => !known);
    if (idle.length === 0) return;
    const { targets } = await this.#database.ask('GETABIS', {});
    const registered = new Set(targets.map(({ abi, platform }) => `${abi} on ${platform}`));
    for (const slave of idle) slave.known = registered.has(targetOf(slave.hello));
    for (const target of registered) this.#unknownTargets.delete(target);
    await this.#wakeAll((slave) => slave.known && idle.includes(slave));
  }

  /** Not now: because there is nothing, or for a reason that people are shown. */
  #sleep(
    slave: SlaveState,
    why: string | null = null,
    activity: 'waiting' | 'resting' = 'waiting',
  ): SlaveAnswer {
    if (slave.activity !== activity || slave.note !== why) {
      slave.become(activity, this.clock.monotonicMs(), why);
      this.#show(slave);
    }
    return { verb: 'SLEEP', seconds: SLEEP_S, paused: this.paused || slave.asleep };
  }

  async #rest(slave: SlaveState, why: string): Promise<SlaveAnswer> {
    if (slave.kill !== null) return this.#dismiss(slave);
    if (slave.activity !== 'resting') {
      this.log.warning(`slave ${String(slave.slaveId)} (${slave.hello.label}) takes no work: ${why}`);
    }
    await this.#leases.giveBack(slave);
    return this.#sleep(slave, why, 'resting');
  }

  /** It is to give up what it builds. */
  async #skipped(slave: SlaveState): Promise<SlaveAnswer> {
    const { package: name = '', version = '' } = slave.lease ?? {};
    this.log.info(`slave ${String(slave.slaveId)} gives up ${name} ${version}: an administrator said so`);
    await this.#leases.giveBack(slave, SKIPPED_S);
    return this.#done(slave);
  }

  async #busy(slave: SlaveState, lease: number): Promise<SlaveAnswer> {
    if (!(await this.#leases.holds(slave, lease))) return DONE;
    slave.order = undefined;
    if (slave.skip) return await this.#skipped(slave);
    const most = Math.min(this.#settings.limits[0], slave.hello.build_timeout_s) + OVERTIME_S;
    if (slave.activity === 'building' && this.clock.monotonicMs() - slave.since > most * 1000) {
      this.log.warning(`slave ${String(slave.slaveId)}: its build takes longer than it may; it goes back`);
      await this.#leases.giveBack(slave, HELD_S);
      return this.#done(slave);
    }
    if (slave.activity !== 'sending') slave.become('building', this.clock.monotonicMs());
    return (await this.#leases.keep(slave)) ? { verb: 'CONT' } : this.#done(slave);
  }

  async #built(slave: SlaveState, built: Built): Promise<SlaveAnswer> {
    if (!(await this.#leases.holds(slave, built.lease))) {
      this.log.info(
        `slave ${String(slave.slaveId)}: the result of lease ${String(built.lease)} is not wanted any more`,
      );
      return DONE;
    }
    slave.order = undefined;
    const { lease, hello } = slave;
    if (!lease) return this.#done(slave);
    if (slave.skip) return await this.#skipped(slave);
    if (!built.status && (await this.#outOfOrder(slave, built))) return this.#done(slave);
    if (built.status) slave.fine();
    if (built.status && built.details.remark !== null && this.#health.hasBetter(slave)) {
      const reason = sentenceOf(`the slave is at fault: ${hello.lacks.join('; ')}`);
      const failed = { status: false, failure_class: 'no-compiler', files: [] };
      return this.#finish(slave, {
        ...built,
        ...failed,
        details: { ...built.details, reason, remark: null },
      });
    }
    if (!built.status || built.files.length === 0) {
      const failure = built.status ? 'no-wheel' : built.failure_class;
      const reason = built.status ? 'the build succeeded but made no wheel' : built.details.reason;
      const details = { ...built.details, reason };
      return this.#finish(slave, { ...built, status: false, failure_class: failure, details, files: [] }, []);
    }
    const { remark } = built.details;
    if (remark !== null && this.#settings.refuseIncomplete) {
      const details = { ...built.details, reason: remark, remark: null };
      return this.#finish(
        slave,
        { ...built, status: false, failure_class: 'incomplete', details, files: [] },
        [],
      );
    }
    const build = new BuildState(lease, built);
    const refusal = this.#results.refusal(build, hello.platform_tag);
    if (refusal !== undefined) return this.#refused(slave, built, refusal);
    if (!(await this.#leases.ensure(slave))) return this.#lost(slave);
    slave.build = build;
    const expected = await this.#results.expect(slave, build);
    return expected.is === 'wait' ? this.#wait(slave, expected) : this.#send(slave, build);
  }

  async #sent(slave: SlaveState, lease: number, filename: string): Promise<SlaveAnswer> {
    const build = slave.build;
    const transfer = build?.files.find(({ file }) => file.filename === filename);
    if (!build || !transfer || build.lease.lease !== lease) {
      throw new PiwError('PIW_UNKNOWN_TRANSFER', `lease ${String(lease)} has no file ${filename} under way`);
    }
    if (slave.skip) return await this.#skipped(slave);
    // What is verified is published: not for a build that is another's by now.
    if (!(await this.#leases.ensure(slave))) return this.#lost(slave);
    const verdict = await this.#results.verify(slave, build, transfer);
    switch (verdict.is) {
      case 'refused':
        return this.#refused(slave, build.built, verdict.why);
      case 'given up':
        return this.#givenUp(slave, verdict.why);
      case 'wait':
        return this.#wait(slave, verdict);
      default:
        return this.#send(slave, build);
    }
  }

  /** The farm can't take its files now. It is no fault of the slave's, nor of what it has built. */
  #wait(slave: SlaveState, { why, seconds }: Extract<FileVerdict, { is: 'wait' }>): SlaveAnswer {
    if (slave.activity !== 'sending' || slave.note !== why) {
      this.log.info(`slave ${String(slave.slaveId)} waits with its files: ${why}`);
      slave.become('sending', this.clock.monotonicMs(), why);
      this.#show(slave);
    }
    return { verb: 'WAIT', seconds, reason: why };
  }

  /** Its file arrives damaged again and again: the build is another slave's for now, and nothing is recorded. */
  async #givenUp(slave: SlaveState, why: string): Promise<SlaveAnswer> {
    this.log.warning(
      `slave ${String(slave.slaveId)}: a file was refused, and its build goes back to the queue: ${why}`,
    );
    slave.trouble(this.clock.monotonicMs());
    await this.#leases.giveBack(slave, HELD_S);
    return this.#done(slave);
  }

  /**
   * True: so many of its builds have failed for reasons of its surroundings that this one says nothing of its
   * package. It goes back to the queue, and the slave rests.
   */
  async #outOfOrder(slave: SlaveState, { failure_class, output }: Built): Promise<boolean> {
    if (!failureKind(failureClass(failure_class)).surroundings) {
      slave.fine();
      return false;
    }
    const restMs = slave.trouble(this.clock.monotonicMs());
    if (restMs === 0) return false;
    const last = output.trimEnd().split('\n').at(-1) ?? '';
    this.log.warning(
      `slave ${String(slave.slaveId)} (${slave.hello.label}) is out of order, and rests for ${String(restMs / 60_000)} min: ${last.slice(0, 300)}`,
    );
    await this.#leases.giveBack(slave, HELD_S);
    return true;
  }

  #lost(slave: SlaveState): SlaveAnswer {
    this.log.info(`slave ${String(slave.slaveId)}: its lease ran out; its result is not wanted any more`);
    return this.#done(slave);
  }

  async #send(slave: SlaveState, build: BuildState): Promise<SlaveAnswer> {
    const next = build.nextFile;
    if (!next) return this.#finish(slave, build.built, build.files);
    if (slave.activity !== 'sending' || slave.note !== null) {
      slave.become('sending', this.clock.monotonicMs());
      this.#show(slave);
    }
    return { verb: 'SEND', filename: next.file.filename, transfer_id: next.transferId };
  }

  /** The slave's files will not do: the build failed, and its log says why. */
  #refused(slave: SlaveState, built: Built, why: string): Promise<SlaveAnswer> {
    this.log.warning(`slave ${String(slave.slaveId)}: a file was refused: ${why}`);
    const output = `${built.output}\npiw: the master refused the result: ${why}\n`;
    const details = { ...built.details, reason: sentenceOf(`the master refused the result: ${why}`) };
    return this.#finish(
      slave,
      { ...built, ...{ status: false, failure_class: 'wrong-wheel', output, files: [] }, details },
      [],
    );
  }

  /** Logs the result, which ends the lease. */
  async #finish(slave: SlaveState, built: Built, files: BuildState['files'] = []): Promise<SlaveAnswer> {
    const { package: name = '' } = slave.lease ?? {};
    let counts = false;
    try {
      counts = await this.#results.log(slave, built, files);
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      // The slave would only say the same again, and get the same answer.
      if (error.code === 'PIW_FILE_EXISTS' && files.length > 0)
        return this.#refused(slave, built, error.message);
      if (error.code !== 'PIW_DATABASE_FAULT') throw error;
      this.log.error(`slave ${String(slave.slaveId)}: its result can't be logged: ${error.message}`);
      await this.#leases.giveBack(slave, UNLOGGABLE_HOLD_S);
    }
    if (counts) {
      const { status: worked, failure_class: failureClass, duration_s: durationS } = built;
      await this.#health
        .note(slave, { package: name, failed: !worked, failureClass, durationS })
        .catch((error: unknown) => {
          if (!(error instanceof PiwError)) throw error;
          this.log.warning(
            `slave ${String(slave.slaveId)} is compared with the others later: ${error.message}`,
          );
        });
    }
    return this.#done(slave);
  }

  #done(slave: SlaveState): SlaveAnswer {
    slave.clear();
    slave.become('idle', this.clock.monotonicMs());
    this.#show(slave);
    return DONE;
  }

  async #dismiss(slave: SlaveState): Promise<SlaveAnswer> {
    await this.#leases.giveBack(slave);
    slave.become('gone', this.clock.monotonicMs());
    this.#show(slave);
    return { verb: 'BYE', reason: 'an administrator said so' };
  }

  async #bye(from: From): Promise<SlaveAnswer> {
    const slave = this.#slaves.get(sessionOf(from));
    if (slave) {
      await this.#leases.giveBack(slave);
      slave.become('gone', this.clock.monotonicMs());
      this.#show(slave);
      this.#slaves.delete(slave);
      this.#health.gone(slave);
      this.log.info(`slave ${String(slave.slaveId)} (${slave.hello.label}) says BYE`);
    }
    return { verb: 'BYE', reason: 'goodbye' };
  }

  /** The answers to one session's questions, one after the other. */
  #inTurn<T>(from: From, what: () => Promise<T>): Promise<T> {
    const { user, session } = sessionOf(from);
    const key = `${user}.${session}`;
    const questions = (this.#questions.get(user) ?? 0) + 1;
    if (questions > QUESTIONS)
      throw new PiwError('PIW_REFUSED', `${user} has asked ${String(QUESTIONS)} questions at once`);
    this.#questions.set(user, questions);
    const before = this.#turns.get(key) ?? Promise.resolve();
    const mine = before.then(what, what);
    this.#turns.set(key, mine);
    const over = () => {
      if (this.#turns.get(key) === mine) this.#turns.delete(key);
      const left = (this.#questions.get(user) ?? 1) - 1;
      if (left > 0) this.#questions.set(user, left);
      else this.#questions.delete(user);
    };
    mine.then(over, over);
    return mine;
  }

  /** Keeps an administrator's wish, also for a Slave Driver that comes after this one. */
  async #wish(
    slaveId: number | null,
    wish: { readonly asleep: boolean | null; readonly kill: Kill | null },
    apply: (slave: SlaveState) => unknown,
  ): Promise<readonly SlaveState[]> {
    const slaves = this.#slaves.named(slaveId);
    await this.#database.ask('SETSLAVES', { slave_ids: slaves.map((slave) => slave.slaveId), ...wish });
    return await this.#prompt(slaves, apply);
  }

  /** Has them say something now, whatever they are doing. */
  async #prompt(
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
  async #untilGone(slaves: readonly SlaveState[]): Promise<void> {
    const until = this.clock.monotonicMs() + GONE_MS;
    while (this.clock.monotonicMs() < until && slaves.some(({ activity }) => activity !== 'gone'))
      await new Promise<void>((resolve) => this.clock.after(50, resolve));
  }

  async #wakeAll(which: (slave: SlaveState) => boolean): Promise<void> {
    for (const slave of this.#slaves) {
      if (slave.activity === 'waiting' && which(slave)) await this.#wake(slave);
    }
  }

  async #wake({ user, session }: SlaveState): Promise<void> {
    await new Client(this.bus, wake, [wake.name, user, session]).publish('WAKE', {});
  }

  /** Monitors are told a few times a second, of those that have changed. */
  #show(slave: SlaveState): void {
    this.#changed.add(slave);
  }

  async #tell(): Promise<void> {
    const changed = [...this.#changed];
    this.#changed.clear();
    for (const slave of changed) await this.#status.publish('SLAVE', { slave: slave.row(this.#wallTime) });
  }

  #bucket(user: string): Promise<void> {
    const known = this.#buckets.get(user);
    if (known) return known;
    const making = this.bus.objects.ensure(bucketFor(bucketOf(this.bus.prefix, user)));
    this.#buckets.set(user, making);
    making.catch(() => this.#buckets.delete(user));
    return making;
  }
}

const sessionOf = ({ tokens }: From): SessionKey => ({ user: tokens[1] ?? '', session: tokens[2] ?? '' });
