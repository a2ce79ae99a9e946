import { ProtocolClient } from '../../src/actor/client.js';
import type { Clock } from '../../src/concurrency/clock.js';
import type { Conditions } from '../../src/actor/conditions.js';
import type { Bus } from '../../src/bus/bus.js';
import type { Log } from '../../src/log.js';
import { oracle } from '../../src/protocols/oracle.js';
import type { SetAside } from '../../src/protocols/slave-health.js';
import { failureClass, failurePolicy } from '../../src/failures/classes.js';
import { SlaveComparison, isAcquitted, type Suspicion } from './slave-comparison.js';
import { formatTarget, type SlaveState } from './slave-state.js';

/** Kind of the condition for a slave that is set aside. */
const SET_ASIDE_CONDITION = 'slave-set-aside';
/** Kind of the condition for a slave that lacks something that builds need. */
const INCOMPLETE_CONDITION = 'slave-incomplete';
/**
 * Milliseconds until the next probe of a slave that is set aside: half the time that it has been set aside,
 * within these bounds.
 */
const PROBE_DELAY_MS = { min: 600_000, max: 6 * 3_600_000 };
/** Consecutive successful probes that end it. */
const REQUIRED_PROBES = 3;
/** A slave counts as connected if it was heard within this many milliseconds. */
const LIVENESS_WINDOW_MS = 120_000;

interface SlaveHealthMonitorOptions {
  readonly bus: Bus;
  readonly log: Log;
  readonly clock: Clock;
  readonly conditions: Conditions;
  /** All slaves that have said HELLO. */
  readonly slaves: Iterable<SlaveState>;
}

/** How a slave's build ended. */
interface SlaveBuildOutcome {
  readonly package: string;
  readonly failed: boolean;
  readonly failureClass: string | null;
  readonly durationS: number;
}

/**
 * Finds faulty slaves by comparing each with the others of its target:
 *
 *   well       --its failures stand out (SlaveComparison)-->                             set aside
 *   set aside  --a probe is due--> gets one build; if that fails, the next probe is later
 *   set aside  --three probes in a row succeed, other slaves confirm its failures, or WAKE--> well
 *
 * A build that fails on a slave that is set aside goes back to the queue until another slave has failed it,
 * too. All durable state is in the database: which slaves are set aside, and the results by which they are
 * compared. Each new Slave Driver loads its memory from there.
 */
export class SlaveHealthMonitor {
  readonly #options: SlaveHealthMonitorOptions;
  readonly #oracle: ProtocolClient<typeof oracle.verbs>;
  readonly #comparisons = new Map<string, SlaveComparison>();
  /** Slaves by the kind and subject of the conditions raised for them. */
  readonly #raisedConditions = new Map<string, SlaveState>();
  #loading: Promise<void> | undefined;
  /** Whether there may be something to review. */
  #reviewDue = true;

  constructor(options: SlaveHealthMonitorOptions) {
    this.#options = options;
    this.#oracle = new ProtocolClient(options.bus, oracle, undefined, {
      timeoutMs: 10_000,
      patienceMs: 30_000,
    });
  }

  /**
   * Handles a HELLO. `recorded` is what the database has about this slave, or an earlier session of it, being
   * set aside.
   */
  async onHello(slave: SlaveState, recorded: SetAside | null): Promise<void> {
    const { conditions, clock } = this.#options;
    const { lacks } = slave.hello;
    if (lacks.length > 0) {
      conditions.raise(
        INCOMPLETE_CONDITION,
        subjectOf(slave),
        `${lacks.join('; ')}: packages that need it are built by other slaves`,
      );
      this.#raisedConditions.set(`${INCOMPLETE_CONDITION} ${subjectOf(slave)}`, slave);
    }
    if (recorded === null) return;
    const [recordedSlaveId, since, reason] = recorded;
    if (recordedSlaveId !== slave.slaveId) {
      const isEarlierSessionLive = [...this.#options.slaves].some(
        (other) =>
          other.slaveId === recordedSlaveId && other.lastSeen > clock.monotonicMs() - LIVENESS_WINDOW_MS,
      );
      if (isEarlierSessionLive) return;
      await this.#oracle.request('SETASIDE', { slave_id: slave.slaveId, reason, since });
    }
    this.#markSetAside(slave, reason, since);
  }

  /**
   * Returns whether another connected slave of the same target has what this one lacks. That slave would make
   * a complete wheel where this one made an incomplete one.
   */
  hasBetterPeer(slave: SlaveState): boolean {
    const { clock, slaves } = this.#options;
    if (slave.hello.lacks.length === 0) return false;
    return [...slaves].some(
      ({ hello, lastSeen, setAside }) =>
        formatTarget(hello) === formatTarget(slave.hello) &&
        hello.lacks.length === 0 &&
        setAside === undefined &&
        lastSeen > clock.monotonicMs() - LIVENESS_WINDOW_MS,
    );
  }

  /** Returns why a slave gets no work now; undefined if it may have some, or a probe is due. */
  idleBecause(slave: SlaveState): string | undefined {
    const { setAside } = slave;
    const now = this.#options.clock.now();
    // A probe that is further ahead than the maximum delay means that the clock was set back.
    if (!setAside || now >= setAside.nextProbe || setAside.nextProbe - now > PROBE_DELAY_MS.max)
      return undefined;
    const at = new Date(setAside.nextProbe).toISOString().slice(11, 16);
    return `set aside: ${setAside.reason}; a probe at ${at} UTC, or piw slaves wake ${slave.slaveId}`;
  }

  /** Handles a grant. For a slave that is set aside it counts as a probe. */
  onGrant(slave: SlaveState): void {
    if (slave.setAside) this.#delayProbe(slave.setAside);
  }

  /** Records the result of a build that was logged: a success or a final failure. */
  async recordResult(
    slave: SlaveState,
    { package: name, failed, failureClass: rawFailureClass, durationS }: SlaveBuildOutcome,
  ): Promise<void> {
    if (failed && failurePolicy(failureClass(rawFailureClass)).environmental) return;
    await this.#load();
    const now = this.#options.clock.now();
    const comparison = this.#comparisonFor(formatTarget(slave.hello));
    const { slaveId } = slave;
    comparison.record({ slaveId, package: name, failed, began: now - durationS * 1000, ended: now });
    if (slave.setAside) await this.#recordProbe(slave, slave.setAside, comparison, failed);
    else if (failed) {
      const suspicion = comparison.suspicion(slaveId);
      if (suspicion) await this.#setAside(slave, suspicion);
    }
  }

  /** Puts a slave back to work, on an administrator's request or because it was acquitted. */
  async endSetAside(slave: SlaveState): Promise<void> {
    if (!slave.setAside) return;
    await this.#oracle.request('SETASIDE', { slave_id: slave.slaveId, reason: null, since: 0 });
    slave.setAside = undefined;
    // Without this, monitors would show the old note until the slave asks for work again, a few seconds from
    // now.
    slave.note = null;
    this.#comparisonFor(formatTarget(slave.hello)).forget(slave.slaveId);
    this.#clearCondition(SET_ASIDE_CONDITION, slave);
  }

  /** Clears the conditions of a slave that has left. */
  onLeave(slave: SlaveState): void {
    this.#clearCondition(SET_ASIDE_CONDITION, slave);
    this.#clearCondition(INCOMPLETE_CONDITION, slave);
  }

  /** Requeues the builds whose failures nobody has confirmed, and puts acquitted slaves back to work. */
  async review(): Promise<void> {
    await this.#load();
    const slavesById = new Map([...this.#options.slaves].map((slave) => [slave.slaveId, slave]));
    for (const slave of this.#raisedConditions.values())
      if (!slavesById.has(slave.slaveId)) this.onLeave(slave);
    while (this.#reviewDue) {
      const slave_ids = [...slavesById.values()]
        .filter(({ setAside }) => setAside)
        .map(({ slaveId }) => slaveId);
      const { slaves } = await this.#oracle.request('REVIEW', { slave_ids });
      this.#reviewDue = slaves.length > 0;
      for (const [slaveId, count, , confirmed, refuted] of slaves) {
        const slave = slavesById.get(slaveId);
        if (count > 0)
          this.#options.log.info('unconfirmed failures requeued', {
            slave: slaveId,
            builds: count,
            confirmed,
            refuted,
          });
        if (!slave?.setAside || !isAcquitted({ confirmed, refuted })) continue;
        this.#options.log.warning('slave acquitted: other slaves fail the same builds', {
          slave: slaveId,
          label: slave.hello.label,
          confirmed,
          refuted,
        });
        await this.endSetAside(slave);
      }
      if (slaves.every(([, , more]) => !more)) return;
    }
  }

  async #setAside(slave: SlaveState, suspicion: Suspicion): Promise<void> {
    const { failed, builds, othersFailed, othersBuilds, since } = suspicion;
    const reason = `${failed} of its last ${builds} builds failed, compared with ${othersFailed} of ${othersBuilds} on other slaves in the same period`;
    await this.#oracle.request('SETASIDE', { slave_id: slave.slaveId, reason, since });
    this.#markSetAside(slave, reason, this.#options.clock.now());
    await this.review();
  }

  async #recordProbe(
    slave: SlaveState,
    setAside: NonNullable<SlaveState['setAside']>,
    comparison: SlaveComparison,
    failed: boolean,
  ): Promise<void> {
    const { clock, log } = this.#options;
    if (failed) {
      this.#delayProbe(setAside);
      this.#reviewDue = true;
      await this.review();
      return;
    }
    setAside.nextProbe = clock.now();
    const successes = comparison.successesInRow(slave.slaveId, setAside.since);
    log.info('probe succeeded', {
      slave: slave.slaveId,
      in_a_row: successes,
      required: REQUIRED_PROBES,
    });
    if (successes >= REQUIRED_PROBES) await this.endSetAside(slave);
  }

  #markSetAside(slave: SlaveState, reason: string, since: number): void {
    const setAside = { since, reason, nextProbe: 0 };
    this.#delayProbe(setAside);
    slave.setAside = setAside;
    this.#reviewDue = true;
    const text = `${reason}; its failures count only once another slave confirms them; to put it back to work: piw slaves wake ${slave.slaveId}`;
    this.#options.conditions.raise(SET_ASIDE_CONDITION, subjectOf(slave), text, since);
    this.#raisedConditions.set(`${SET_ASIDE_CONDITION} ${subjectOf(slave)}`, slave);
  }

  #delayProbe(setAside: NonNullable<SlaveState['setAside']>): void {
    const now = this.#options.clock.now();
    const delayMs = Math.min(Math.max((now - setAside.since) / 2, PROBE_DELAY_MS.min), PROBE_DELAY_MS.max);
    setAside.nextProbe = now + delayMs;
  }

  #clearCondition(kind: string, slave: SlaveState): void {
    this.#raisedConditions.delete(`${kind} ${subjectOf(slave)}`);
    this.#options.conditions.clear(kind, subjectOf(slave));
  }

  #comparisonFor(target: string): SlaveComparison {
    const existing = this.#comparisons.get(target);
    if (existing) return existing;
    const made = new SlaveComparison();
    this.#comparisons.set(target, made);
    return made;
  }

  /** Loads, once, the results that earlier Slave Drivers have logged. */
  #load(): Promise<void> {
    this.#loading ??= (async () => {
      try {
        const { outcomes } = await this.#oracle.request('OUTCOMES', {});
        for (const [slaveId, abi, platform, name, failed, rawFailureClass, ended, durationS] of outcomes) {
          if (failed && failurePolicy(failureClass(rawFailureClass)).environmental) continue;
          const result = { slaveId, package: name, failed, began: ended - durationS * 1000, ended };
          this.#comparisonFor(`${abi} on ${platform}`).record(result);
        }
      } catch (error) {
        this.#loading = undefined;
        throw error;
      }
    })();
    return this.#loading;
  }
}

const subjectOf = ({ slaveId, hello }: SlaveState): string => `${hello.label} (slave ${slaveId})`;
