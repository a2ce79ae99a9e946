import { Batcher } from '../../src/concurrency/batcher.js';
import { ProtocolClient } from '../../src/actor/client.js';
import type { Clock } from '../../src/concurrency/clock.js';
import type { Bus } from '../../src/bus/bus.js';
import { PiwError } from '../../src/errors.js';
import { builds, type GrantReply } from '../../src/protocols/builds.js';
import { oracle } from '../../src/protocols/oracle.js';
import { formatTarget, type SlaveState } from './slave-state.js';

/** Maximum attempts when READY arrived while the request was in flight. */
const MAX_NEXT_ATTEMPTS = 3;
/** A lease that was renewed within this many milliseconds is not renewed again for a file. */
const RECENT_RENEWAL_MS = 10_000;
/** A lease counts as expired this many milliseconds early, because the work done under it takes time. */
const LEASE_MARGIN_MS = 20_000;
/** Milliseconds after a slave's last message for which its lease is renewed while it sends files. */
const SENDING_RENEWAL_LIMIT_MS = 3_600_000;

/**
 * Manages the leases of slaves, which the Architect grants and the database keeps. The requests of many
 * slaves are batched.
 */
export class SlaveLeases {
  readonly #clock: Clock;
  readonly #assertLeader: () => number;
  readonly #oracle: ProtocolClient<typeof oracle.verbs>;
  readonly #architect: ProtocolClient<typeof builds.verbs>;
  readonly #grantBatch: Batcher<SlaveState, GrantReply>;
  readonly #renewalBatch: Batcher<SlaveState, boolean>;
  /** How many times each target became ready. */
  readonly #readyCounts = new Map<string, number>();

  readonly #reportGrantError: (error: PiwError | undefined) => void;

  /**
   * `assertLeader` returns the revision of the Slave Driver's own lease. `reportGrantError` is called with the
   * reason why no build can be granted, and with undefined when grants succeed again: the slaves themselves
   * are only told to wait.
   */
  constructor(
    bus: Bus,
    clock: Clock,
    assertLeader: () => number,
    reportGrantError: (error: PiwError | undefined) => void = () => undefined,
  ) {
    this.#reportGrantError = reportGrantError;
    this.#clock = clock;
    this.#assertLeader = assertLeader;
    this.#oracle = new ProtocolClient(bus, oracle, undefined, { timeoutMs: 10_000, patienceMs: 30_000 });
    // Retried only if nobody received it: a build that was granted to a request whose answer got lost would
    // belong to nobody.
    this.#architect = new ProtocolClient(bus, builds, undefined, { timeoutMs: 4000, patienceMs: 4000 });
    this.#grantBatch = new Batcher({
      run: (slaves) => this.#requestGrants(slaves),
      maxItems: 100,
      maxInFlight: 4,
      delayMs: 1,
    });
    this.#renewalBatch = new Batcher({
      run: (slaves) => this.#requestRenewals(slaves),
      maxItems: 200,
      maxInFlight: 2,
      delayMs: 5,
    });
  }

  /** Notes that there may be builds for this target. */
  markReady(target: string): void {
    this.#readyCounts.set(target, (this.#readyCounts.get(target) ?? 0) + 1);
  }

  /**
   * Requests a build for a slave. Returns null if there is none; retries if READY arrived while the request
   * was in flight.
   */
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

  /**
   * Renews a slave's lease. Returns false if the slave has lost it, and true also if nobody answers: the next
   * heartbeat tries again.
   */
  async renew(slave: SlaveState): Promise<boolean> {
    try {
      return await this.#requestRenewal(slave);
    } catch (error) {
      if (error instanceof PiwError) return true;
      throw error;
    }
  }

  /**
   * Ensures that the slave holds its lease for long enough that its files may be published; renews it unless
   * that was done a moment ago. Returns false if the slave has lost the lease. Throws the Architect's error
   * (e.g. a timeout) if the lease may have expired in the meantime.
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

  /** Renews a lease. It counts from the time of the request, but only once the answer has arrived. */
  async #requestRenewal(slave: SlaveState): Promise<boolean> {
    const requestedAt = this.#clock.monotonicMs();
    const { lease } = slave;
    const held = await this.#renewalBatch.add(slave);
    if (held && slave.lease === lease) slave.renewedAt = requestedAt;
    return held;
  }

  /** Renews the leases of slaves that are sending files: verifying one can take minutes on a slow disk. */
  async renewSending(slaves: Iterable<SlaveState>, now: number): Promise<void> {
    const sending = [...slaves].filter(
      ({ build, lease, lastSeen }) =>
        build !== undefined && lease !== undefined && lastSeen > now - SENDING_RENEWAL_LIMIT_MS,
    );
    await Promise.all(sending.map((slave) => this.renew(slave)));
  }

  /** Releases a slave's lease. Its build is queued again, and held back for `holdS` seconds. */
  async release(slave: SlaveState, holdS = 0): Promise<void> {
    if (slave.lease) {
      const leases: [number, number][] = [[slave.lease.lease, slave.slaveId]];
      await this.#architect.request('RELEASE', { leases, hold_s: holdS });
    }
    slave.clearBuild(this.#clock.monotonicMs());
  }

  /**
   * Returns whether a slave holds this lease. Asks the database if another process granted it. A late message
   * about a different lease does not change the slave's state.
   */
  async holds(slave: SlaveState, lease: number): Promise<boolean> {
    if (slave.lease) return slave.lease.lease === lease;
    const record = await this.#oracle.request('GETLEASE', { lease, slave_id: slave.slaveId });
    const { package: name, version, abi, platform } = record;
    if (name === null || version === null || abi === null || platform === null) return false;
    slave.hold({ lease, package: name, version, abi, platform }, this.#clock.monotonicMs());
    return true;
  }

  async #requestGrants(slaves: readonly SlaveState[]): Promise<readonly GrantReply[]> {
    const { granted } = await this.#architect.request('NEXT', {
      fence: this.#assertLeader(),
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
