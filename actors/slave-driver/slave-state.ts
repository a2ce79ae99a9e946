import type { MachineStats } from '../../src/model/fields.js';
import type { BuildOrder, SlaveHello } from '../../src/protocols/slave-driver.js';
import type { SlaveStatus } from '../../src/protocols/control.js';
import type { KillMode } from '../../src/model/slave.js';
import type { BuildState } from './build-state.js';
import type { BuildLease } from '../../src/model/lease-state.js';

/**
 * What a slave is doing, by the last messages between it and the master:
 *
 *   idle      it sent HELLO, or received DONE; it is about to ask for work
 *   waiting   it received SLEEP: there is no work for it, or it may not have any (the farm is paused, it was put to sleep,
 *             its target is not registered, several of its builds in a row failed because of its environment)
 *   resting   it received SLEEP because it sent REST (its machine can't work now), or because it is set aside
 *   building  it received BUILD
 *   sending   it received SEND
 *   gone      it sent or received BYE
 */
export type SlaveActivity = 'idle' | 'waiting' | 'resting' | 'building' | 'sending' | 'gone';

/** From this many environmental failures in a row on, the slave is at fault and not the packages. */
const ENVIRONMENT_FAILURES_BEFORE_REST = 3;
const REST_MS = { first: 60_000, max: 1_800_000 };

/** Converts a time of the monotonic clock to wall-clock time, milliseconds since 1970. */
type WallTime = (monotonicMs: number) => number;

/**
 * The state of one session of one slave, which can be rebuilt from the slave's next HELLO. The slave holds a lease
 * exactly while it is building or sending.
 */
export class SlaveState {
  readonly slaveId: number;
  readonly user: string;
  readonly session: string;
  hello: SlaveHello;
  targetRegistered: boolean;
  #activity: SlaveActivity = 'idle';
  #lease: BuildLease | undefined;
  /** When the last successful request for its lease or for a renewal of it was sent: monotonic time, ms. */
  renewedAt = -Infinity;
  /** The answer that granted the lease, kept until the slave has acknowledged it. */
  pendingOrder: BuildOrder | undefined;
  build: BuildState | undefined;
  /** Files of this build that an earlier build for the same target has published with other contents. */
  readonly rebuiltFilenames = new Set<string>();
  stats: MachineStats | undefined;
  /** Requests of an administrator: to send BYE, to give it no more work, and to abandon its current build. */
  kill: KillMode | null = null;
  asleep = false;
  skip = false;
  /** Set if its builds fail more often than those of other slaves: it gets only an occasional probe. */
  setAside: { readonly since: number; readonly reason: string; nextProbe: number } | undefined;
  /** Why it is not working, for people. */
  note: string | null = null;
  /** How many of its builds in a row have failed because of its environment. */
  #environmentFailures = 0;
  #restUntil = 0;
  since: number;
  lastSeen: number;

  constructor(
    slaveId: number,
    user: string,
    session: string,
    hello: SlaveHello,
    targetRegistered: boolean,
    now: number,
  ) {
    this.slaveId = slaveId;
    this.user = user;
    this.session = session;
    this.hello = hello;
    this.targetRegistered = targetRegistered;
    this.since = now;
    this.lastSeen = now;
  }

  get activity(): SlaveActivity {
    return this.#activity;
  }

  get lease(): BuildLease | undefined {
    return this.#lease;
  }

  /** Records what the slave is doing from now on, and returns whether that or the note has changed. */
  protected setActivity(activity: SlaveActivity, now: number, note: string | null = null): boolean {
    const hasChanged = this.#activity !== activity || this.note !== note;
    if (this.#activity !== activity) this.since = now;
    this.#activity = activity;
    this.note = note;
    return hasChanged;
  }

  /** Records that the slave holds a lease, and builds under it. */
  hold(lease: BuildLease, now: number): void {
    this.#lease = lease;
    this.setActivity('building', now);
  }

  /** Forgets the lease and the build. A slave that was building or sending is idle now. */
  clearBuild(now: number): void {
    if (this.#lease) this.setActivity('idle', now);
    this.#lease = undefined;
    this.renewedAt = -Infinity;
    this.pendingOrder = undefined;
    this.build = undefined;
    this.rebuiltFilenames.clear();
    this.skip = false;
  }

  /**
   * Counts a build that failed because of the slave's environment. The first few count as failures of their packages;
   * after that the slave itself is taken to be broken and gets no work for a while: a minute, and twice as long each
   * time. Returns for how long, milliseconds; 0 means not yet.
   */
  recordEnvironmentFailure(now: number): number {
    this.#environmentFailures += 1;
    if (this.#environmentFailures < ENVIRONMENT_FAILURES_BEFORE_REST) return 0;
    const rest = Math.min(
      REST_MS.first * 2 ** (this.#environmentFailures - ENVIRONMENT_FAILURES_BEFORE_REST),
      REST_MS.max,
    );
    this.#restUntil = now + rest;
    return rest;
  }

  /** Resets the count and ends the rest: the slave's environment works again. */
  clearEnvironmentFailures(): void {
    this.#environmentFailures = 0;
    this.#restUntil = 0;
  }

  /** Returns why the slave gets no work now, for people; undefined if it may have work. */
  idleReason(now: number, wallTime: WallTime): string | undefined {
    if (this.asleep) return 'put to sleep by an administrator';
    if (now >= this.#restUntil) return undefined;
    const until = new Date(wallTime(this.#restUntil)).toISOString().slice(11, 16);
    return `${this.#environmentFailures} builds in a row failed because of this machine's environment; next build at ${until} UTC`;
  }

  /** The duration of this slave's leases, seconds; a lease expires unless it is renewed within it. */
  get leaseSeconds(): number {
    return Math.min(Math.max(60, this.hello.busy_interval_s * 3), 3600);
  }

  toRow(wallTime: WallTime): SlaveStatus {
    return {
      slave_id: this.slaveId,
      user: this.user,
      label: this.hello.label,
      abi: this.hello.abi_tag,
      platform: this.hello.platform_tag,
      state: this.activity,
      package: this.lease?.package ?? null,
      version: this.lease?.version ?? null,
      since: wallTime(this.since),
      last_seen: wallTime(this.lastSeen),
      note: this.note,
      stats: this.stats ?? null,
    };
  }
}

/** Returns the target that a slave builds for, for people: "cp311 on linux_x86_64". */
export const formatTarget = (hello: SlaveHello): string => `${hello.abi_tag} on ${hello.platform_tag}`;
