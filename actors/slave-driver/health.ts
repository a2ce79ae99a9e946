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

/** The condition of a slave that is set aside. */
const SET_ASIDE_CONDITION = 'slave-set-aside';
/** The condition of a slave that lacks something that builds need. */
const INCOMPLETE_CONDITION = 'slave-incomplete';
/** How long a slave that is set aside waits for its next probe: half as long as it has been so far, within these. */
const PROBE_DELAY_MS = { min: 600_000, max: 6 * 3_600_000 };
/** So many probes in a row that succeed end it. */
const REQUIRED_PROBES = 3;
/** A slave that has said something so lately is there, milliseconds. */
const LIVENESS_WINDOW_MS = 120_000;

export interface SlaveHealthMonitorOptions {
  readonly bus: Bus;
  readonly log: Log;
  readonly clock: Clock;
  readonly conditions: Conditions;
  /** All that are known. */
  readonly slaves: Iterable<SlaveState>;
}

/** How a build of a slave has ended. */
export interface SlaveBuildOutcome {
  readonly package: string;
  readonly failed: boolean;
  readonly failureClass: string | null;
  readonly durationS: number;
}

/**
 * Finds the slaves that are sick, by comparing each with the others of its target:
 *
 *   well       --its failures stand out (Comparison)-->                        set aside
 *   set aside  --a probe is due--> gets one build; it fails: the next probe is later
 *   set aside  --three probes in a row succeed; other slaves confirm its failures; WAKE--> well
 *
 * What a slave that is set aside has failed with goes back to the queue, until another slave has failed with it, too.
 * All of it is in the database: who is set aside, and the results by which slaves are compared. What is in memory
 * is read from there by each Slave Driver that begins.
 */
export class SlaveHealthMonitor {
  readonly #options: SlaveHealthMonitorOptions;
  readonly #database: ProtocolClient<typeof oracle.verbs>;
  readonly #comparisons = new Map<string, SlaveComparison>();
  /** Subjects of the conditions that are raised. */
  readonly #raisedConditions = new Map<string, SlaveState>();
  #loading: Promise<void> | undefined;
  /** There may be something to review. */
  #reviewDue = true;

  constructor(options: SlaveHealthMonitorOptions) {
    this.#options = options;
    this.#database = new ProtocolClient(options.bus, oracle, undefined, {
      timeoutMs: 10_000,
      patienceMs: 30_000,
    });
  }

  /** A slave has said HELLO; `found`: what the database knows of it, or of an earlier session of it. */
  async onHello(slave: SlaveState, recorded: SetAside | null): Promise<void> {
    const { conditions, clock } = this.#options;
    const { lacks } = slave.hello;
    if (lacks.length > 0) {
      conditions.raise(
        INCOMPLETE_CONDITION,
        subjectOf(slave),
        `${lacks.join('; ')}: other slaves get what needs it`,
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
      await this.#database.request('SETASIDE', { slave_id: slave.slaveId, reason, since });
    }
    this.#markSetAside(slave, reason, since);
  }

  /** Whether a slave lacks what others of its target have: they make whole wheels where it has made less. */
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

  /** Why a slave is to get no work now; undefined: it may, or a probe is due. */
  idleBecause(slave: SlaveState): string | undefined {
    const { setAside } = slave;
    const now = this.#options.clock.now();
    // Where it is further ahead, the clock was set back meanwhile.
    if (!setAside || now >= setAside.nextProbe || setAside.nextProbe - now > PROBE_DELAY_MS.max)
      return undefined;
    const at = new Date(setAside.nextProbe).toISOString().slice(11, 16);
    return `set aside: ${setAside.reason}; a probe at ${at} UTC, or piw slaves wake ${String(slave.slaveId)}`;
  }

  /** A slave was given a build; of one that is set aside it is a probe. */
  onGrant(slave: SlaveState): void {
    if (slave.setAside) this.#delayProbe(slave.setAside);
  }

  /** A build of a slave has ended, and was logged: a success, or a failure for good. */
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

  /** An administrator, or what was found since, takes it back. */
  async endSetAside(slave: SlaveState): Promise<void> {
    if (!slave.setAside) return;
    await this.#database.request('SETASIDE', { slave_id: slave.slaveId, reason: null, since: 0 });
    slave.setAside = undefined;
    // It is shown so until it asks for work again, a few seconds from now.
    slave.note = null;
    this.#comparisonFor(formatTarget(slave.hello)).forget(slave.slaveId);
    this.#clearCondition(SET_ASIDE_CONDITION, slave);
  }

  /** A slave has left: its conditions are nobody's. */
  onLeave(slave: SlaveState): void {
    this.#clearCondition(SET_ASIDE_CONDITION, slave);
    this.#clearCondition(INCOMPLETE_CONDITION, slave);
  }

  /** Puts back what is not confirmed, and takes back slaves that were right. */
  async review(): Promise<void> {
    await this.#load();
    const slavesById = new Map([...this.#options.slaves].map((slave) => [slave.slaveId, slave]));
    for (const slave of this.#raisedConditions.values())
      if (!slavesById.has(slave.slaveId)) this.onLeave(slave);
    while (this.#reviewDue) {
      const slave_ids = [...slavesById.values()]
        .filter(({ setAside }) => setAside)
        .map(({ slaveId }) => slaveId);
      const { slaves } = await this.#database.request('REVIEW', { slave_ids });
      this.#reviewDue = slaves.length > 0;
      for (const [slaveId, count, , confirmed, refuted] of slaves) {
        const slave = slavesById.get(slaveId);
        if (count > 0)
          this.#options.log.info(
            `unconfirmed failures put back slave=${String(slaveId)} builds=${String(count)} confirmed=${String(confirmed)} refuted=${String(refuted)}`,
          );
        if (!slave?.setAside || !isAcquitted({ confirmed, refuted })) continue;
        this.#options.log.warning(
          `slave taken back slave=${String(slaveId)} label=${slave.hello.label}: other slaves fail with the same builds confirmed=${String(confirmed)} refuted=${String(refuted)}`,
        );
        await this.endSetAside(slave);
      }
      if (slaves.every(([, , more]) => !more)) return;
    }
  }

  async #setAside(slave: SlaveState, suspicion: Suspicion): Promise<void> {
    const { failed, builds, othersFailed, othersBuilds, since } = suspicion;
    const reason = `${String(failed)} of its last ${String(builds)} builds failed, and ${String(othersFailed)} of ${String(othersBuilds)} of the other slaves in that time`;
    await this.#database.request('SETASIDE', { slave_id: slave.slaveId, reason, since });
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
    log.info(
      `probe succeeded slave=${String(slave.slaveId)} in_a_row=${String(successes)} wanted=${String(REQUIRED_PROBES)}`,
    );
    if (successes >= REQUIRED_PROBES) await this.endSetAside(slave);
  }

  #markSetAside(slave: SlaveState, reason: string, since: number): void {
    const setAside = { since, reason, nextProbe: 0 };
    this.#delayProbe(setAside);
    slave.setAside = setAside;
    this.#reviewDue = true;
    const text = `${reason}; its failures wait for another slave's word; piw slaves wake ${String(slave.slaveId)} ends it`;
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

  /** Reads once what this process has not seen: the results that an earlier Slave Driver has logged. */
  #load(): Promise<void> {
    this.#loading ??= (async () => {
      try {
        const { outcomes } = await this.#database.request('OUTCOMES', {});
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

const subjectOf = ({ slaveId, hello }: SlaveState): string => `${hello.label} (slave ${String(slaveId)})`;
