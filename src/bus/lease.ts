import { randomUUID } from 'node:crypto';
import { systemClock, type Clock } from '../concurrency/clock.js';
import { deferred } from '../concurrency/deferred.js';
import { pause } from '../concurrency/pause.js';
import { PiwError, errorMessage } from '../errors.js';
import type { Bus } from './bus.js';
import { LEASE_TTL_MS, LeaderLeaseBucket, type LeaderLeaseEntry } from './lease-bucket.js';

/** An entry that nobody has renewed for this long is not a lease: NATS should have dropped it. */
const STALE_MS = 3 * LEASE_TTL_MS;
/** How long a task has no leader before that is reported, and the interval at which it is repeated, milliseconds. */
const VACANCY_REPORT_DELAY_MS = 2 * LEASE_TTL_MS;
const VACANCY_REPORT_INTERVAL_MS = 5 * 60_000;

interface AcquireOptions {
  /** Called when a task has had no leader for a while, then every five minutes, and when it has one again. */
  readonly onTrouble?: (text: string) => void;
  readonly clock?: Clock;
}

/**
 * A lease determines which process leads a task: an entry in a NATS KV bucket that expires after LEASE_TTL_MS (see
 * LeaderLeaseBucket). Its states:
 *
 *   waiting   another process holds it; this one tries to create the entry every third of the TTL
 *   held      we created the entry; we renew it by updating the revision that we know
 *   lost      another process has created the entry, or no renewal has succeeded for the TTL
 *   released  we removed the entry; the next process gets it at its next attempt
 *
 * waiting leads to held; held to lost or released; nothing leads back: a new tenure is a new LeaderLease. If a
 * restart of nats-server has lost the bucket, the holder creates the entry again, unless another process was faster.
 *
 * `fence` is the revision at which the entry was first created. Every later holder has a higher one. So whoever acts on
 * the lease passes its fence along, and the database refuses a fence that is lower than the highest that it has seen: a
 * holder that was suspended may resume and believe that it still holds the lease.
 */
export class LeaderLease {
  readonly fence: number;
  readonly #clock: Clock;
  readonly #bucket: LeaderLeaseBucket;
  readonly #key: string;
  /** The entry's contents, unique to this lease, so that we recognise our write when its acknowledgement was lost. */
  readonly #value: string;
  readonly #loss = deferred();
  #revision: number;
  #renewedAt: number;
  #cancelRenewal = (): void => undefined;
  #ended = false;

  /** `requestedAt`: when we sent the write that created the entry; its TTL can't have begun earlier. */
  private constructor(
    clock: Clock,
    bucket: LeaderLeaseBucket,
    key: string,
    entry: LeaderLeaseEntry,
    requestedAt: number,
  ) {
    this.#clock = clock;
    this.#bucket = bucket;
    this.#key = key;
    this.#value = entry.value;
    this.#revision = entry.revision;
    this.#renewedAt = requestedAt;
    this.fence = entry.revision;
    this.#scheduleRenewal();
  }

  /** Waits until the lease is free and returns it; returns undefined if `signal` is aborted first. */
  static async acquire(
    bus: Bus,
    name: string,
    holder: string,
    signal: AbortSignal,
    { onTrouble = () => undefined, clock = systemClock }: AcquireOptions = {},
  ): Promise<LeaderLease | undefined> {
    const bucket = new LeaderLeaseBucket(bus.connection, bus.prefix);
    const value = `${holder} ${randomUUID()}`;
    const vacancy = new VacancyMonitor(clock, name, onTrouble);
    while (!signal.aborted) {
      const requestedAt = clock.monotonicMs();
      try {
        const revision = await createEntry(bucket, name, value);
        if (revision !== undefined) {
          vacancy.markHeld();
          return new LeaderLease(clock, bucket, name, { revision, value }, requestedAt);
        }
        await vacancy.inspect(bucket);
      } catch (error) {
        vacancy.recordError(error);
      }
      vacancy.reportIfVacant();
      await pause(clock, LEASE_TTL_MS / 3, signal);
    }
    return undefined;
  }

  /** Resolves when the lease is lost. */
  get lost(): Promise<void> {
    return this.#loss.promise;
  }

  /** False as soon as another process may hold the lease, even if no message has got through. */
  get held(): boolean {
    return !this.#ended && this.#clock.monotonicMs() - this.#renewedAt < LEASE_TTL_MS;
  }

  /** Throws PIW_NOT_LEADER unless held. */
  check(): void {
    if (!this.held)
      throw new PiwError('PIW_NOT_LEADER', `this process no longer holds the lease ${this.#key}`);
  }

  /** Removes the entry, so that another process can get the lease at once. */
  async release(): Promise<void> {
    if (this.#ended) return;
    this.#end();
    // An entry that can't be removed expires.
    await this.#bucket.remove(this.#key, this.#revision).catch(() => undefined);
  }

  #scheduleRenewal(): void {
    this.#cancelRenewal = this.#clock.after(LEASE_TTL_MS / 6, () => void this.#renew());
  }

  async #renew(): Promise<void> {
    const began = this.#clock.monotonicMs();
    let taken = false;
    try {
      const revision = await this.#write();
      taken = revision === undefined;
      if (revision !== undefined) {
        this.#revision = revision;
        this.#renewedAt = began;
      }
    } catch {
      // Renewal is retried for as long as nobody else can hold the lease.
    }
    if (this.#ended) return;
    if (!taken && this.#clock.monotonicMs() - this.#renewedAt < LEASE_TTL_MS) {
      this.#scheduleRenewal();
      return;
    }
    this.#end();
    this.#loss.resolve();
  }

  /** Renews the entry and returns its new revision; undefined if another process holds the lease. */
  async #write(): Promise<number | undefined> {
    try {
      const revision = await this.#bucket.write(this.#key, this.#value, this.#revision);
      if (revision !== undefined) return revision;
    } catch (error) {
      if (!isBucketMissing(error)) throw error;
      return await createEntry(this.#bucket, this.#key, this.#value);
    }
    // The entry may be ours, with a revision whose acknowledgement was lost, or gone because the bucket is a new one.
    const entry = await this.#bucket.read(this.#key);
    if (entry) return entry.value === this.#value ? entry.revision : undefined;
    return await createEntry(this.#bucket, this.#key, this.#value);
  }

  #end(): void {
    this.#ended = true;
    this.#cancelRenewal();
  }
}

/**
 * Watches the holder of a lease for a process that waits for it. Each renewal changes the entry's revision, so a
 * changed revision shows that the holder is alive, whatever the clocks of this machine and of the servers say.
 */
class VacancyMonitor {
  readonly #clock: Clock;
  readonly #name: string;
  readonly #onTrouble: (text: string) => void;
  /** The time of the last sign of a holder, by the monotonic clock, and by the time of day for messages. */
  #lastSignAt: number;
  #vacantSince = new Date();
  #revision: number | undefined;
  #cause = 'it has not been renewed';
  #reportedAt: number | undefined;
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

  recordError(error: unknown): void {
    this.#cause = errorMessage(error);
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

const CREATE_REFUSED = 'NATS has refused to create a lease that nobody holds';

/** Creates the entry, and the bucket if there is none. Returns the entry's revision; undefined if it already exists. */
async function createEntry(
  bucket: LeaderLeaseBucket,
  name: string,
  value: string,
): Promise<number | undefined> {
  let revision: number | undefined;
  try {
    revision = await bucket.write(name, value, 0);
  } catch (error) {
    if (!isBucketMissing(error)) throw error;
    await bucket.ensure();
    revision = await bucket.write(name, value, 0);
  }
  if (revision !== undefined) return revision;
  // The entry may be ours, from an earlier attempt whose acknowledgement was lost. Its TTL has run since then.
  const entry = await bucket.read(name);
  return entry?.value === value ? await bucket.write(name, value, entry.revision) : undefined;
}

const isBucketMissing = (error: unknown): boolean =>
  error instanceof PiwError && error.code === 'PIW_NO_RESPONDERS';
