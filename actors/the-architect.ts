import { Actor, type ActorContext } from '../src/actor/actor.js';
import { Batch } from '../src/actor/batch.js';
import { Client } from '../src/actor/client.js';
import type { Database } from '../src/database/pool.js';
import * as queue from '../src/database/queue.js';
import { PiwError } from '../src/errors.js';
import { fillSlice } from '../src/database/targets.js';
import { builds, pending, type Grant } from '../src/protocols/builds.js';
import { PRIORITY } from '../src/protocols/oracle.js';

export interface ArchitectSettings {
  /** Which of the backlog comes first. */
  readonly first: 'newest' | 'oldest';
  /** Of so many builds given out while all of them wait: requests, releases of today, the backlog. */
  readonly weights: readonly [request: number, release: number, backlog: number];
}

/** How many builds of a priority are taken ahead of need: at least, and at most, where many are asked for. */
const AHEAD = { least: 4, most: 200 };
/** The Architect's own short lease on what it has taken ahead, seconds; no longer kept than `fresh`. */
const HOLD_S = 30;
const FRESH_MS = 15_000;
/** What is taken ahead lasts for longer than this, if it can. */
const OFTEN_MS = 1000;
/** The slow poll behind the database's hints, and how often leases that ran out are returned, seconds. */
const POLL_S = 2;
const EXPIRE_S = 5;
/** Hints come with every logged build; they are looked after no more often than this. */
const HINT_MS = 50;
/** A slice of a target that was added or skipped is followed by a rest as long as itself, at least this. */
const REST_MS = 20;

/** What was taken ahead of one priority, in the order in which it is given out. */
interface Ahead {
  readonly priority: number;
  readonly weight: number;
  credit: number;
  list: readonly queue.Taken[];
  takenAt: number;
  /** The queue had no more of it when it was last asked. */
  empty: boolean;
}

/** A lease that is to be a slave's. */
interface Asked {
  readonly lease: number;
  readonly slaveId: number;
  readonly leaseS: number;
  readonly fence: number;
}

interface Target {
  readonly abi: string;
  readonly platform: string;
  readonly ahead: readonly Ahead[];
  /** The fetch that is under way. */
  fetching: Promise<void> | undefined;
  /** How many are taken ahead of each priority: more when that is done often, fewer when they grew stale. */
  most: number;
  fetchedAt: number;
}

/**
 * Gives out the builds. Whoever asks for the next one of a target gets it from those that were taken
 * ahead of need, some of each priority in one statement; grants are written before they are answered, those
 * of questions that come together in one transaction. What was taken ahead is on a lease of HOLD_S of its own, so a death of
 * this process delays those builds by no more than that.
 *
 * While builds of several priorities wait, they take turns by weight: so a request comes next, and the
 * backlog still moves while releases pour in. For a target that had nothing it says READY when there is
 * something again. The database's notification is only ever a hint to look; a slow poll stands behind it.
 *
 * Beside this it makes the queue follow targets that were added or skipped, slice by slice.
 */
export class TheArchitect extends Actor {
  readonly #database: Database;
  readonly #settings: ArchitectSettings;
  readonly #targets = new Map<string, Target>();
  readonly #pending: Client<typeof pending.verbs>;
  readonly #listening = new AbortController();
  readonly #grants: Batch<Asked, boolean | PiwError>;
  #hinted: NodeJS.Timeout | undefined;

  /**
   * The database may be a relaxed one. Should a crash of PostgreSQL undo the last moments, then what was
   * taken can't be granted any more, and a grant that is gone is a build that is done again: the first
   * slave's lease isn't its own any more, and its result is dropped.
   */
  constructor(context: ActorContext, database: Database, settings: ArchitectSettings) {
    super(context);
    this.#database = database;
    this.#settings = settings;
    this.#pending = new Client(this.bus, pending);
    this.#grants = new Batch({
      run: (asked) => this.#grant(asked),
      ...{ maxItems: 200, maxInFlight: 2, delayMs: 0 },
    });
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
    this.#database.listen(
      'piw_queue',
      () => {
        this.#hint();
      },
      this.#listening.signal,
    );
    this.every(POLL_S, () => this.#look(), POLL_S);
    this.every(POLL_S, () => this.#fill());
    this.every(EXPIRE_S, async () => {
      const returned = await queue.returnExpired(this.#database);
      if (returned > 0)
        this.log.info(`${String(returned)} leases ran out; their builds are in the queue again`);
    });
  }

  protected override async stopped(): Promise<void> {
    this.#listening.abort();
    clearTimeout(this.#hinted);
    await this.#giveBack([...this.#targets.values()].flatMap((target) => target.ahead));
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
      const taken = await this.#take(target);
      if (taken) given.push({ at, slave, taken });
    }
    const grants = given.map(({ slave, taken }) =>
      this.#grants.add({ lease: taken.lease, slaveId: slave, leaseS, fence }),
    );
    for (const [i, held] of (await Promise.all(grants)).entries()) {
      if (held instanceof PiwError) throw held;
      const { at, taken } = given[i] ?? {};
      // One whose own lease ran out meanwhile is somebody else's by now; the slave asks again.
      if (!held || at === undefined || !taken) continue;
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
    const now = this.clock.now();
    // Too near to the end of our own lease: they come again in their order.
    const stale = target.ahead.filter(({ list, takenAt }) => list.length > 0 && now - takenAt > FRESH_MS);
    if (stale.length > 0) {
      target.most = Math.max(AHEAD.least, Math.floor(target.most / 2));
      await this.#giveBack(stale);
    }
    if (target.ahead.every(({ list }) => list.length === 0)) await this.#fetch(target);
    const next = turn(target.ahead);
    const [first, ...rest] = next?.list ?? [];
    if (next) next.list = rest;
    if (target.ahead.some((one) => one.list.length < target.most / 2 && !one.empty) && !target.fetching) {
      if (now - target.fetchedAt < OFTEN_MS) target.most = Math.min(AHEAD.most, target.most * 2);
      target.fetchedAt = now;
      void this.track(() => this.#fetch(target));
    }
    return first;
  }

  async #giveBack(stale: readonly Ahead[]): Promise<void> {
    const leases = stale.flatMap(({ list }) => list.map(({ lease }) => [lease, null] as const));
    for (const ahead of stale) Object.assign(ahead, { list: [], empty: false });
    if (leases.length > 0) await queue.release(this.#database, leases);
  }

  /** Makes leases those of slaves, in one transaction for those who ask with the same fence. */
  async #grant(asked: readonly Asked[]): Promise<readonly (boolean | PiwError)[]> {
    const held = new Map<number, boolean | PiwError>();
    for (const fence of new Set(asked.map((one) => one.fence))) {
      const its = asked.filter((one) => one.fence === fence);
      try {
        for (const lease of await queue.grant(this.#database, its, fence)) held.set(lease, true);
      } catch (error) {
        // Of a Slave Driver that was replaced; the others' grants stand.
        if (!(error instanceof PiwError)) throw error;
        for (const { lease } of its) held.set(lease, error);
      }
    }
    return asked.map(({ lease }) => held.get(lease) ?? false);
  }

  #fetch(target: Target): Promise<void> {
    target.fetching ??= (async () => {
      try {
        const counts = target.ahead.map(
          ({ priority, list }) => [priority, target.most - list.length] as const,
        );
        const taken = await queue.takeAhead(this.#database, {
          ...{ abi: target.abi, platform: target.platform, holdS: HOLD_S, first: this.#settings.first },
          counts: counts.filter(([, count]) => count > 0),
        });
        for (const [at, ahead] of target.ahead.entries()) {
          const its = taken.filter(({ priority }) => priority === ahead.priority);
          if (ahead.list.length === 0) ahead.takenAt = this.clock.now();
          ahead.list = [...ahead.list, ...its];
          ahead.empty = its.length < (counts[at]?.[1] ?? 0);
        }
      } finally {
        target.fetching = undefined;
      }
    })();
    return target.fetching;
  }

  #hint(): void {
    this.#hinted ??= setTimeout(() => {
      this.#hinted = undefined;
      void this.track(() => this.#look());
    }, HINT_MS);
  }

  /** Takes what has come to targets and priorities that had nothing, and tells those who wait. */
  async #look(): Promise<void> {
    for (const target of this.#targets.values()) {
      const waits = target.ahead.every(({ list }) => list.length === 0);
      if (!target.ahead.some(({ list, empty }) => empty && list.length === 0)) continue;
      await this.#fetch(target);
      if (!waits || target.ahead.every(({ list }) => list.length === 0)) continue;
      await this.#pending.publish('READY', { abi: target.abi, platform: target.platform, some: true });
    }
  }

  /** Makes the queue follow the targets, until it does or it is time to look again. */
  async #fill(): Promise<void> {
    while (!this.isStopping() && !this.paused) {
      const began = this.clock.now();
      this.context.fence();
      if (!(await fillSlice(this.#database))) return;
      const rest = Math.max(REST_MS, this.clock.now() - began);
      await new Promise<void>((resolve) => this.clock.after(rest, resolve));
    }
  }

  #target(abi: string, platform: string): Target {
    const key = `${abi} ${platform}`;
    const known = this.#targets.get(key);
    if (known) return known;
    const [request, release, backlog] = this.#settings.weights;
    const ahead = [
      [PRIORITY.request, request],
      [PRIORITY.release, release],
      [PRIORITY.backlog, backlog],
    ].map(([priority = 0, weight = 1]) => ({
      priority,
      weight,
      credit: 0,
      list: [],
      takenAt: 0,
      empty: false,
    }));
    const target: Target = { abi, platform, ahead, fetching: undefined, most: AHEAD.least, fetchedAt: 0 };
    this.#targets.set(key, target);
    return target;
  }
}

/** Whose turn it is: each that has something gains its weight, and the one that has most pays for all. */
function turn(ahead: readonly Ahead[]): Ahead | undefined {
  const waiting = ahead.filter(({ list }) => list.length > 0);
  for (const one of ahead) if (one.list.length === 0) one.credit = 0;
  for (const one of waiting) one.credit += one.weight;
  const next = waiting.reduce<Ahead | undefined>((a, b) => (a && a.credit >= b.credit ? a : b), undefined);
  if (next) next.credit -= waiting.reduce((sum, { weight }) => sum + weight, 0);
  return next;
}
