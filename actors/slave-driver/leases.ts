import { Batcher } from '../../src/concurrency/batcher.js';
import { ProtocolClient } from '../../src/actor/client.js';
import type { Clock } from '../../src/concurrency/clock.js';
import type { Bus } from '../../src/bus/bus.js';
import { PiwError } from '../../src/errors.js';
import { builds, type GrantReply } from '../../src/protocols/builds.js';
import { oracle } from '../../src/protocols/oracle.js';
import { formatTarget, type SlaveState } from './slave-state.js';

/** A question for a build is put again if there was something while it was under way; so often in all. */
const MAX_NEXT_ATTEMPTS = 3;
/** A lease that was renewed so short a time ago has not run out: it is not renewed again for a file, milliseconds. */
const RECENT_RENEWAL_MS = 10_000;
/** A lease is taken as expired this long before it is, for what is done under it takes time, milliseconds. */
const LEASE_MARGIN_MS = 20_000;
/** For how long after its last word the lease of one that sends is renewed, milliseconds. */
const SENDING_RENEWAL_LIMIT_MS = 3_600_000;

/**
 * The leases of slaves, which the Architect gives out and the database keeps. Questions of many slaves go
 * together.
 */
export class SlaveLeases {
  readonly #clock: Clock;
  readonly #fence: () => number;
  readonly #database: ProtocolClient<typeof oracle.verbs>;
  readonly #architect: ProtocolClient<typeof builds.verbs>;
  readonly #grantBatch: Batcher<SlaveState, GrantReply>;
  readonly #renewalBatch: Batcher<SlaveState, boolean>;
  /** How often each target became ready. */
  readonly #readyCounts = new Map<string, number>();

  readonly #reportGrantError: (error: PiwError | undefined) => void;

  /**
   * `fence`: the revision of the Slave Driver's own lease. `refused` hears why no build can be had, and undefined when
   * one can again: the slaves are only told to wait.
   */
  constructor(
    bus: Bus,
    clock: Clock,
    fence: () => number,
    reportGrantError: (error: PiwError | undefined) => void = () => undefined,
  ) {
    this.#reportGrantError = reportGrantError;
    this.#clock = clock;
    this.#fence = fence;
    this.#database = new ProtocolClient(bus, oracle, undefined, { timeoutMs: 10_000, patienceMs: 30_000 });
    // Put again only where nobody heard it: what was given out for a question that got no answer is nobody's.
    this.#architect = new ProtocolClient(bus, builds, undefined, { timeoutMs: 4000, patienceMs: 4000 });
    this.#grantBatch = new Batcher({
      run: (slaves) => this.#requestGrants(slaves),
      ...{ maxItems: 100, maxInFlight: 4, delayMs: 1 },
    });
    this.#renewalBatch = new Batcher({
      run: (slaves) => this.#requestRenewals(slaves),
      ...{ maxItems: 200, maxInFlight: 2, delayMs: 5 },
    });
  }

  /** There may be something for slaves of this target. */
  markReady(target: string): void {
    this.#readyCounts.set(target, (this.#readyCounts.get(target) ?? 0) + 1);
  }

  /** A build for a slave, or null; what becomes ready while it is asked for is asked for again. */
  async requestGrant(slave: SlaveState): Promise<GrantReply> {
    const target = formatTarget(slave.hello);
    for (let attempt = 1; ; attempt += 1) {
      const readyBefore = this.#readyCounts.get(target);
      const requestedAt = this.#clock.monotonicMs();
      const grant = await this.#grantBatch.add(slave).then(
        (granted) => {
          this.#reportGrantError(undefined);
          return granted;
        },
        (error: unknown) => {
          if (!(error instanceof PiwError)) throw error;
          this.#reportGrantError(error);
          return null;
        },
      );
      if (grant !== null) slave.renewedAt = requestedAt;
      if (grant !== null || attempt >= MAX_NEXT_ATTEMPTS || this.#readyCounts.get(target) === readyBefore)
        return grant;
    }
  }

  /** Renews a slave's lease. False: it is another's by now. True also if nobody answers: it is asked again soon. */
  async renew(slave: SlaveState): Promise<boolean> {
    try {
      return await this.#requestRenewal(slave);
    } catch (error) {
      if (error instanceof PiwError) return true;
      throw error;
    }
  }

  /**
   * Makes sure that the slave holds its lease for a while, so that what it has built may be published; it is renewed
   * unless that was confirmed a moment ago. False: it is another's by now. Throws what the Architect's silence is called
   * if the lease may have run out meanwhile.
   */
  async ensureHeld(slave: SlaveState): Promise<boolean> {
    const age = (): number => this.#clock.monotonicMs() - slave.renewedAt;
    if (age() < RECENT_RENEWAL_MS) return true;
    try {
      return await this.#requestRenewal(slave);
    } catch (error) {
      if (error instanceof PiwError && age() < slave.leaseSeconds * 1000 - LEASE_MARGIN_MS) return true;
      throw error;
    }
  }

  /** Nothing counts as renewed before the answer is in. */
  async #requestRenewal(slave: SlaveState): Promise<boolean> {
    const requestedAt = this.#clock.monotonicMs();
    const { lease } = slave;
    const held = await this.#renewalBatch.add(slave);
    if (held && slave.lease === lease) slave.renewedAt = requestedAt;
    return held;
  }

  /** Renews those of slaves that send, of which one is verified for minutes on a slow disk. */
  async renewSending(slaves: Iterable<SlaveState>, now: number): Promise<void> {
    const sending = [...slaves].filter(
      ({ build, lease, lastSeen }) =>
        build !== undefined && lease !== undefined && lastSeen > now - SENDING_RENEWAL_LIMIT_MS,
    );
    await Promise.all(sending.map((slave) => this.renew(slave)));
  }

  /** What a slave has goes back to the queue, and is given out again when `holdS` seconds are over. */
  async release(slave: SlaveState, holdS = 0): Promise<void> {
    if (slave.lease) {
      const leases: [number, number][] = [[slave.lease.lease, slave.slaveId]];
      await this.#architect.request('RELEASE', { leases, hold_s: holdS });
    }
    slave.clearBuild();
  }

  /**
   * Whether a slave has this lease; asked of the database where this process was not the one that gave it out. A
   * word about another one, that came late, changes nothing of what the slave has.
   */
  async holds(slave: SlaveState, lease: number): Promise<boolean> {
    if (slave.lease) return slave.lease.lease === lease;
    const record = await this.#database.request('GETLEASE', { lease, slave_id: slave.slaveId });
    const { package: name, version, abi, platform } = record;
    if (name === null || version === null || abi === null || platform === null) return false;
    slave.lease = { lease, package: name, version, abi, platform };
    return true;
  }

  async #requestGrants(slaves: readonly SlaveState[]): Promise<readonly GrantReply[]> {
    const { granted } = await this.#architect.request('NEXT', {
      fence: this.#fence(),
      lease_s: Math.max(...slaves.map((slave) => slave.leaseSeconds)),
      wants: slaves.map((slave) => [slave.slaveId, slave.hello.abi_tag, slave.hello.platform_tag]),
    });
    return granted;
  }

  async #requestRenewals(slaves: readonly SlaveState[]): Promise<readonly boolean[]> {
    const { lost } = await this.#architect.request('RENEW', {
      lease_s: Math.max(...slaves.map((slave) => slave.leaseSeconds)),
      leases: slaves.flatMap(({ lease, slaveId }) =>
        lease ? [[lease.lease, slaveId] as [number, number]] : [],
      ),
    });
    const lostLeases = new Set(lost);
    return slaves.map(({ lease }) => lease !== undefined && !lostLeases.has(lease.lease));
  }
}
