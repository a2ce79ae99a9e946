import { wallTime, type Clock } from '../../src/concurrency/clock.js';
import { PiwError } from '../../src/errors.js';
import { failureClass, failurePolicy } from '../../src/failures/classes.js';
import type { Log, LogFields } from '../../src/log.js';
import type { MachineStats } from '../../src/model/fields.js';
import type { GrantReply } from '../../src/protocols/builds.js';
import type { Answer, Body } from '../../src/protocols/protocol.js';
import type { BuildOrder, BuiltMessage, SlaveVerbs } from '../../src/protocols/slave-driver.js';
import { BuildState } from './build-state.js';
import type { SlaveHealthMonitor } from './health.js';
import type { SlaveLeases } from './leases.js';
import type { FileVerdict, ResultFiles } from './result-files.js';
import { failureOf, refusedResult } from './result-rules.js';
import type { ResultRecorder } from './results.js';
import { SlaveState, type SlaveActivity } from './slave-state.js';

/** Maximum sleep of a slave that gets no work. WAKE ends the sleep earlier. */
const MAX_SLEEP_S = 10;
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

const DONE = { verb: 'DONE' } as const;

type SessionAnswer<K extends keyof SlaveVerbs> = Promise<Answer<SlaveVerbs, K>>;
type DoneAnswer = typeof DONE;
type WaitAnswer = Extract<Answer<SlaveVerbs, 'SENT'>, { verb: 'WAIT' }>;
type WaitVerdict = Extract<FileVerdict, { is: 'wait' }>;

/** What the sessions of a Slave Driver share. */
export interface SessionServices {
  readonly clock: Clock;
  readonly log: Log;
  readonly leases: SlaveLeases;
  readonly files: ResultFiles;
  readonly results: ResultRecorder;
  readonly health: SlaveHealthMonitor;
  /** Limits of one build: seconds, bytes of log, bytes of one wheel. */
  readonly limits: Readonly<BuildOrder['limits']>;
  /** Whether to refuse a wheel that lacks its compiled part, instead of publishing it. */
  readonly refuseIncomplete: boolean;
  readonly isPaused: () => boolean;
  /** Called when monitors have to be told of a change. */
  readonly onChange: (slave: SlaveState) => void;
}

/**
 * One session of one slave, from HELLO to BYE. Each method answers one of the slave's requests (see the table
 * of requests and answers in protocols/slave-driver.ts), and leaves the session in one of the states that
 * transitions.ts lists for the answer. The caller calls one method at a time.
 */
export class SlaveSession extends SlaveState {
  readonly #services: SessionServices;
  readonly #log: Log;

  constructor(services: SessionServices, ...state: ConstructorParameters<typeof SlaveState>) {
    super(...state);
    this.#services = services;
    this.#log = services.log.with({ slave: this.slaveId, label: this.hello.label });
  }

  /** Answers IDLE: the slave gets a build if it may have one and there is one. */
  async idle(stats: MachineStats): SessionAnswer<'IDLE'> {
    const { clock, leases, health, isPaused } = this.#services;
    this.stats = stats;
    if (this.kill !== null) return await this.dismiss();
    // The slave has not acknowledged its order, so the answer BUILD was lost: it is repeated.
    if (this.pendingOrder) return this.pendingOrder;
    // A slave that is idle but still holds a lease has lost its build, or given it up.
    await leases.release(this);
    if (isPaused()) return this.#sleep('the master is paused');
    const idleReason = this.idleReason(clock.monotonicMs(), (ms) => wallTime(clock, ms));
    if (idleReason !== undefined) return this.#sleep(idleReason);
    if (!this.targetRegistered) return this.#sleep('its ABI and platform are not registered');
    const setAsideReason = health.idleBecause(this);
    if (setAsideReason !== undefined) return this.#sleep(setAsideReason, 'resting');
    const grant = await leases.requestGrant(this);
    if (grant === null) return this.#sleep();
    health.onGrant(this);
    return this.#order(grant);
  }

  /** Answers REST: the slave can't work now, and says why. */
  async rest(reason: string, stats: MachineStats): SessionAnswer<'REST'> {
    const { leases } = this.#services;
    this.stats = stats;
    if (this.kill !== null) return await this.dismiss();
    if (this.activity !== 'resting') this.#log.warning('slave takes no work', { reason });
    await leases.release(this);
    return this.#sleep(reason, 'resting');
  }

  /** Answers BUSY: the lease is renewed. DONE if the slave has lost it, or its build is no longer wanted. */
  async busy(lease: number, stats: MachineStats): SessionAnswer<'BUSY'> {
    const { clock, leases, limits } = this.#services;
    this.stats = stats;
    if (!(await leases.holds(this, lease))) return DONE;
    this.pendingOrder = undefined;
    if (this.skip) return await this.#skipBuild();
    const limitS = Math.min(limits[0], this.hello.build_timeout_s) + BUILD_GRACE_S;
    if (this.activity === 'building' && clock.monotonicMs() - this.since > limitS * 1000) {
      const fields = { ...this.#buildFields, limit_s: limitS };
      this.#log.warning('build requeued: it exceeds its time limit', fields);
      return await this.#requeueBuild(REQUEUE_COOLDOWN_S);
    }
    return (await leases.renew(this)) ? { verb: 'CONT' } : this.#becomeIdle();
  }

  /** Answers BUILT: a failure is logged; the files of a success are requested one by one. */
  async built(built: BuiltMessage): SessionAnswer<'BUILT'> {
    const { leases, files, health, refuseIncomplete } = this.#services;
    const holdsLease = await leases.holds(this, built.lease);
    const { lease } = this;
    if (!holdsLease || !lease) {
      this.#log.info('result dropped: the slave no longer holds the lease', { lease: built.lease });
      return DONE;
    }
    this.pendingOrder = undefined;
    if (this.skip) return await this.#skipBuild();
    if (built.status) this.clearEnvironmentFailures();
    else if (await this.#restIfFaulty(built)) return this.#becomeIdle();
    const isIncomplete = built.status && built.details.remark !== null;
    const lacks = isIncomplete && health.hasBetterPeer(this) ? this.hello.lacks : [];
    const failure = failureOf(built, lacks, refuseIncomplete);
    if (failure) return await this.#logResult(failure);
    const build = new BuildState(lease, built);
    const refusal = files.refusalReason(build, this.hello.platform_tag);
    if (refusal !== undefined) return await this.#rejectResult(built, refusal);
    if (!(await leases.ensureHeld(this))) return this.#dropLostResult();
    this.build = build;
    const verdict = await files.expect(this, build);
    return verdict.is === 'wait' ? this.#wait(verdict) : await this.#requestNextFile(build);
  }

  /**
   * Answers SENT: the file is verified and published, and the next one requested, or the result logged. Throws
   * PIW_UNKNOWN_TRANSFER if the slave has to repeat BUILT. If another slave has published a file of this name
   * that will be listed at any moment, a caller that `awaitsListing` gets undefined, and calls this again later.
   */
  async sent(
    { lease, filename }: Body<SlaveVerbs, 'SENT'>,
    awaitsListing: boolean,
  ): Promise<Answer<SlaveVerbs, 'SENT'> | undefined> {
    const { leases, files } = this.#services;
    const { build } = this;
    const transfer = build?.files.find(({ file }) => file.filename === filename);
    if (!build || !transfer || build.lease.lease !== lease)
      throw new PiwError(
        'PIW_UNKNOWN_TRANSFER',
        `no transfer of ${filename} is in progress for lease ${lease}`,
      );
    if (this.skip) return await this.#skipBuild();
    // A verified file is published, so the slave must still hold the lease.
    if (!(await leases.ensureHeld(this))) return this.#dropLostResult();
    const verdict = await files.verify(this, build, transfer, awaitsListing);
    switch (verdict.is) {
      case 'refused':
        return await this.#rejectResult(build.built, verdict.reason);
      case 'given up':
        return await this.#abandonBuild(verdict.reason);
      case 'wait':
        return this.#wait(verdict);
      case 'unlisted':
        return undefined;
      case 'rebuilt':
        // The slave repeats BUILT and sends the file again. It is then verified as a rebuilt one, and gets a
        // build tag.
        this.rebuiltFilenames.add(filename);
        this.build = undefined;
        throw new PiwError('PIW_UNKNOWN_TRANSFER', `send ${filename} again`);
      default:
        return await this.#requestNextFile(build);
    }
  }

  /** Ends the session: the slave has said BYE. */
  async leave(): Promise<void> {
    const { leases, health } = this.#services;
    await leases.release(this);
    this.#enter('gone');
    health.onLeave(this);
    this.#log.info('slave disconnected');
  }

  /** Answers any request with BYE, because an administrator wants the slave to exit. */
  async dismiss(): SessionAnswer<'BYE'> {
    await this.#services.leases.release(this);
    this.#enter('gone');
    return { verb: 'BYE', reason: 'stopped by an administrator' };
  }

  /** Answers BUILD, and keeps the order until the slave has acknowledged it. */
  #order([lease, , name, version, sdist_url, sdist_sha256]: NonNullable<GrantReply>): BuildOrder {
    const { clock, limits } = this.#services;
    const { abi_tag: abi, platform_tag: platform } = this.hello;
    this.hold({ lease, package: name, version, abi, platform }, clock.monotonicMs());
    this.pendingOrder = {
      verb: 'BUILD',
      lease,
      package: name,
      version,
      abi,
      sdist_url,
      sdist_sha256,
      limits: [...limits],
    };
    this.#services.onChange(this);
    this.#log.debug('build granted', this.#buildFields);
    return this.pendingOrder;
  }

  /**
   * Answers SLEEP: there is no work for the slave, or it may not have any for the reason in `note`, which
   * people see.
   */
  #sleep(note: string | null = null, activity: 'waiting' | 'resting' = 'waiting') {
    this.#enter(activity, note);
    return {
      verb: 'SLEEP',
      seconds: MAX_SLEEP_S,
      paused: this.#services.isPaused() || this.asleep,
    } as const;
  }

  /** Answers WAIT: the farm can't take files now. Neither the slave nor its build is at fault. */
  #wait({ reason, seconds }: WaitVerdict): WaitAnswer {
    if (this.activity !== 'sending' || this.note !== reason)
      this.#log.info('slave waits to send its files', { ...this.#buildFields, reason });
    this.#enter('sending', reason);
    return { verb: 'WAIT', seconds, reason };
  }

  /** Answers SEND for the next file that has to arrive, or logs the result if all have. */
  async #requestNextFile(build: BuildState): SessionAnswer<'SENT'> {
    const next = build.nextFile;
    if (!next) return await this.#logResult(build.built, build.files);
    this.#enter('sending');
    return { verb: 'SEND', filename: next.file.filename, transfer_id: next.transferId };
  }

  /**
   * Requeues the build and lets the slave rest if too many of its builds in a row have failed for environmental
   * reasons: then this failure says nothing about its package. Returns whether that is so.
   */
  async #restIfFaulty({ failure_class, output }: BuiltMessage): Promise<boolean> {
    const { clock, leases } = this.#services;
    if (!failurePolicy(failureClass(failure_class)).environmental) {
      this.clearEnvironmentFailures();
      return false;
    }
    const restMs = this.recordEnvironmentFailure(clock.monotonicMs());
    if (restMs === 0) return false;
    const lastLine = output.trimEnd().split('\n').at(-1) ?? '';
    this.#log.warning('faulty slave rests', { rest_s: restMs / 1000, last_line: lastLine.slice(0, 300) });
    await leases.release(this, REQUEUE_COOLDOWN_S);
    return true;
  }

  /** Has the slave drop its current build, because an administrator skipped it. */
  async #skipBuild(): Promise<DoneAnswer> {
    this.#log.info('build skipped by an administrator', this.#buildFields);
    return await this.#requeueBuild(SKIP_COOLDOWN_S);
  }

  /** Requeues the build of a slave whose file keeps arriving damaged. Nothing is recorded as a failure. */
  async #abandonBuild(reason: string): Promise<DoneAnswer> {
    this.#log.warning('file refused and build requeued', { ...this.#buildFields, reason });
    this.recordEnvironmentFailure(this.#services.clock.monotonicMs());
    return await this.#requeueBuild(REQUEUE_COOLDOWN_S);
  }

  async #requeueBuild(cooldownS: number): Promise<DoneAnswer> {
    await this.#services.leases.release(this, cooldownS);
    return this.#becomeIdle();
  }

  #dropLostResult(): DoneAnswer {
    this.#log.info('result dropped: the lease expired', this.#buildFields);
    return this.#becomeIdle();
  }

  /** Logs a build whose files are unacceptable as failed. */
  async #rejectResult(built: BuiltMessage, reason: string): Promise<DoneAnswer> {
    this.#log.warning('file refused', { ...this.#buildFields, reason });
    return await this.#logResult(refusedResult(built, reason));
  }

  /** Logs the result, which ends the lease. */
  async #logResult(built: BuiltMessage, files: BuildState['files'] = []): Promise<DoneAnswer> {
    const { leases, results } = this.#services;
    try {
      const { package: name = '' } = this.lease ?? {};
      if (await results.log(this, built, files)) await this.#recordHealth(name, built);
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      // A repeated request would get the same error, so the build ends here.
      if (error.code === 'PIW_FILE_EXISTS' && files.length > 0)
        return await this.#rejectResult(built, error.message);
      if (error.code !== 'PIW_DATABASE_FAULT') throw error;
      this.#log.error('result could not be logged', this.#buildFields, error);
      await leases.release(this, UNLOGGABLE_COOLDOWN_S);
    }
    return this.#becomeIdle();
  }

  /** Compares the slave with the others after one of its results was logged. */
  async #recordHealth(
    name: string,
    { status: worked, failure_class, duration_s }: BuiltMessage,
  ): Promise<void> {
    try {
      await this.#services.health.recordResult(this, {
        package: name,
        failed: !worked,
        failureClass: failure_class,
        durationS: duration_s,
      });
    } catch (error) {
      if (!(error instanceof PiwError)) throw error;
      this.#log.warning('health check of the slave is postponed', {}, error);
    }
  }

  /** The build that a line of the log is about; empty if the slave has none. */
  get #buildFields(): LogFields {
    const { package: name, version, lease } = this.lease ?? {};
    return { package: name, version, lease };
  }

  /** Answers DONE: the slave's build is over. */
  #becomeIdle(): DoneAnswer {
    const { clock, onChange } = this.#services;
    this.clearBuild(clock.monotonicMs());
    this.setActivity('idle', clock.monotonicMs());
    onChange(this);
    return DONE;
  }

  /** Records what the slave is doing from now on; has monitors told if that, or the note, has changed. */
  #enter(activity: SlaveActivity, note: string | null = null): void {
    const { clock, onChange } = this.#services;
    if (this.setActivity(activity, clock.monotonicMs(), note)) onChange(this);
  }
}
