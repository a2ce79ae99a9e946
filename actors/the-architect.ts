import { Actor, type ActorContext } from '../src/actor/actor.js';
import { Client } from '../src/actor/client.js';
import type { Database } from '../src/database/pool.js';
import * as queue from '../src/database/queue.js';
import { builds, pending, type Grant } from '../src/protocols/builds.js';

/** How many builds are taken ahead of need for one target, and when more are fetched. */
const AHEAD = { most: 200, low: 100 };
/** The Architect's own short lease on what it has taken ahead, seconds; no longer kept than `fresh`. */
const HOLD_S = 30;
const FRESH_MS = 15_000;
/** The slow poll behind the database's hints, and how often leases that ran out are returned, seconds. */
const POLL_S = 2;
const EXPIRE_S = 5;

interface Target {
  readonly abi: string;
  readonly platform: string;
  ahead: readonly queue.Taken[];
  takenAt: number;
  /** The fetch that is under way. */
  fetching: Promise<void> | undefined;
  /** The queue had nothing when it was last asked; somebody may be waiting. */
  empty: boolean;
}

/**
 * Gives out the builds. Whoever asks for the next one of a target gets it from those that were taken
 * ahead of need, up to AHEAD.most at a time in one statement; the grants of one question are
 * written in one more, before it is answered. What was taken ahead is on a lease of HOLD_S of its
 * own, so a death of this process delays those builds by no more than that.
 *
 * For a target whose queue was found empty it says READY when there is something again. The
 * database's notification is only ever a hint to look; a slow poll stands behind it.
 */
export class TheArchitect extends Actor {
  readonly #database: Database;
  readonly #targets = new Map<string, Target>();
  readonly #pending: Client<typeof pending.verbs>;
  readonly #listening = new AbortController();

  constructor(context: ActorContext, database: Database) {
    super(context);
    this.#database = database;
    this.#pending = new Client(this.bus, pending);
  }

  override start(): void {
    this.serve(builds, {
      NEXT: async ({ fence, lease_s, wants }) => {
        this.context.fence();
        return { verb: 'BUILDS', granted: await this.#next(fence, lease_s, wants) };
      },
      RENEW: async ({ lease_s, leases }) => ({
        verb: 'RENEWED',
        lost: [...(await queue.renew(this.#database, leases, lease_s))],
      }),
      RELEASE: async ({ leases }) => {
        await queue.release(this.#database, leases);
        return { verb: 'DONE' };
      },
    });
    this.#database.listen('piw_queue', () => void this.track(() => this.#look()), this.#listening.signal);
    this.every(POLL_S, () => this.#look(), POLL_S);
    this.every(EXPIRE_S, async () => {
      const returned = await queue.returnExpired(this.#database);
      if (returned > 0)
        this.log.info(`${String(returned)} leases ran out; their builds are in the queue again`);
    });
  }

  protected override async stopped(): Promise<void> {
    this.#listening.abort();
    const ahead = [...this.#targets.values()].flatMap((target) =>
      target.ahead.map(({ lease }) => [lease, null] as const),
    );
    if (ahead.length > 0) await queue.release(this.#database, ahead);
    await this.#database.close();
  }

  async #next(
    fence: number,
    leaseS: number,
    wants: readonly (readonly [number, string, string])[],
  ): Promise<Grant[]> {
    const granted = new Array<Grant>(wants.length).fill(null);
    const given: { at: number; slave: number; taken: queue.Taken }[] = [];
    for (const [at, [slave, abi, platform]] of wants.entries()) {
      const target = this.#target(abi, platform);
      const taken = (await this.#take(target)) ?? undefined;
      if (taken) given.push({ at, slave, taken });
    }
    if (given.length === 0) return granted;
    const granting = given.map(({ slave, taken }) => ({ lease: taken.lease, slaveId: slave, leaseS }));
    const held = new Set(await queue.grant(this.#database, granting, fence));
    for (const { at, taken } of given) {
      // One whose own lease ran out meanwhile is somebody else's by now; the slave asks again.
      if (!held.has(taken.lease)) continue;
      granted[at] = [
        taken.lease,
        taken.attempt,
        taken.package,
        taken.version,
        taken.sdistUrl,
        taken.sdistSha256,
      ];
    }
    return granted;
  }

  async #take(target: Target): Promise<queue.Taken | undefined> {
    if (this.clock.now() - target.takenAt > FRESH_MS && target.ahead.length > 0) {
      // Too near to the end of our own lease: they come again in their order.
      const stale = target.ahead;
      target.ahead = [];
      await queue.release(
        this.#database,
        stale.map(({ lease }) => [lease, null] as const),
      );
    }
    if (target.ahead.length === 0) await this.#fetch(target);
    const [first, ...rest] = target.ahead;
    target.ahead = rest;
    if (rest.length < AHEAD.low && !target.empty) void this.track(() => this.#fetch(target));
    return first;
  }

  #fetch(target: Target): Promise<void> {
    target.fetching ??= (async () => {
      try {
        const count = AHEAD.most - target.ahead.length;
        const { abi, platform } = target;
        const taken = await queue.takeAhead(this.#database, { abi, platform, count, holdS: HOLD_S });
        if (target.ahead.length === 0) target.takenAt = this.clock.now();
        target.ahead = [...target.ahead, ...taken];
        target.empty = taken.length < count;
      } finally {
        target.fetching = undefined;
      }
    })();
    return target.fetching;
  }

  /** Tells those who wait about targets that have something again. */
  async #look(): Promise<void> {
    for (const target of this.#targets.values()) {
      if (!target.empty || target.ahead.length > 0) continue;
      await this.#fetch(target);
      if (target.ahead.length === 0) continue;
      await this.#pending.publish('READY', { abi: target.abi, platform: target.platform, some: true });
    }
  }

  #target(abi: string, platform: string): Target {
    const key = `${abi} ${platform}`;
    const known = this.#targets.get(key);
    if (known) return known;
    const target: Target = { abi, platform, ahead: [], takenAt: 0, fetching: undefined, empty: false };
    this.#targets.set(key, target);
    return target;
  }
}
