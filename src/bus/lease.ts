import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { PiwError, errorMessage } from '../errors.js';
import type { Bus } from './bus.js';
import { LEASE_TTL_MS, LeaseBucket, type LeaseEntry } from './lease-bucket.js';

export { LEASE_TTL_MS } from './lease-bucket.js';

/** An entry that nobody has renewed for this long is no lease: NATS should have let go of it. */
const STALE_MS = 3 * LEASE_TTL_MS;
/** Nobody has led a task for this long: said once, and again at this interval, milliseconds. */
const VACANCY_REPORT_DELAY_MS = 2 * LEASE_TTL_MS;
const VACANCY_REPORT_INTERVAL_MS = 5 * 60_000;

export interface AcquireOptions {
  /** Told when a task has been without a leader for a while, then every five minutes, and when it has one again. */
  readonly onTrouble?: (text: string) => void;
}

/**
 * A lease says which process leads a task: an entry in a NATS KV bucket that expires after LEASE_TTL_MS (see
 * LeaseBucket). Its states:
 *
 *   waiting   another process has it; every third of the TTL this one tries to create the entry
 *   held      we created the entry; it is renewed by an update of the revision that we know
 *   lost      another process has created the entry, or no renewal got through for the TTL
 *   released  we removed the entry: the next one gets it at its next try
 *
 * waiting leads to held; held to lost or released; nothing leads back: a new tenure is a new Lease. When nats-server
 * was restarted, and has lost the bucket, the holder creates the entry again if it is the first to do so.
 *
 * `fence` is the revision at which the entry was first created. Every later holder's is higher, so whoever acts
 * on the lease passes it along, and the database refuses one that is older than what it has seen:
 * a holder that slept may wake up and believe that it still holds.
 */
export class Lease {
  readonly fence: number;
  readonly lost: Promise<void>;
  readonly #bucket: LeaseBucket;
  readonly #key: string;
  /** The entry's contents: nobody else's, so that a write whose acknowledgement was lost is recognised. */
  readonly #value: string;
  readonly #resolveLost: () => void;
  #revision: number;
  #renewedAt: number;
  #timer: NodeJS.Timeout | undefined;
  #ended = false;

  /** `asked`: when the entry was asked for; the TTL can't have begun before. */
  private constructor(bucket: LeaseBucket, key: string, entry: LeaseEntry, requestedAt: number) {
    this.#bucket = bucket;
    this.#key = key;
    this.#value = entry.value;
    this.#revision = entry.revision;
    this.#renewedAt = requestedAt;
    this.fence = entry.revision;
    let resolve = (): void => undefined;
    this.lost = new Promise((done) => (resolve = done));
    this.#resolveLost = resolve;
    this.#scheduleRenewal();
  }

  /** Waits, for as long as it takes or until `signal`, and returns the lease; undefined if aborted. */
  static async acquire(
    bus: Bus,
    name: string,
    holder: string,
    signal: AbortSignal,
    { onTrouble = () => undefined }: AcquireOptions = {},
  ): Promise<Lease | undefined> {
    const bucket = new LeaseBucket(bus.connection, bus.prefix);
    const value = `${holder} ${randomUUID()}`;
    const vacancy = new VacancyMonitor(name, onTrouble);
    while (!signal.aborted) {
      const requestedAt = performance.now();
      try {
        const revision = await createEntry(bucket, name, value);
        if (revision !== undefined) {
          vacancy.markHeld();
          return new Lease(bucket, name, { revision, value }, requestedAt);
        }
        await vacancy.inspect(bucket);
      } catch (error) {
        vacancy.recordError(error);
      }
      vacancy.reportIfVacant();
      await sleep(LEASE_TTL_MS / 3, undefined, { signal }).catch(() => undefined);
    }
    return undefined;
  }

  /** False as soon as another process may hold it, also when no message has got through. */
  get held(): boolean {
    return !this.#ended && performance.now() - this.#renewedAt < LEASE_TTL_MS;
  }

  /** Throws PIW_NOT_LEADER unless held. */
  check(): void {
    if (!this.held) throw new PiwError('PIW_NOT_LEADER', `the lease ${this.#key} is not held any more`);
  }

  async release(): Promise<void> {
    if (this.#ended) return;
    this.#end();
    // If it can't be removed it runs out by itself.
    await this.#bucket.remove(this.#key, this.#revision).catch(() => undefined);
  }

  #scheduleRenewal(): void {
    this.#timer = setTimeout(() => void this.#renew(), LEASE_TTL_MS / 6);
  }

  async #renew(): Promise<void> {
    const began = performance.now();
    let taken = false;
    try {
      const revision = await this.#write();
      taken = revision === undefined;
      if (revision !== undefined) {
        this.#revision = revision;
        this.#renewedAt = began;
      }
    } catch {
      // It is tried again for as long as nobody else can have it.
    }
    if (this.#ended) return;
    if (!taken && performance.now() - this.#renewedAt < LEASE_TTL_MS) {
      this.#scheduleRenewal();
      return;
    }
    this.#end();
    this.#resolveLost();
  }

  /** The entry's new revision; undefined when it is another's. */
  async #write(): Promise<number | undefined> {
    try {
      const revision = await this.#bucket.write(this.#key, this.#value, this.#revision);
      if (revision !== undefined) return revision;
    } catch (error) {
      if (!isBucketMissing(error)) throw error;
      return await createEntry(this.#bucket, this.#key, this.#value);
    }
    // It may be ours under a revision whose acknowledgement never came, or gone because the bucket was made anew.
    const entry = await this.#bucket.read(this.#key);
    if (entry) return entry.value === this.#value ? entry.revision : undefined;
    return await createEntry(this.#bucket, this.#key, this.#value);
  }

  #end(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
  }
}

/**
 * What a process that waits for a lease knows of its holder. Each renewal gives the entry another revision: whether it
 * is renewed shows in that, whatever the clocks of this machine and of the servers say.
 */
class VacancyMonitor {
  readonly #name: string;
  readonly #onTrouble: (text: string) => void;
  /** The last time that there was a sign of a holder, and since when there is none, for the reader. */
  #lastSignAt = performance.now();
  #vacantSince = new Date();
  #revision: number | undefined;
  #cause = 'it is not renewed';
  #reportedAt: number | undefined;
  /** What was done last about an entry that should have expired. */
  #remedy: { readonly removed: boolean; readonly at: number } | undefined;

  constructor(name: string, onTrouble: (text: string) => void) {
    this.#name = name;
    this.#onTrouble = onTrouble;
  }

  /** Looks who holds it, and removes an entry that nobody has renewed for STALE_MS. */
  async inspect(bucket: LeaseBucket): Promise<void> {
    const entry = await bucket.read(this.#name);
    if (entry !== undefined && entry.revision !== this.#revision) {
      this.#revision = entry.revision;
      this.markHeld();
      return;
    }
    const now = performance.now();
    const holder = entry?.value.split(' ')[0];
    this.#cause =
      holder === undefined ? CREATE_REFUSED : `NATS keeps the lease of ${holder}, which is not renewed`;
    if (now - (this.#remedy?.at ?? this.#lastSignAt) < STALE_MS) return;
    const removed = entry !== undefined && this.#remedy?.removed !== true;
    this.#remedy = { removed, at: now };
    const action = removed ? 'removing it' : 'making the bucket of leases anew';
    this.#onTrouble(
      `${this.#name}: ${this.#cause} for ${String(Math.round((now - this.#lastSignAt) / 1000))} s: ${action}`,
    );
    if (removed) await bucket.remove(this.#name, entry.revision);
    else await bucket.recreate();
  }

  recordError(error: unknown): void {
    this.#cause = errorMessage(error);
  }

  /** There is a holder. */
  markHeld(): void {
    if (this.#reportedAt !== undefined) {
      const seconds = Math.round((performance.now() - this.#lastSignAt) / 1000);
      this.#onTrouble(`${this.#name} has a leader again, after ${String(seconds)} s`);
    }
    this.#lastSignAt = performance.now();
    this.#vacantSince = new Date();
    this.#reportedAt = undefined;
    this.#remedy = undefined;
  }

  /** Says that there is no leader, once it is so for a while, and at intervals. */
  reportIfVacant(): void {
    const now = performance.now();
    if (
      now - this.#lastSignAt < VACANCY_REPORT_DELAY_MS ||
      (this.#reportedAt !== undefined && now - this.#reportedAt < VACANCY_REPORT_INTERVAL_MS)
    )
      return;
    this.#reportedAt = now;
    this.#onTrouble(`${this.#name} has no leader since ${this.#vacantSince.toISOString()}: ${this.#cause}`);
  }
}

const CREATE_REFUSED = 'NATS refuses a lease that nobody has';

/** The revision of the entry that is made; undefined where there is one. The bucket is made if it is missing. */
async function createEntry(bucket: LeaseBucket, name: string, value: string): Promise<number | undefined> {
  let revision: number | undefined;
  try {
    revision = await bucket.write(name, value, 0);
  } catch (error) {
    if (!isBucketMissing(error)) throw error;
    await bucket.ensure();
    revision = await bucket.write(name, value, 0);
  }
  if (revision !== undefined) return revision;
  // It may be ours: the acknowledgement of an earlier try never came. Its time runs since then.
  const entry = await bucket.read(name);
  return entry?.value === value ? await bucket.write(name, value, entry.revision) : undefined;
}

const isBucketMissing = (error: unknown): boolean =>
  error instanceof PiwError && error.code === 'PIW_NO_RESPONDERS';
