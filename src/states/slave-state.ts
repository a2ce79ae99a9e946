import type { Stats } from '../protocols/fields.js';
import type { SlaveHello } from '../protocols/slave-driver.js';
import type { SlaveRow } from '../protocols/control.js';
import type { BuildState, LeaseState } from './build-state.js';

/**
 * What a slave is doing, by what it said last and was told:
 *
 *   idle      it said HELLO, or was told DONE; it is about to ask for work
 *   waiting   it was told SLEEP
 *   building  it was told BUILD
 *   sending   it was told SEND
 *   gone      it said BYE, or was told it
 */
export type SlaveActivity = 'idle' | 'waiting' | 'building' | 'sending' | 'gone';

/** What is known of one session of one slave. All of it can be had again from the slave's HELLO. */
export class SlaveState {
  readonly slaveId: number;
  readonly user: string;
  readonly session: string;
  readonly hello: SlaveHello;
  /** Its target is registered. */
  known: boolean;
  activity: SlaveActivity = 'idle';
  lease: LeaseState | undefined;
  /** The answer that gave out the lease, for a slave that did not get it. */
  order: unknown;
  build: BuildState | undefined;
  /** Files that were removed, because nothing listed them, to make room for those of this build. */
  readonly madeRoom = new Set<string>();
  stats: Stats | undefined;
  /** An administrator's wish, obeyed at its next question. */
  kill = false;
  asleep = false;
  skip = false;
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
  become(activity: SlaveActivity, now: number): void {
    if (this.activity !== activity) this.since = now;
    this.activity = activity;
  }

  /** Nothing is being built any more. */
  clear(): void {
    this.lease = undefined;
    this.order = undefined;
    this.build = undefined;
    this.madeRoom.clear();
    this.skip = false;
  }

  /** Seconds after which a lease of this slave runs out unless it is renewed. */
  get leaseSeconds(): number {
    return Math.min(Math.max(60, this.hello.busy_interval_s * 3), 86_400);
  }

  row(): SlaveRow {
    return {
      slave_id: this.slaveId,
      label: this.hello.label,
      abi: this.hello.abi_tag,
      platform: this.hello.platform_tag,
      state: this.activity,
      package: this.lease?.package ?? null,
      version: this.lease?.version ?? null,
      since: this.since,
      last_seen: this.lastSeen,
      stats: this.stats ?? null,
    };
  }
}
