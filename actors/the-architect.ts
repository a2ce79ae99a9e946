import { Actor, type ActorContext, type Handlers } from '../src/actor/actor.js';
import { Membership } from '../src/actor/membership.js';
import { installationRegistry } from '../src/database/installation.js';
import { Batcher } from '../src/concurrency/batcher.js';
import { ProtocolClient } from '../src/actor/client.js';
import type { Database } from '../src/database/pool.js';
import * as queue from '../src/database/queue.js';
import { PiwError } from '../src/errors.js';
import { fillSlice } from '../src/database/targets.js';
import { builds, pending, type GrantReply } from '../src/protocols/builds.js';
import { PRIORITY } from '../src/model/release.js';
import { roundRobin, type RoundRobinQueue } from '../src/concurrency/round-robin.js';

export interface ArchitectSettings {
  /** Which of the backlog comes first. */
  readonly backlogOrder: 'newest' | 'oldest';
  /** Of so many builds given out while all of them wait: requests, releases of today, the backlog. */
  readonly weights: readonly [request: number, release: number, backlog: number];
}

/** How many builds of a priority are kept in mind: at least, and at most, where many are asked for. */
const PREFETCH_LIMIT = { min: 4, max: 200 };
/** They are looked at again when they are older than this, however few were asked for. */
const PREFETCH_TTL_MS = 5000;
/** As many are kept in mind as last for longer than this. */
const MIN_REFILL_INTERVAL_MS = 250;
/** A slave whose build has just gone otherwise gets another one; so often in all. */
const MAX_GRANT_ATTEMPTS = 5;
/** The slow poll behind the database's hints, and how often leases that ran out are returned, seconds. */
const POLL_INTERVAL_S = 2;
const EXPIRY_INTERVAL_S = 5;
/** Hints come with every logged build; they are looked after no more often than this. */
const HINT_DELAY_MS = 50;
/** A slice of a target that was added or skipped is followed by a rest as long as itself, at least this. */
const MIN_SLICE_PAUSE_MS = 20;
/**
 * For so long nothing is taken from a slave after the leases could not be renewed: all of them say BUSY
 * meanwhile, milliseconds.
 */
const RENEWAL_GRACE_MS = 60_000;
/** A server that answers no sooner than this was away. */
const OUTAGE_RTT_MS = 5000;
/** A difference of clocks that changes by this much between two checks was changed by somebody, milliseconds. */
const MIN_CLOCK_JUMP_MS = 5000;
/** A target that nobody asked for during so long is looked after no more. A slave that waits asks more often. */
const TARGET_EXPIRY_MS = 60_000;

/** What comes next of one priority. */
interface PrefetchBuffer extends RoundRobinQueue<queue.PendingBuild> {
  readonly priority: number;
  /** The queue had no more of it when it was last looked at. */
  exhausted: boolean;
}

interface FencedGrantRequest extends queue.BuildAssignment {
  readonly fence: number;
}

interface TargetQueue {
  readonly abi: string;
  readonly platform: string;
  readonly buffers: readonly PrefetchBuffer[];
  /** The look at the queue that is under way. */
  refilling: Promise<void> | undefined;
  /** How many are kept in mind of each priority. */
  limit: number;
  fetchedAt: number;
  requestedAt: number;
  /** A slave got nothing; it is told when there is something again. */
  hasWaiters: boolean;
}

/**
 * Gives out the builds. What comes next for a target is looked up ahead of need and kept in mind, where
 * nothing is lost with it: a build is given out in the database, by one statement that finds it still
 * waiting, before it is answered; builds that are asked for together are given out together. One that has
 * gone otherwise meanwhile is passed over.
 *
 * While builds of several priorities wait, they take turns by weight: so a request comes next, and the
 * backlog still moves while releases pour in. When a slave got nothing, it says READY once there is something
 * for its target again. The database's notification is only ever a hint to look; a slow poll stands behind it.
 *
 * Beside this it makes the queue follow targets that were added or skipped, slice by slice.
 */
export class TheArchitect extends Actor {
  readonly #database: Database;
  readonly #settings: ArchitectSettings;
  readonly #targets = new Map<string, TargetQueue>();
  readonly #pending: ProtocolClient<typeof pending.verbs>;
  readonly #listenerAbort = new AbortController();
  readonly #grantBatch: Batcher<FencedGrantRequest, queue.LeasedBuild | PiwError | undefined>;
  /** Builds that are being given out. */
  readonly #inFlightGrants = new Set<string>();
  /** Until then no lease runs out, by the monotonic clock. */
  #graceUntil: number;
  /** The database's clock, less the monotonic one of this process. */
  #clockOffsetMs: number | undefined;
  /** Takes back the call that a hint has brought about. */
  #cancelHint: (() => void) | undefined;

  /**
   * The database may be a relaxed one. Should a crash of PostgreSQL undo a grant of the last moments, that
   * build is done again: the first slave's lease isn't its own any more, and its result is dropped.
   */
  constructor(context: ActorContext, database: Database, settings: ArchitectSettings) {
    super(context);
    this.#database = database;
    this.#settings = settings;
    this.#pending = new ProtocolClient(this.bus, pending);
    this.#graceUntil = this.clock.monotonicMs() + RENEWAL_GRACE_MS;
    this.#grantBatch = new Batcher({
      run: (asked) => this.#grantRequests(asked),
      ...{ maxItems: 200, maxInFlight: 2, delayMs: 0 },
    });
  }

  override start(): void {
    this.#database.reportTo(this.conditions);
    void this.runInBackground(async () => {
      try {
        const farm = new Membership(this.bus, installationRegistry(this.#database));
        if (await farm.join(() => this.isStopping())) this.#startServing();
      } catch (error) {
        this.context.crash(error);
      }
    });
  }

  /** Only once it is known that the database is this farm's. */
  #startServing(): void {
    const grantHandlers: Partial<Handlers<typeof builds.verbs>> = {
      NEXT: async ({ fence, lease_s, wants }) => {
        this.context.fence();
        return { verb: 'BUILDS', granted: await this.#handleNext(fence, lease_s, wants) };
      },
    };
    const leaseHandlers: Partial<Handlers<typeof builds.verbs>> = {
      RENEW: async ({ lease_s, leases }) => ({
        verb: 'RENEWED',
        lost: [...(await queue.renewLeases(this.#database, leases, lease_s))],
      }),
      RELEASE: async ({ leases, hold_s }) => {
        await queue.releaseLeases(this.#database, leases, hold_s);
        return { verb: 'DONE' };
      },
    };
    this.serve(builds, grantHandlers, { verb: 'NEXT' });
    // Whoever builds goes on building while nothing more is given out.
    for (const verb of ['RENEW', 'RELEASE']) this.serve(builds, leaseHandlers, { verb, whilePaused: true });
    this.#database.listen(
      'piw_queue',
      () => {
        this.#scheduleRefill();
      },
      this.#listenerAbort.signal,
    );
    this.every(POLL_INTERVAL_S, () => this.#refillStarved(), POLL_INTERVAL_S);
    this.every(POLL_INTERVAL_S, () => this.#fillQueue());
    this.every(EXPIRY_INTERVAL_S, () => this.#expireLeases());
  }

  protected override async onStopped(): Promise<void> {
    this.#listenerAbort.abort();
    this.#cancelHint?.();
    await this.#database.close();
  }

  async #handleNext(
    fence: number,
    leaseS: number,
    wants: readonly (readonly [number, string, string])[],
  ): Promise<GrantReply[]> {
    return await Promise.all(
      wants.map(async ([slaveId, abi, platform]) => {
        const target = this.#targetFor(abi, platform);
        target.requestedAt = this.clock.monotonicMs();
        const granted = await this.#grantNext(target, { slaveId, leaseS, fence }).catch((error: unknown) => {
          // The slave is told as soon as the database is back.
          target.hasWaiters = true;
          throw error;
        });
        if (granted instanceof PiwError) throw granted;
        if (!granted) {
          target.hasWaiters = true;
          return null;
        }
        const { lease, attempt, package: name, version, sdistUrl, sdistSha256 } = granted;
        return [lease, attempt, name, version, sdistUrl, sdistSha256];
      }),
    );
  }

  /** What comes next, as a slave's own from now on; undefined if there is nothing. */
  async #grantNext(
    target: TargetQueue,
    request: Omit<FencedGrantRequest, keyof queue.PendingBuild>,
  ): Promise<queue.LeasedBuild | PiwError | undefined> {
    for (let attempt = 0; attempt < MAX_GRANT_ATTEMPTS; attempt += 1) {
      const next = await this.#takeNext(target);
      if (!next) return undefined;
      const granted = await this.#grantBatch.add({ ...next, ...request });
      if (granted) return granted;
      // What is in mind is old: others of it may have gone, too.
      target.fetchedAt = -Infinity;
    }
    return undefined;
  }

  async #takeNext(target: TargetQueue): Promise<queue.PendingBuild | undefined> {
    const age = this.clock.monotonicMs() - target.fetchedAt;
    if (age > PREFETCH_TTL_MS) target.limit = Math.max(PREFETCH_LIMIT.min, Math.floor(target.limit / 2));
    const isEmpty = () => target.buffers.every(({ list }) => list.length === 0);
    if (age > PREFETCH_TTL_MS || isEmpty()) await this.#refill(target);
    // More ask together than was looked for.
    for (
      let fetches = 0;
      fetches < MAX_GRANT_ATTEMPTS && isEmpty() && target.buffers.some(({ exhausted }) => !exhausted);
      fetches += 1
    ) {
      if (!target.refilling) target.limit = Math.min(PREFETCH_LIMIT.max, target.limit * 2);
      await this.#refill(target);
    }
    const buffer = roundRobin(target.buffers);
    const [build, ...rest] = buffer?.list ?? [];
    if (!buffer || !build) return undefined;
    buffer.list = rest;
    this.#inFlightGrants.add(keyOf(build));
    if (buffer.list.length < target.limit / 2 && !buffer.exhausted && !target.refilling) {
      if (age < MIN_REFILL_INTERVAL_MS) target.limit = Math.min(PREFETCH_LIMIT.max, target.limit * 2);
      void this.runInBackground(() => this.#refill(target));
    }
    return build;
  }

  /** Gives builds to slaves, in one statement for those who ask with the same fence. */
  async #grantRequests(
    requests: readonly FencedGrantRequest[],
  ): Promise<readonly (queue.LeasedBuild | PiwError | undefined)[]> {
    const results = new Map<string, queue.LeasedBuild | PiwError>();
    for (const fence of new Set(requests.map((one) => one.fence))) {
      const sameFence = requests.filter((one) => one.fence === fence);
      try {
        for (const granted of await queue.leaseBuilds(this.#database, sameFence, fence))
          results.set(keyOf(granted), granted);
      } catch (error) {
        // Of a Slave Driver that was replaced; the others' grants stand.
        if (!(error instanceof PiwError)) throw error;
        for (const one of sameFence) results.set(keyOf(one), error);
      }
    }
    for (const one of requests) this.#inFlightGrants.delete(keyOf(one));
    return requests.map((one) => results.get(keyOf(one)));
  }

  /** Looks what comes next for a target, and tells the slaves that wait for it if there is something. */
  #refill(target: TargetQueue): Promise<void> {
    target.refilling ??= (async () => {
      try {
        const { abi, platform, buffers, limit } = target;
        target.fetchedAt = this.clock.monotonicMs();
        for (const buffer of buffers) {
          const order = { abi, platform, priority: buffer.priority, first: this.#settings.backlogOrder };
          const count = limit + this.#inFlightGrants.size;
          const fetched = await queue.nextPendingBuilds(this.#database, { ...order, count });
          const available = fetched.filter((build) => !this.#inFlightGrants.has(keyOf(build)));
          buffer.exhausted = fetched.length < count;
          buffer.list = available.slice(0, limit);
        }
        if (!target.hasWaiters || buffers.every(({ list }) => list.length === 0)) return;
        target.hasWaiters = false;
        await this.#pending.publish('READY', { abi, platform, some: true });
      } finally {
        target.refilling = undefined;
      }
    })();
    return target.refilling;
  }

  #scheduleRefill(): void {
    this.#cancelHint ??= this.clock.after(HINT_DELAY_MS, () => {
      this.#cancelHint = undefined;
      void this.runInBackground(() => this.#refillStarved());
    });
  }

  /** Looks what has come to targets and priorities that had nothing, and to those that slaves wait for. */
  async #refillStarved(): Promise<void> {
    for (const [key, target] of this.#targets) {
      if (this.clock.monotonicMs() - target.requestedAt > TARGET_EXPIRY_MS) {
        this.#targets.delete(key);
        continue;
      }
      const isStarved = target.buffers.some(({ list, exhausted }) => exhausted && list.length === 0);
      if (!isStarved && !target.hasWaiters) continue;
      // A look that is under way may have begun before what there is a hint of.
      await target.refilling;
      await this.#refill(target);
    }
  }

  /** Returns what slaves fell silent over; not what they could not renew because this side was away. */
  async #expireLeases(): Promise<void> {
    const began = this.clock.monotonicMs();
    try {
      await this.bus.rtt();
      if (this.clock.monotonicMs() - began > OUTAGE_RTT_MS)
        this.#graceUntil = this.clock.monotonicMs() + RENEWAL_GRACE_MS;
      await this.#followDatabaseClock();
      if (this.clock.monotonicMs() < this.#graceUntil) return;
      const lost = await queue.requeueExpired(this.#database);
      if (lost > 0) this.log.info(`${String(lost)} leases ran out; their builds are in the queue again`);
    } catch (error) {
      this.#graceUntil = this.clock.monotonicMs() + RENEWAL_GRACE_MS;
      throw error;
    }
  }

  /** Leases end by the database's clock. When that is set, they are moved with it, and nobody loses one for it. */
  async #followDatabaseClock(): Promise<void> {
    const sentAt = this.clock.monotonicMs();
    const databaseTimeMs = await queue.databaseTime(this.#database);
    const now = this.clock.monotonicMs();
    // A slow answer says nothing about the clock.
    if (now - sentAt > MIN_CLOCK_JUMP_MS) return;
    const offsetMs = databaseTimeMs - now;
    const jumpMs = offsetMs - (this.#clockOffsetMs ?? offsetMs);
    this.#clockOffsetMs = offsetMs;
    if (Math.abs(jumpMs) < MIN_CLOCK_JUMP_MS) return;
    const seconds = String(Math.round(Math.abs(jumpMs) / 1000));
    this.log.warning(`the database's clock was set ${jumpMs > 0 ? 'forward' : 'back'} by ${seconds} s`);
    await queue.shiftLeases(this.#database, jumpMs);
  }

  /** Makes the queue follow the targets, until it does or it is time to look again. */
  async #fillQueue(): Promise<void> {
    while (!this.isStopping() && !this.paused) {
      const began = this.clock.monotonicMs();
      this.context.fence();
      if (!(await fillSlice(this.#database))) return;
      const pauseMs = Math.max(MIN_SLICE_PAUSE_MS, this.clock.monotonicMs() - began);
      await new Promise<void>((resolve) => this.clock.after(pauseMs, resolve));
    }
  }

  #targetFor(abi: string, platform: string): TargetQueue {
    const key = `${abi} ${platform}`;
    const existing = this.#targets.get(key);
    if (existing) return existing;
    const [request, release, backlog] = this.#settings.weights;
    const buffers = [
      [PRIORITY.request, request],
      [PRIORITY.release, release],
      [PRIORITY.backlog, backlog],
    ].map(([priority = 0, weight = 1]) => ({
      priority,
      weight,
      credit: 0,
      list: [],
      exhausted: false,
    }));
    const target: TargetQueue = {
      ...{ abi, platform, buffers, refilling: undefined, limit: PREFETCH_LIMIT.min },
      ...{ fetchedAt: -Infinity, requestedAt: -Infinity, hasWaiters: false },
    };
    this.#targets.set(key, target);
    return target;
  }
}

const keyOf = ({ versionId, targetId }: queue.PendingBuild): string =>
  `${String(versionId)} ${String(targetId)}`;
