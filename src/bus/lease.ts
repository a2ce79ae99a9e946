import { randomUUID } from 'node:crypto';
import { systemClock, type Clock } from '../concurrency/clock.js';
import { deferred } from '../concurrency/deferred.js';
import { pause } from '../concurrency/pause.js';
import { PiwError } from '../errors.js';
import type { Bus } from './bus.js';
import { LEASE_TTL_MS, LeaderLeaseBucket, type LeaderLeaseEntry } from './lease-bucket.js';
import { CREATE_REFUSED, VacancyMonitor } from './vacancy-monitor.js';

/**
 * How long a lease can be held without a renewal while the cluster elects a new leader for the bucket, milliseconds:
 * until then nobody can write to it. An election takes 4 to 9 s, and longer if the votes are split or servers are busy.
 */
const ELECTION_LIMIT_MS = 20_000;
/**
 * The pause after a failed renewal, milliseconds: short, so that the next one succeeds within the TTL after the connection
 * has moved to another server, and so that the holder is the first to write after an election.
 */
const RETRY_MS = 200;
/**
 * How long a process that waits lets the holder renew its lease when the bucket is back, milliseconds: a renewal that
 * failed is repeated after less than a second.
 */
const HOLDERS_FIRST_MS = LEASE_TTL_MS / 2;
/** The interval of renewals, milliseconds. */
const RENEWAL_INTERVAL_MS = LEASE_TTL_MS / 6;
/** The interval at which a holder checks the number of the bucket's replicas, milliseconds. */
const REPLICATION_INTERVAL_MS = 15_000;

interface AcquireOptions {
  /** Called when a task has had no leader for a while, then every five minutes, and when it has one again. */
  readonly onTrouble?: (text: string) => void;
  readonly clock?: Clock;
}

/**
 * A lease determines which process leads a task: an entry in a NATS KV bucket that expires after LEASE_TTL_MS (see
 * LeaderLeaseBucket). Its states:
 *
 *   waiting   another process holds it; this one looks every third of the TTL, and creates the entry if there is none
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
 *
 * If a cluster loses the server that leads the bucket, it takes seconds to elect another one, and until then nobody can
 * renew or create an entry. So while our server answers pings but the bucket does not answer, the lease stays held, for
 * at most ELECTION_LIMIT_MS, and others let its holder go first when the bucket is back. If it is our server that is cut
 * off from the others, which this can't tell, another process may get the lease meanwhile; then it is the fence that
 * prevents harm, and the lease ends with the first request that the database refuses for it (see dispute()).
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
  /** Until when the lease is held if no renewal succeeds. */
  #heldUntil: number;
  #isDisputed = false;
  #replicatedAt = -Infinity;
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
    this.#heldUntil = requestedAt + LEASE_TTL_MS;
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
    let wasAway = false;
    while (!signal.aborted) {
      const requestedAt = clock.monotonicMs();
      let isHoldersTurn = false;
      try {
        // Nothing is written while the bucket does not answer: a server that hangs would carry it out later. And when the
        // bucket is back, the entry has expired: its holder, if it is alive, goes on first.
        const entry = await bucket.read(name);
        const isVacant = entry === undefined || entry.value === value;
        isHoldersTurn = isVacant && wasAway;
        wasAway = false;
        const revision = isVacant && !isHoldersTurn ? await createEntry(bucket, name, value) : undefined;
        if (revision !== undefined) {
          vacancy.markHeld();
          return new LeaderLease(clock, bucket, name, { revision, value }, requestedAt);
        }
        await vacancy.inspect(bucket);
      } catch (error) {
        wasAway = true;
        await vacancy.handleError(bucket, error);
      }
      vacancy.reportIfVacant();
      await pause(clock, isHoldersTurn ? HOLDERS_FIRST_MS : LEASE_TTL_MS / 3, signal);
    }
    return undefined;
  }

  /** Resolves when the lease is lost. */
  get lost(): Promise<void> {
    return this.#loss.promise;
  }

  /** False as soon as another process may hold the lease, even if no message has got through; see above for clusters. */
  get held(): boolean {
    return !this.#ended && this.#clock.monotonicMs() < this.#heldUntil;
  }

  /** Throws PIW_NOT_LEADER unless held. */
  check(): void {
    if (!this.held)
      throw new PiwError('PIW_NOT_LEADER', `this process no longer holds the lease ${this.#key}`);
  }

  /**
   * Ends the lease at once if it has not been renewed within the TTL: the database has seen a newer holder. A renewal that
   * succeeds later shows that it was another lease's.
   */
  dispute(): void {
    if (this.#ended) return;
    this.#heldUntil = Math.min(this.#heldUntil, this.#renewedAt + LEASE_TTL_MS);
    this.#isDisputed = true;
    if (!this.held) this.#lose();
  }

  /** Removes the entry, so that another process can get the lease at once. */
  async release(): Promise<void> {
    if (this.#ended) return;
    this.#end();
    // An entry that can't be removed expires.
    await this.#bucket.remove(this.#key, this.#revision).catch(() => undefined);
  }

  #scheduleRenewal(delayMs = RENEWAL_INTERVAL_MS): void {
    this.#cancelRenewal = this.#clock.after(delayMs, () => void this.#renew());
  }

  async #renew(): Promise<void> {
    const began = this.#clock.monotonicMs();
    let taken = false;
    let delayMs = RENEWAL_INTERVAL_MS;
    try {
      const revision = await this.#write();
      taken = revision === undefined;
      if (revision !== undefined) {
        this.#revision = revision;
        this.#renewedAt = began;
        this.#heldUntil = began + LEASE_TTL_MS;
        this.#isDisputed = false;
        this.#replicate();
      }
    } catch {
      // Renewal is retried for as long as nobody else can hold the lease.
      delayMs = RETRY_MS;
      if ((await this.#bucket.mayBeElecting()) && !this.#isDisputed) {
        this.#heldUntil = Math.min(
          this.#renewedAt + ELECTION_LIMIT_MS,
          this.#clock.monotonicMs() + LEASE_TTL_MS,
        );
      }
    }
    if (this.#ended) return;
    if (!taken && this.#clock.monotonicMs() < this.#heldUntil) {
      this.#scheduleRenewal(delayMs);
      return;
    }
    this.#lose();
  }

  /** Checks the bucket's replicas from time to time: servers may have joined the cluster. */
  #replicate(): void {
    const now = this.#clock.monotonicMs();
    if (now - this.#replicatedAt < REPLICATION_INTERVAL_MS) return;
    this.#replicatedAt = now;
    // It is tried again after the interval.
    void this.#bucket.replicate().catch(() => undefined);
  }

  /** Renews the entry and returns its new revision; undefined if another process holds the lease. */
  async #write(): Promise<number | undefined> {
    try {
      const revision = await this.#bucket.write(this.#key, this.#value, this.#revision);
      if (revision !== undefined) return revision;
    } catch (error) {
      if (!isBucketMissing(error)) throw error;
      return await this.#create();
    }
    // The entry may be ours, with a revision whose acknowledgement was lost, or gone because the bucket is a new one.
    const entry = await this.#bucket.read(this.#key);
    if (entry) return entry.value === this.#value ? entry.revision : undefined;
    return await this.#create();
  }

  /** Creates the entry again. Throws PIW_TIMEOUT if NATS refuses that although nobody else has created it. */
  async #create(): Promise<number | undefined> {
    const revision = await createEntry(this.#bucket, this.#key, this.#value);
    if (revision !== undefined) return revision;
    const entry = await this.#bucket.read(this.#key);
    if (entry !== undefined && entry.value !== this.#value) return undefined;
    // After an election, the bucket's new leader may not have dropped the expired entry yet, or may only now have
    // stored what we wrote before.
    throw new PiwError('PIW_TIMEOUT', CREATE_REFUSED);
  }

  #lose(): void {
    this.#end();
    this.#loss.resolve();
  }

  #end(): void {
    this.#ended = true;
    this.#cancelRenewal();
  }
}

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
