import { Batch } from '../../src/actor/batch.js';
import { Client } from '../../src/actor/client.js';
import type { Clock } from '../../src/actor/clock.js';
import type { Bus } from '../../src/bus/bus.js';
import { PiwError } from '../../src/errors.js';
import { builds, type Grant } from '../../src/protocols/builds.js';
import { oracle } from '../../src/protocols/oracle.js';
import { targetOf, type SlaveState } from '../../src/states/slave-state.js';

/** A question for a build is put again if there was something while it was under way; so often in all. */
const ASKED = 3;
/** A lease that was renewed so short a time ago has not run out: it is not renewed again for a file, milliseconds. */
const LATELY_MS = 10_000;
/** A lease is taken as expired this long before it is, for what is done under it takes time, milliseconds. */
const MARGIN_MS = 20_000;
/** For how long after its last word the lease of one that sends is renewed, milliseconds. */
const SENDING_MS = 3_600_000;

/**
 * The leases of slaves, which the Architect gives out and the database keeps. Questions of many slaves go
 * together.
 */
export class Leases {
  readonly #clock: Clock;
  readonly #fence: () => number;
  readonly #database: Client<typeof oracle.verbs>;
  readonly #architect: Client<typeof builds.verbs>;
  readonly #next: Batch<SlaveState, Grant>;
  readonly #renew: Batch<SlaveState, boolean>;
  /** How often each target became ready. */
  readonly #ready = new Map<string, number>();

  readonly #refused: (error: PiwError | undefined) => void;

  /**
   * `fence`: the revision of the Slave Driver's own lease. `refused` hears why no build can be had, and undefined when
   * one can again: the slaves are only told to wait.
   */
  constructor(
    bus: Bus,
    clock: Clock,
    fence: () => number,
    refused: (error: PiwError | undefined) => void = () => undefined,
  ) {
    this.#refused = refused;
    this.#clock = clock;
    this.#fence = fence;
    this.#database = new Client(bus, oracle, undefined, { timeoutMs: 10_000, patienceMs: 30_000 });
    // Put again only where nobody heard it: what was given out for a question that got no answer is nobody's.
    this.#architect = new Client(bus, builds, undefined, { timeoutMs: 4000, patienceMs: 4000 });
    this.#next = new Batch({
      run: (slaves) => this.#askNext(slaves),
      ...{ maxItems: 100, maxInFlight: 4, delayMs: 1 },
    });
    this.#renew = new Batch({
      run: (slaves) => this.#askRenew(slaves),
      ...{ maxItems: 200, maxInFlight: 2, delayMs: 5 },
    });
  }

  /** There may be something for slaves of this target. */
  ready(target: string): void {
    this.#ready.set(target, (this.#ready.get(target) ?? 0) + 1);
  }

  /** A build for a slave, or null; what becomes ready while it is asked for is asked for again. */
  async next(slave: SlaveState): Promise<Grant> {
    const target = targetOf(slave.hello);
    for (let asked = 1; ; asked += 1) {
      const before = this.#ready.get(target);
      const sent = this.#clock.monotonicMs();
      const grant = await this.#next.add(slave).then(
        (granted) => {
          this.#refused(undefined);
          return granted;
        },
        (error: unknown) => {
          if (!(error instanceof PiwError)) throw error;
          this.#refused(error);
          return null;
        },
      );
      if (grant !== null) slave.renewed = sent;
      if (grant !== null || asked >= ASKED || this.#ready.get(target) === before) return grant;
    }
  }

  /** Renews a slave's lease. False: it is another's by now. True also if nobody answers: it is asked again soon. */
  async keep(slave: SlaveState): Promise<boolean> {
    try {
      return await this.#renewed(slave);
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
  async ensure(slave: SlaveState): Promise<boolean> {
    const age = (): number => this.#clock.monotonicMs() - slave.renewed;
    if (age() < LATELY_MS) return true;
    try {
      return await this.#renewed(slave);
    } catch (error) {
      if (error instanceof PiwError && age() < slave.leaseSeconds * 1000 - MARGIN_MS) return true;
      throw error;
    }
  }

  /** Nothing counts as renewed before the answer is in. */
  async #renewed(slave: SlaveState): Promise<boolean> {
    const sent = this.#clock.monotonicMs();
    const { lease } = slave;
    const held = await this.#renew.add(slave);
    if (held && slave.lease === lease) slave.renewed = sent;
    return held;
  }

  /** Renews those of slaves that send, of which one is verified for minutes on a slow disk. */
  async keepSending(slaves: Iterable<SlaveState>, now: number): Promise<void> {
    const sending = [...slaves].filter(
      ({ build, lease, lastSeen }) =>
        build !== undefined && lease !== undefined && lastSeen > now - SENDING_MS,
    );
    await Promise.all(sending.map((slave) => this.keep(slave)));
  }

  /** What a slave has goes back to the queue, and is given out again when `holdS` seconds are over. */
  async giveBack(slave: SlaveState, holdS = 0): Promise<void> {
    if (slave.lease) {
      const leases: [number, number][] = [[slave.lease.lease, slave.slaveId]];
      await this.#architect.ask('RELEASE', { leases, hold_s: holdS });
    }
    slave.clear();
  }

  /**
   * Whether a slave has this lease; asked of the database where this process was not the one that gave it out. A
   * word about another one, that came late, changes nothing of what the slave has.
   */
  async holds(slave: SlaveState, lease: number): Promise<boolean> {
    if (slave.lease) return slave.lease.lease === lease;
    const known = await this.#database.ask('GETLEASE', { lease, slave_id: slave.slaveId });
    const { package: name, version, abi, platform } = known;
    if (name === null || version === null || abi === null || platform === null) return false;
    slave.lease = { lease, package: name, version, abi, platform };
    return true;
  }

  async #askNext(slaves: readonly SlaveState[]): Promise<readonly Grant[]> {
    const { granted } = await this.#architect.ask('NEXT', {
      fence: this.#fence(),
      lease_s: Math.max(...slaves.map((slave) => slave.leaseSeconds)),
      wants: slaves.map((slave) => [slave.slaveId, slave.hello.abi_tag, slave.hello.platform_tag]),
    });
    return granted;
  }

  async #askRenew(slaves: readonly SlaveState[]): Promise<readonly boolean[]> {
    const { lost } = await this.#architect.ask('RENEW', {
      lease_s: Math.max(...slaves.map((slave) => slave.leaseSeconds)),
      leases: slaves.flatMap(({ lease, slaveId }) =>
        lease ? [[lease.lease, slaveId] as [number, number]] : [],
      ),
    });
    const gone = new Set(lost);
    return slaves.map(({ lease }) => lease !== undefined && !gone.has(lease.lease));
  }
}
