import type { Clock } from '../concurrency/clock.js';
import { errorMessage } from '../errors.js';
import { LEASE_TTL_MS, type LeaderLeaseBucket } from './lease-bucket.js';

/** An entry that nobody has renewed for this long is not a lease: NATS should have dropped it. */
const STALE_MS = 3 * LEASE_TTL_MS;
/** How long a task has no leader before that is reported, and the interval at which it is repeated, milliseconds. */
const VACANCY_REPORT_DELAY_MS = 2 * LEASE_TTL_MS;
const VACANCY_REPORT_INTERVAL_MS = 5 * 60_000;
/** How long a process that waits for a lease lets a cluster elect a leader for the bucket, milliseconds. */
const UNAVAILABLE_MS = 12_000;
const CLUSTER_HINT = '; a cluster works while more than half of its servers do';
export const CREATE_REFUSED = 'NATS has refused to create a lease that nobody holds';

/**
 * Watches the holder of a lease for a process that waits for it. Each renewal changes the entry's revision, so a
 * changed revision shows that the holder is alive, whatever the clocks of this machine and of the servers say.
 */
export class VacancyMonitor {
  readonly #clock: Clock;
  readonly #name: string;
  readonly #onTrouble: (text: string) => void;
  /** The time of the last sign of a holder, by the monotonic clock, and by the time of day for messages. */
  #lastSignAt: number;
  #vacantSince = new Date();
  #revision: number | undefined;
  #cause = 'it has not been renewed';
  #reportedAt: number | undefined;
  /** Since when a cluster's bucket has not answered. */
  #unavailableSince: number | undefined;
  /** The last thing that was done about an entry that should have expired. */
  #remedy: { readonly removed: boolean; readonly at: number } | undefined;

  constructor(clock: Clock, name: string, onTrouble: (text: string) => void) {
    this.#clock = clock;
    this.#lastSignAt = clock.monotonicMs();
    this.#name = name;
    this.#onTrouble = onTrouble;
  }

  /**
   * Checks who holds the lease, and removes an entry that nobody has renewed for STALE_MS; if that does not help,
   * recreates the bucket.
   */
  async inspect(bucket: LeaderLeaseBucket): Promise<void> {
    const entry = await bucket.read(this.#name);
    this.#unavailableSince = undefined;
    if (entry !== undefined && entry.revision !== this.#revision) {
      this.#revision = entry.revision;
      this.markHeld();
      return;
    }
    const now = this.#clock.monotonicMs();
    const holder = entry?.value.split(' ')[0];
    this.#cause =
      holder === undefined
        ? CREATE_REFUSED
        : `NATS still holds the lease of ${holder}, which has not been renewed`;
    if (now - (this.#remedy?.at ?? this.#lastSignAt) < STALE_MS) return;
    const removed = entry !== undefined && this.#remedy?.removed !== true;
    this.#remedy = { removed, at: now };
    const action = removed ? 'removing it' : 'recreating the lease bucket';
    this.#onTrouble(
      `${this.#name}: ${this.#cause} for ${Math.round((now - this.#lastSignAt) / 1000)} s: ${action}`,
    );
    if (removed) await bucket.remove(this.#name, entry.revision);
    else await bucket.recreate();
  }

  /**
   * Records why the lease can't be acquired. If a cluster's bucket has not been available for UNAVAILABLE_MS, recreates
   * it, which helps if the only server that had it is gone.
   */
  async handleError(bucket: LeaderLeaseBucket, error: unknown): Promise<void> {
    this.#cause = errorMessage(error);
    if (!(await bucket.mayBeElecting())) return;
    this.#cause += CLUSTER_HINT;
    const now = this.#clock.monotonicMs();
    this.#unavailableSince ??= now;
    if (now - this.#unavailableSince < UNAVAILABLE_MS) return;
    this.#unavailableSince = now;
    await bucket.recreate({ unlessLed: true }).catch((failure: unknown) => {
      this.#cause = errorMessage(failure) + CLUSTER_HINT;
    });
  }

  /** Records that the lease has a holder, and reports it if a vacancy was reported. */
  markHeld(): void {
    if (this.#reportedAt !== undefined) {
      const seconds = Math.round((this.#clock.monotonicMs() - this.#lastSignAt) / 1000);
      this.#onTrouble(`${this.#name} has a leader again, after ${seconds} s`);
    }
    this.#lastSignAt = this.#clock.monotonicMs();
    this.#vacantSince = new Date();
    this.#reportedAt = undefined;
    this.#remedy = undefined;
  }

  /** Reports that there is no leader: once after VACANCY_REPORT_DELAY_MS, then every VACANCY_REPORT_INTERVAL_MS. */
  reportIfVacant(): void {
    const now = this.#clock.monotonicMs();
    if (
      now - this.#lastSignAt < VACANCY_REPORT_DELAY_MS ||
      (this.#reportedAt !== undefined && now - this.#reportedAt < VACANCY_REPORT_INTERVAL_MS)
    )
      return;
    this.#reportedAt = now;
    this.#onTrouble(
      `${this.#name} has had no leader since ${this.#vacantSince.toISOString()}: ${this.#cause}`,
    );
  }
}
