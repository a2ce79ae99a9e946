import { setTimeout as sleep } from 'node:timers/promises';
import { DiscardPolicy, NatsError, StorageType, nanos, type KV } from 'nats';
import { PiwError, reason } from '../errors.js';
import type { Bus } from './bus.js';

/** A lease that isn't renewed is free after this; the holder renews three times as often. */
export const LEASE_TTL_MS = 3000;

/**
 * A lease says who is the one of a kind: a key in a NATS KV bucket whose entries live for
 * LEASE_TTL_MS. Its states:
 *
 *   waiting   somebody else has it; `create` is tried every third of the TTL
 *   held      we made the key; it is renewed by `update` on the revision that we know
 *   lost      a renewal was refused, or none got through for the TTL: somebody else may have it
 *   released  we removed the key: the next one gets it at its next try
 *
 * waiting leads to held; held to lost or released; nothing leads back: a new tenure is a new Lease.
 * `fence` is the revision at which the key was made. Every later holder's is higher, so whoever acts
 * on the lease passes it along, and the database refuses one that is older than what it has seen:
 * a holder that slept may wake up and believe that it still holds.
 */
export class Lease {
  readonly fence: number;
  readonly lost: Promise<void>;
  readonly #kv: KV;
  readonly #key: string;
  readonly #who: string;
  readonly #resolveLost: () => void;
  #revision: number;
  #renewed = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #over = false;

  private constructor(kv: KV, key: string, who: string, revision: number) {
    this.#kv = kv;
    this.#key = key;
    this.#who = who;
    this.#revision = revision;
    this.fence = revision;
    let resolve = (): void => undefined;
    this.lost = new Promise((done) => (resolve = done));
    this.#resolveLost = resolve;
    this.#later();
  }

  /** Waits, for as long as it takes or until `signal`, and gives the lease; undefined if aborted. */
  static async acquire(
    bus: Bus,
    name: string,
    who: string,
    signal: AbortSignal,
    onTrouble: (text: string) => void = () => undefined,
  ): Promise<Lease | undefined> {
    let kv: KV | undefined;
    let troubled = false;
    while (!signal.aborted) {
      try {
        kv ??= await bucket(bus);
        const revision = await kv.create(name, new TextEncoder().encode(who));
        return new Lease(kv, name, who, revision);
      } catch (error) {
        if (!held(error) && !troubled) {
          troubled = true;
          onTrouble(`the lease ${name} can't be asked for: ${reason(error)}`);
        }
      }
      await sleep(LEASE_TTL_MS / 3, undefined, { signal }).catch(() => undefined);
    }
    return undefined;
  }

  /** False as soon as another one may hold it, also when no message has got through. */
  get held(): boolean {
    return !this.#over && performance.now() - this.#renewed < LEASE_TTL_MS;
  }

  /** Raises PIW_NOT_LEADER unless held. */
  check(): void {
    if (!this.held) throw new PiwError('PIW_NOT_LEADER', `the lease ${this.#key} is not held any more`);
  }

  async release(): Promise<void> {
    if (this.#over) return;
    this.#end();
    // If it can't be removed it runs out by itself.
    await this.#kv.delete(this.#key, { previousSeq: this.#revision }).catch(() => undefined);
  }

  #later(): void {
    this.#timer = setTimeout(() => void this.#renew(), LEASE_TTL_MS / 6);
  }

  async #renew(): Promise<void> {
    const began = performance.now();
    try {
      this.#revision = await this.#kv.update(this.#key, new TextEncoder().encode(this.#who), this.#revision);
      this.#renewed = began;
    } catch (error) {
      if (held(error) || began - this.#renewed > LEASE_TTL_MS) {
        if (!this.#over) {
          this.#end();
          this.#resolveLost();
        }
        return;
      }
    }
    if (!this.#over) this.#later();
  }

  #end(): void {
    this.#over = true;
    clearTimeout(this.#timer);
  }
}

/** JetStream's codes for "wrong last sequence" (the key is another's) and for a stream that somebody else has made. */
const [HELD, MADE] = [10071, 10058];
const codeOf = (error: unknown): number | undefined =>
  error instanceof NatsError ? error.api_error?.err_code : undefined;
const held = (error: unknown): boolean => codeOf(error) === HELD;

/**
 * The leases. Revisions are numbers of messages in the bucket's stream. Should NATS have lost what it stored, the
 * database still knows the fences of before: so a new bucket begins with the time in milliseconds, which no earlier one
 * can have reached, at a few messages a second.
 */
async function bucket(bus: Bus): Promise<KV> {
  const name = `${bus.prefix}-leases`;
  const { streams } = await bus.connection.jetstreamManager();
  try {
    await streams.info(`KV_${name}`);
  } catch {
    await streams
      .add({
        ...{ name: `KV_${name}`, subjects: [`$KV.${name}.>`], first_seq: Date.now() },
        ...{ max_msgs_per_subject: 1, max_age: nanos(LEASE_TTL_MS), storage: StorageType.File },
        ...{ discard: DiscardPolicy.New, allow_rollup_hdrs: true, allow_direct: true },
      })
      .catch((error: unknown) => {
        if (codeOf(error) !== MADE) throw error;
      });
  }
  return await bus.connection.jetstream().views.kv(name, { history: 1, ttl: LEASE_TTL_MS });
}
