import { Actor, type ActorContext, type Handlers } from '../src/actor/actor.js';
import { Membership } from '../src/actor/membership.js';
import { installationRegistry } from '../src/database/installation.js';
import { Batcher } from '../src/concurrency/batcher.js';
import { ProtocolClient } from '../src/actor/client.js';
import type { Database } from '../src/database/pool.js';
import * as queue from '../src/database/queue.js';
import { PiwError, rethrowUnexpected } from '../src/errors.js';
import { fillSlice } from '../src/database/targets.js';
import { builds, buildHints, type GrantReply } from '../src/protocols/builds.js';
import { PRIORITY } from '../src/model/release.js';
import { pause } from '../src/concurrency/pause.js';
import { roundRobin, type RoundRobinQueue } from '../src/concurrency/round-robin.js';

export interface ArchitectSettings {
  /** Which end of the backlog comes first. */
  readonly backlogOrder: 'newest' | 'oldest';
  /** The shares of grants while builds of all priorities wait: requests, today's releases, the backlog. */
  readonly weights: readonly [request: number, release: number, backlog: number];
}

/** Bounds of the number of builds prefetched per priority, which grows while many are requested. */
const PREFETCH_LIMIT = { min: 4, max: 200 };
/** A prefetch buffer that is older than this is refilled, however few were requested. */
const PREFETCH_TTL_MS = 5000;
/** A buffer that has to be refilled sooner than this after its last refill is enlarged. */
const MIN_REFILL_INTERVAL_MS = 250;
/** Maximum attempts to grant a slave a build when others take the chosen builds first, and to refill the buffers. */
const MAX_GRANT_ATTEMPTS = 5;
/**
 * Seconds between the slow polls that back up the database's notifications, and between checks for expired
 * leases.
 */
const POLL_INTERVAL_S = 2;
const EXPIRY_INTERVAL_S = 5;
/** Every logged build sends a notification; all that arrive within this time lead to one refill. */
const HINT_DELAY_MS = 50;
/**
 * The queue is updated for a target that was added, skipped or removed in slices of its versions. After each slice, the
 * Architect pauses for as long as the slice took, but at least for this time.
 */
const MIN_SLICE_PAUSE_MS = 20;
/**
 * Milliseconds for which no lease expires after an outage during which leases could not be renewed: within that time,
 * all slaves send BUSY again.
 */
const RENEWAL_GRACE_MS = 60_000;
/** If NATS takes longer than this to answer a ping, it counts as having been down. */
const OUTAGE_RTT_MS = 5000;
/**
 * If the offset between two clocks changes by this many milliseconds between two checks, somebody has set a
 * clock.
 */
const MIN_CLOCK_JUMP_MS = 5000;
/** A target for which no slave has asked for builds for this long is dropped. A waiting slave asks more often. */
const TARGET_EXPIRY_MS = 60_000;

/** The next builds of one priority. */
interface PrefetchBuffer extends RoundRobinQueue<queue.PendingBuild> {
  readonly priority: number;
  list: queue.PendingBuild[];
  /** Whether the last fetch found no more builds in the queue. */
  exhausted: boolean;
}

interface FencedGrantRequest extends queue.BuildAssignment {
  readonly fence: number;
}

/** A target for which slaves ask for builds, and the builds prefetched for it. */
interface TargetQueue {
  readonly abi: string;
  readonly platform: string;
  readonly buffers: readonly PrefetchBuffer[];
  /** The refill in progress. */
  refilling: Promise<void> | undefined;
  /** Builds to prefetch per priority. */
  limit: number;
  fetchedAt: number;
  requestedAt: number;
  /** Whether a slave got nothing and waits for READY. */
  hasWaiters: boolean;
}

/**
 * Grants the builds. The Architect prefetches the next builds of each target into memory. This copy may be lost or
 * outdated without harm: a grant is one SQL statement, executed before the answer, that leases a build only if it is
 * still waiting. Builds that are requested together are leased together. A build that was taken or dropped since it was
 * prefetched is passed over.
 *
 * While builds of several priorities wait, a weighted round robin chooses among them: administrators' requests come
 * soon, and the backlog still progresses while many releases arrive. If a slave got no build, READY is published as
 * soon as there is one for its target. The database's notification is only a hint to refill the buffers; a slow poll
 * backs it up.
 *
 * The Architect also updates the queue, slice by slice, when targets are added, skipped or removed.
 */
export class TheArchitect extends Actor {
  readonly #database: Database;
  readonly #settings: ArchitectSettings;
  readonly #targets = new Map<string, TargetQueue>();
  readonly #buildHints: ProtocolClient<typeof buildHints.verbs>;
  readonly #listenerAbort = new AbortController();
  readonly #grantBatch: Batcher<FencedGrantRequest, queue.LeasedBuild | PiwError | undefined>;
  /** Builds whose grant is in flight. */
  readonly #inFlightGrants = new Set<string>();
  /** No lease expires before this time (monotonic clock). */
  #graceUntil: number;
  /** The database's clock minus this process's monotonic clock. */
  #clockOffsetMs: number | undefined;
  /** Cancels the refill that a notification has scheduled. */
  #cancelHint: (() => void) | undefined;

  /**
   * `database` may commit asynchronously. If a crash of PostgreSQL undoes a recent grant, that build is done
   * again: the first slave has lost its lease, and its result is dropped.
   */
  constructor(context: ActorContext, database: Database, settings: ArchitectSettings) {
    super(context);
    this.#database = database;
    this.#settings = settings;
    this.#buildHints = new ProtocolClient(this.bus, buildHints);
    this.#graceUntil = this.clock.monotonicMs() + RENEWAL_GRACE_MS;
    this.#grantBatch = new Batcher({
      run: (requests) => this.#grantRequests(requests),
      maxItems: 200,
      maxInFlight: 2,
      delayMs: 0,
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

  /** Serves requests, once the database is known to be this farm's. */
  #startServing(): void {
    const grantHandlers: Partial<Handlers<typeof builds.verbs>> = {
      NEXT: async ({ fence, lease_s, wants }) => {
        // Throws if another Architect leads now. `fence` is that of the Slave Driver.
        this.context.assertLeader();
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
    // While the farm is paused, builds in progress continue, and no more are granted.
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
          // READY is published as soon as the database is back.
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

  /** Grants the next build for a target; returns undefined if there is none. */
  async #grantNext(
    target: TargetQueue,
    request: Omit<FencedGrantRequest, keyof queue.PendingBuild>,
  ): Promise<queue.LeasedBuild | PiwError | undefined> {
    for (let attempt = 0; attempt < MAX_GRANT_ATTEMPTS; attempt += 1) {
      const next = await this.#takeNext(target);
      if (!next) return undefined;
      const granted = await this.#grantBatch.add({ ...next, ...request });
      if (granted) return granted;
      // The buffer is outdated: others of its builds may have been taken, too.
      target.fetchedAt = -Infinity;
    }
    return undefined;
  }

  async #takeNext(target: TargetQueue): Promise<queue.PendingBuild | undefined> {
    const age = this.clock.monotonicMs() - target.fetchedAt;
    if (age > PREFETCH_TTL_MS) target.limit = Math.max(PREFETCH_LIMIT.min, Math.floor(target.limit / 2));
    const isEmpty = () => target.buffers.every(({ list }) => list.length === 0);
    if (age > PREFETCH_TTL_MS || isEmpty()) await this.#refill(target);
    // More slaves ask at once than there are builds in the buffers: enlarge them.
    for (
      let fetches = 0;
      fetches < MAX_GRANT_ATTEMPTS && isEmpty() && target.buffers.some(({ exhausted }) => !exhausted);
      fetches += 1
    ) {
      if (!target.refilling) target.limit = Math.min(PREFETCH_LIMIT.max, target.limit * 2);
      await this.#refill(target);
    }
    const buffer = roundRobin(target.buffers);
    const build = buffer?.list.shift();
    if (!buffer || !build) return undefined;
    this.#inFlightGrants.add(keyOf(build));
    if (buffer.list.length < target.limit / 2 && !buffer.exhausted && !target.refilling) {
      if (age < MIN_REFILL_INTERVAL_MS) target.limit = Math.min(PREFETCH_LIMIT.max, target.limit * 2);
      void this.runInBackground(() => this.#refill(target));
    }
    return build;
  }

  /** Leases builds to slaves, in one statement per fence. */
  async #grantRequests(
    requests: readonly FencedGrantRequest[],
  ): Promise<readonly (queue.LeasedBuild | PiwError | undefined)[]> {
    const results = new Map<string, queue.LeasedBuild | PiwError>();
    for (const fence of new Set(requests.map((request) => request.fence))) {
      const sameFence = requests.filter((request) => request.fence === fence);
      try {
        for (const granted of await queue.leaseBuilds(this.#database, sameFence, fence))
          results.set(keyOf(granted), granted);
      } catch (error) {
        // The fence is that of a Slave Driver that has been replaced. Grants with another fence are unaffected.
        rethrowUnexpected(error);
        for (const request of sameFence) results.set(keyOf(request), error);
      }
    }
    for (const request of requests) this.#inFlightGrants.delete(keyOf(request));
    return requests.map((request) => results.get(keyOf(request)));
  }

  /**
   * Refills prefetch buffers of a target, by default all, and publishes READY if slaves wait and at least one is not
   * empty. While a refill is in progress, returns that one.
   */
  #refill(target: TargetQueue, buffers: readonly PrefetchBuffer[] = target.buffers): Promise<void> {
    target.refilling ??= (async () => {
      try {
        const { abi, platform, limit } = target;
        if (buffers === target.buffers) target.fetchedAt = this.clock.monotonicMs();
        for (const buffer of buffers) {
          const order = { abi, platform, priority: buffer.priority, first: this.#settings.backlogOrder };
          const count = limit + this.#inFlightGrants.size;
          const fetched = await queue.nextPendingBuilds(this.#database, { ...order, count });
          const available = fetched.filter((build) => !this.#inFlightGrants.has(keyOf(build)));
          buffer.exhausted = fetched.length < count;
          buffer.list = available.slice(0, limit);
        }
        if (!target.hasWaiters || target.buffers.every(({ list }) => list.length === 0)) return;
        target.hasWaiters = false;
        await this.#buildHints.publish('READY', { abi, platform });
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

  /**
   * Refills the empty buffers, and all buffers of targets for which slaves wait; drops the targets for which no slave
   * has asked lately.
   */
  async #refillStarved(): Promise<void> {
    for (const [key, target] of this.#targets) {
      if (this.clock.monotonicMs() - target.requestedAt > TARGET_EXPIRY_MS) {
        this.#targets.delete(key);
        continue;
      }
      // A refill in progress may have started before the change that the notification was about.
      await target.refilling;
      const starved = target.buffers.filter(({ list, exhausted }) => exhausted && list.length === 0);
      if (target.hasWaiters) await this.#refill(target);
      // The other buffers still hold builds: reading the front of a long queue again would tell nothing new.
      else if (starved.length > 0) await this.#refill(target, starved);
    }
  }

  /**
   * Requeues builds whose leases have expired, except during the grace period after this process started or could
   * not reach NATS or the database: slaves could not renew their leases then.
   */
  async #expireLeases(): Promise<void> {
    const began = this.clock.monotonicMs();
    try {
      await this.bus.rtt();
      if (this.clock.monotonicMs() - began > OUTAGE_RTT_MS)
        this.#graceUntil = this.clock.monotonicMs() + RENEWAL_GRACE_MS;
      await this.#followDatabaseClock();
      if (this.clock.monotonicMs() < this.#graceUntil) return;
      const lost = await queue.requeueExpired(this.#database);
      if (lost > 0) this.log.info('leases expired and builds requeued', { count: lost });
    } catch (error) {
      this.#graceUntil = this.clock.monotonicMs() + RENEWAL_GRACE_MS;
      throw error;
    }
  }

  /**
   * Checks whether somebody has set the database's clock, by which leases expire. If so, shifts the leases by the
   * same time, so that no slave loses one.
   */
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
    this.log.warning("the database's clock was set: leases are shifted", { by_s: Math.round(jumpMs / 1000) });
    await queue.shiftLeases(this.#database, jumpMs);
  }

  /** Updates the queue for targets that were added, skipped or removed, slice by slice, until nothing is left to do. */
  async #fillQueue(): Promise<void> {
    while (!this.isStopping() && !this.paused) {
      const began = this.clock.monotonicMs();
      this.context.assertLeader();
      if (!(await fillSlice(this.#database))) return;
      const pauseMs = Math.max(MIN_SLICE_PAUSE_MS, this.clock.monotonicMs() - began);
      await pause(this.clock, pauseMs);
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
      abi,
      platform,
      buffers,
      refilling: undefined,
      limit: PREFETCH_LIMIT.min,
      fetchedAt: -Infinity,
      requestedAt: -Infinity,
      hasWaiters: false,
    };
    this.#targets.set(key, target);
    return target;
  }
}

const keyOf = ({ versionId, targetId }: queue.PendingBuild): string => `${versionId} ${targetId}`;
