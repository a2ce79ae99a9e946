import type { MachineStats } from '../protocols/fields.js';
import type { SlaveHello } from '../protocols/slave-driver.js';
import type { SlaveStatus } from '../protocols/control.js';
import type { KillMode } from '../protocols/oracle.js';
import type { BuildState, LeaseState } from './build-state.js';

/**
 * What a slave is doing, by what it said last and was told:
 *
 *   idle      it said HELLO, or was told DONE; it is about to ask for work
 *   waiting   it was told SLEEP: there is nothing for it, or it isn't to have any
 *   resting   it said REST: it can't do anything now
 *   building  it was told BUILD
 *   sending   it was told SEND
 *   gone      it said BYE, or was told it
 */
export type SlaveActivity = 'idle' | 'waiting' | 'resting' | 'building' | 'sending' | 'gone';

/** So many builds in a row that fail for reasons of its surroundings tell of the slave, and of no package. */
const ENVIRONMENT_FAILURES_BEFORE_REST = 3;
const REST_MS = { first: 60_000, max: 1_800_000 };

/** What people read for a time of the monotonic clock: milliseconds since 1970. */
type WallTime = (monotonicMs: number) => number;

/** What is known of one session of one slave. All of it can be had again from the slave's HELLO. */
export class SlaveState {
  readonly slaveId: number;
  readonly user: string;
  readonly session: string;
  hello: SlaveHello;
  /** Its target is registered. */
  known: boolean;
  activity: SlaveActivity = 'idle';
  lease: LeaseState | undefined;
  /**
   * When the last request was sent that gave or renewed its lease, as its answer confirmed; milliseconds by the monotonic
   * clock.
   */
  renewedAt = -Infinity;
  /** The answer that gave out the lease, for a slave that did not get it. */
  unacknowledgedOrder: unknown;
  build: BuildState | undefined;
  /** Files of this build that an earlier build for the same target has published, with other contents. */
  readonly rebuiltFilenames = new Set<string>();
  stats: MachineStats | undefined;
  /** An administrator's wishes: BYE, no more work, and to give up what it builds. */
  kill: KillMode | null = null;
  asleep = false;
  skip = false;
  /** It gets no work but a probe now and then, for its builds fail more often than those of others. */
  setAside: { readonly since: number; readonly reason: string; nextProbe: number } | undefined;
  /** Why it does nothing, for people. */
  note: string | null = null;
  /** How many of its builds have failed in a row for reasons of its surroundings. */
  #environmentFailures = 0;
  #restUntil = 0;
  since: number;
  lastSeen: number;

  constructor(
    slaveId: number,
    user: string,
    session: string,
    hello: SlaveHello,
    known: boolean,
    now: number,
  ) {
    this.slaveId = slaveId;
    this.user = user;
    this.session = session;
    this.hello = hello;
    this.known = known;
    this.since = now;
    this.lastSeen = now;
  }

  /** The slave is doing something else from now on. */
  setActivity(activity: SlaveActivity, now: number, note: string | null = null): void {
    if (this.activity !== activity) this.since = now;
    this.activity = activity;
    this.note = note;
  }

  /**
   * One of its builds has failed for reasons of its surroundings. The first few are taken for what they say
   * of their packages; after that it is the slave itself that is out of order, and it gets nothing for a
   * while: a minute, and twice as long each time. Gives for how long, milliseconds; 0: not yet.
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

  /** Whatever was in its way is so no longer. */
  clearEnvironmentFailures(): void {
    this.#environmentFailures = 0;
    this.#restUntil = 0;
  }

  /** Why it is to get no work now; undefined: it may. */
  idleReason(now: number, wallTime: WallTime): string | undefined {
    if (this.asleep) return 'an administrator said so';
    if (now >= this.#restUntil) return undefined;
    const until = new Date(wallTime(this.#restUntil)).toISOString().slice(11, 16);
    return `${String(this.#environmentFailures)} builds in a row failed for reasons of its surroundings; the next at ${until} UTC`;
  }

  /** Nothing is being built any more. */
  clearBuild(): void {
    this.lease = undefined;
    this.renewedAt = -Infinity;
    this.unacknowledgedOrder = undefined;
    this.build = undefined;
    this.rebuiltFilenames.clear();
    this.skip = false;
  }

  /** Seconds after which a lease of this slave runs out unless it is renewed. */
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

/** What a slave builds for, as people call it. */
export const formatTarget = (hello: SlaveHello): string => `${hello.abi_tag} on ${hello.platform_tag}`;
