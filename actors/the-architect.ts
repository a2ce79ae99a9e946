import { Actor, type ActorContext, type Handlers } from '../src/actor/actor.js';
import { Membership } from '../src/actor/membership.js';
import { registryOf } from '../src/database/installation.js';
import { Batch } from '../src/actor/batch.js';
import { Client } from '../src/actor/client.js';
import type { Database } from '../src/database/pool.js';
import * as queue from '../src/database/queue.js';
import { PiwError } from '../src/errors.js';
import { fillSlice } from '../src/database/targets.js';
import { builds, pending, type Grant } from '../src/protocols/builds.js';
import { PRIORITY } from '../src/protocols/oracle.js';
import { turn, type Turn } from '../src/states/turn.js';

export interface ArchitectSettings {
  /** Which of the backlog comes first. */
  readonly first: 'newest' | 'oldest';
  /** Of so many builds given out while all of them wait: requests, releases of today, the backlog. */
  readonly weights: readonly [request: number, release: number, backlog: number];
}

/** How many builds of a priority are kept in mind: at least, and at most, where many are asked for. */
const AHEAD = { least: 4, most: 200 };
/** They are looked at again when they are older than this, however few were asked for. */
const FRESH_MS = 5000;
/** As many are kept in mind as last for longer than this. */
const OFTEN_MS = 250;
/** A slave whose build has just gone otherwise gets another one; so often in all. */
const TRIES = 5;
/** The slow poll behind the database's hints, and how often leases that ran out are returned, seconds. */
const POLL_S = 2;
const EXPIRE_S = 5;
/** Hints come with every logged build; they are looked after no more often than this. */
const HINT_MS = 50;
/** A slice of a target that was added or skipped is followed by a rest as long as itself, at least this. */
const REST_MS = 20;
/**
 * For so long nothing is taken from a slave after the leases could not be renewed: all of them say BUSY
 * meanwhile, milliseconds.
 */
const GRACE_MS = 60_000;
/** A server that answers no sooner than this was away. */
const AWAY_MS = 5000;
/** A difference of clocks that changes by this much between two checks was changed by somebody, milliseconds. */
const CLOCK_JUMP_MS = 5000;
/** A target that nobody asked for during so long is looked after no more. A slave that waits asks more often. */
const FORGET_MS = 60_000;

/** What comes next of one priority. */
interface Ahead extends Turn<queue.Waiting> {
  readonly priority: number;
  /** The queue had no more of it when it was last looked at. */
  empty: boolean;
}

interface Asked extends queue.Grant {
  readonly fence: number;
}

interface Target {
  readonly abi: string;
  readonly platform: string;
  readonly ahead: readonly Ahead[];
  /** The look at the queue that is under way. */
  looking: Promise<void> | undefined;
  /** How many are kept in mind of each priority. */
  most: number;
  lookedAt: number;
  askedAt: number;
  /** A slave got nothing; it is told when there is something again. */
  turnedAway: boolean;
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
  readonly #targets = new Map<string, Target>();
  readonly #pending: Client<typeof pending.verbs>;
  readonly #listening = new AbortController();
  readonly #grants: Batch<Asked, queue.Granted | PiwError | undefined>;
  /** Builds that are being given out. */
  readonly #going = new Set<string>();
  /** Until then no lease runs out, by the monotonic clock. */
  #graceUntil: number;
  /** The database's clock, less the monotonic one of this process. */
  #clockDifference: number | undefined;
  /** Takes back the call that a hint has brought about. */
  #hinted: (() => void) | undefined;

  /**
   * The database may be a relaxed one. Should a crash of PostgreSQL undo a grant of the last moments, that
   * build is done again: the first slave's lease isn't its own any more, and its result is dropped.
   */
  constructor(context: ActorContext, database: Database, settings: ArchitectSettings) {
    super(context);
    this.#database = database;
    this.#settings = settings;
    this.#pending = new Client(this.bus, pending);
    this.#graceUntil = this.clock.monotonicMs() + GRACE_MS;
    this.#grants = new Batch({
      run: (asked) => this.#grant(asked),
      ...{ maxItems: 200, maxInFlight: 2, delayMs: 0 },
    });
  }

  override start(): void {
    this.#database.tellTo(this.conditions);
    void this.track(async () => {
      try {
        const farm = new Membership(this.bus, registryOf(this.#database));
        if (await farm.join(() => this.isStopping())) this.#begin();
      } catch (error) {
        this.context.crash(error);
      }
    });
  }

  /** Only once it is known that the database is this farm's. */
  #begin(): void {
    const given: Partial<Handlers<typeof builds.verbs>> = {
      NEXT: async ({ fence, lease_s, wants }) => {
        this.context.fence();
        return { verb: 'BUILDS', granted: await this.#next(fence, lease_s, wants) };
      },
    };
    const held: Partial<Handlers<typeof builds.verbs>> = {
      RENEW: async ({ lease_s, leases }) => ({
        verb: 'RENEWED',
        lost: [...(await queue.renew(this.#database, leases, lease_s))],
      }),
      RELEASE: async ({ leases, hold_s }) => {
        await queue.release(this.#database, leases, hold_s);
        return { verb: 'DONE' };
      },
    };
    this.serve(builds, given, { verb: 'NEXT' });
    // Whoever builds goes on building while nothing more is given out.
    for (const verb of ['RENEW', 'RELEASE']) this.serve(builds, held, { verb, always: true });
    this.#database.listen(
      'piw_queue',
      () => {
        this.#hint();
      },
      this.#listening.signal,
    );
    this.every(POLL_S, () => this.#seek(), POLL_S);
    this.every(POLL_S, () => this.#fill());
    this.every(EXPIRE_S, () => this.#expire());
  }

  protected override async stopped(): Promise<void> {
    this.#listening.abort();
    this.#hinted?.();
    await this.#database.close();
  }

  async #next(
    fence: number,
    leaseS: number,
    wants: readonly (readonly [number, string, string])[],
  ): Promise<Grant[]> {
    return await Promise.all(
      wants.map(async ([slaveId, abi, platform]) => {
        const target = this.#target(abi, platform);
        target.askedAt = this.clock.monotonicMs();
        const granted = await this.#give(target, { slaveId, leaseS, fence }).catch((error: unknown) => {
          // The slave is told as soon as the database is back.
          target.turnedAway = true;
          throw error;
        });
        if (granted instanceof PiwError) throw granted;
        if (!granted) {
          target.turnedAway = true;
          return null;
        }
        const { lease, attempt, package: name, number, sdistUrl, sdistSha256 } = granted;
        return [lease, attempt, name, number, sdistUrl, sdistSha256];
      }),
    );
  }

  /** What comes next, as a slave's own from now on; undefined if there is nothing. */
  async #give(
    target: Target,
    whose: Omit<Asked, keyof queue.Waiting>,
  ): Promise<queue.Granted | PiwError | undefined> {
    for (let tries = 0; tries < TRIES; tries += 1) {
      const next = await this.#take(target);
      if (!next) return undefined;
      const granted = await this.#grants.add({ ...next, ...whose });
      if (granted) return granted;
      // What is in mind is old: others of it may have gone, too.
      target.lookedAt = -Infinity;
    }
    return undefined;
  }

  async #take(target: Target): Promise<queue.Waiting | undefined> {
    const age = this.clock.monotonicMs() - target.lookedAt;
    if (age > FRESH_MS) target.most = Math.max(AHEAD.least, Math.floor(target.most / 2));
    const nothing = () => target.ahead.every(({ list }) => list.length === 0);
    if (age > FRESH_MS || nothing()) await this.#look(target);
    // More ask together than was looked for.
    for (let looks = 0; looks < TRIES && nothing() && target.ahead.some(({ empty }) => !empty); looks += 1) {
      if (!target.looking) target.most = Math.min(AHEAD.most, target.most * 2);
      await this.#look(target);
    }
    const next = turn(target.ahead);
    const [first, ...rest] = next?.list ?? [];
    if (!next || !first) return undefined;
    next.list = rest;
    this.#going.add(keyOf(first));
    if (next.list.length < target.most / 2 && !next.empty && !target.looking) {
      if (age < OFTEN_MS) target.most = Math.min(AHEAD.most, target.most * 2);
      void this.track(() => this.#look(target));
    }
    return first;
  }

  /** Gives builds to slaves, in one statement for those who ask with the same fence. */
  async #grant(asked: readonly Asked[]): Promise<readonly (queue.Granted | PiwError | undefined)[]> {
    const found = new Map<string, queue.Granted | PiwError>();
    for (const fence of new Set(asked.map((one) => one.fence))) {
      const its = asked.filter((one) => one.fence === fence);
      try {
        for (const granted of await queue.grant(this.#database, its, fence))
          found.set(keyOf(granted), granted);
      } catch (error) {
        // Of a Slave Driver that was replaced; the others' grants stand.
        if (!(error instanceof PiwError)) throw error;
        for (const one of its) found.set(keyOf(one), error);
      }
    }
    for (const one of asked) this.#going.delete(keyOf(one));
    return asked.map((one) => found.get(keyOf(one)));
  }

  /** Looks what comes next for a target, and tells the slaves that wait for it if there is something. */
  #look(target: Target): Promise<void> {
    target.looking ??= (async () => {
      try {
        const { abi, platform, ahead, most } = target;
        target.lookedAt = this.clock.monotonicMs();
        for (const one of ahead) {
          const order = { abi, platform, priority: one.priority, first: this.#settings.first };
          const count = most + this.#going.size;
          const found = await queue.front(this.#database, { ...order, count });
          const waiting = found.filter((build) => !this.#going.has(keyOf(build)));
          one.empty = found.length < count;
          one.list = waiting.slice(0, most);
        }
        if (!target.turnedAway || ahead.every(({ list }) => list.length === 0)) return;
        target.turnedAway = false;
        await this.#pending.publish('READY', { abi, platform, some: true });
      } finally {
        target.looking = undefined;
      }
    })();
    return target.looking;
  }

  #hint(): void {
    this.#hinted ??= this.clock.after(HINT_MS, () => {
      this.#hinted = undefined;
      void this.track(() => this.#seek());
    });
  }

  /** Looks what has come to targets and priorities that had nothing, and to those that slaves wait for. */
  async #seek(): Promise<void> {
    for (const [key, target] of this.#targets) {
      if (this.clock.monotonicMs() - target.askedAt > FORGET_MS) {
        this.#targets.delete(key);
        continue;
      }
      const wanting = target.ahead.some(({ list, empty }) => empty && list.length === 0);
      if (!wanting && !target.turnedAway) continue;
      // A look that is under way may have begun before what there is a hint of.
      await target.looking;
      await this.#look(target);
    }
  }

  /** Returns what slaves fell silent over; not what they could not renew because this side was away. */
  async #expire(): Promise<void> {
    const began = this.clock.monotonicMs();
    try {
      await this.bus.rtt();
      if (this.clock.monotonicMs() - began > AWAY_MS) this.#graceUntil = this.clock.monotonicMs() + GRACE_MS;
      await this.#followClock();
      if (this.clock.monotonicMs() < this.#graceUntil) return;
      const lost = await queue.returnExpired(this.#database);
      if (lost > 0) this.log.info(`${String(lost)} leases ran out; their builds are in the queue again`);
    } catch (error) {
      this.#graceUntil = this.clock.monotonicMs() + GRACE_MS;
      throw error;
    }
  }

  /** Leases end by the database's clock. When that is set, they are moved with it, and nobody loses one for it. */
  async #followClock(): Promise<void> {
    const before = this.clock.monotonicMs();
    const time = await queue.databaseTime(this.#database);
    const now = this.clock.monotonicMs();
    // A slow answer says nothing about the clock.
    if (now - before > CLOCK_JUMP_MS) return;
    const difference = time - now;
    const jump = difference - (this.#clockDifference ?? difference);
    this.#clockDifference = difference;
    if (Math.abs(jump) < CLOCK_JUMP_MS) return;
    const seconds = String(Math.round(Math.abs(jump) / 1000));
    this.log.warning(`the database's clock was set ${jump > 0 ? 'forward' : 'back'} by ${seconds} s`);
    await queue.moveLeases(this.#database, jump);
  }

  /** Makes the queue follow the targets, until it does or it is time to look again. */
  async #fill(): Promise<void> {
    while (!this.isStopping() && !this.paused) {
      const began = this.clock.monotonicMs();
      this.context.fence();
      if (!(await fillSlice(this.#database))) return;
      const rest = Math.max(REST_MS, this.clock.monotonicMs() - began);
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
      empty: false,
    }));
    const target: Target = {
      ...{ abi, platform, ahead, looking: undefined, most: AHEAD.least },
      ...{ lookedAt: -Infinity, askedAt: -Infinity, turnedAway: false },
    };
    this.#targets.set(key, target);
    return target;
  }
}

const keyOf = ({ version, target }: queue.Waiting): string => `${String(version)} ${String(target)}`;
