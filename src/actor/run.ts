import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { Bus, type BusOptions } from '../bus/bus.js';
import { Lease } from '../bus/lease.js';
import { PiwError } from '../errors.js';
import type { Log } from '../log.js';
import { redactAddress } from '../bus/address.js';
import { actorPing, orders, status } from '../protocols/control.js';
import { oracle } from '../protocols/oracle.js';
import { PROTOCOL } from '../version.js';
import { Actor, type ActorContext, type Pausing } from './actor.js';
import { Client } from './client.js';
import { farmIdentity } from '../protocols/farm.js';
import { systemClock, type Clock } from './clock.js';
import type { Conditions } from './conditions.js';
import { OWN_VERSION, refuseVersion, whoIsThere, type Identity } from './identity.js';
import { ANNOUNCE_INTERVAL_S } from './task-watch.js';

/** One task of the cast. `S` is what its actor has to know to begin. */
export interface Part<S> {
  readonly task: string;
  /** `pool`: any number share the work. `single`: one holds the lease, the others stand by. */
  readonly kind: 'single' | 'pool';
  readonly pausing: Pausing;
  /** How many processes a master starts of it. */
  readonly count: number;
  /** When it is stopped: before those of a lower wave (src/actor/waves.ts). 0 if left out. */
  readonly wave?: number;
  /** How much it stands back for the others where processors are short, 0 to 19. */
  readonly nice?: number;
  /** Room for what is new in its process, MB, if not the usual: see src/node-flags.ts. */
  readonly roomMb?: number;
  /**
   * Loads the code of its actor, which no other process pays for, and gives how one is made. One that
   * stands by has loaded it before: its files may be of another version when its turn comes.
   */
  readonly load: () => Promise<Make<S>>;
}

export type Make<S> = (context: ActorContext, settings: S) => Actor | Promise<Actor>;

export interface RunOptions {
  readonly bus: BusOptions;
  readonly log: Log;
  /** Aborted when the actor is to take no more, finish and end. */
  readonly signal: AbortSignal;
  /** The name under which its supervisor pings it. */
  readonly instance?: string;
  /** The actor's own, in place of the system's. */
  readonly clock?: Clock;
  /** A process of its own obeys QUIT to all; one under a supervisor leaves that to it. */
  readonly supervised?: boolean;
  /** Called when a single begins to wait for its lease, and when the actor is at work. */
  readonly onState?: (state: 'standing by' | 'at work') => void;
}

/** How long an actor may take to finish what it has, milliseconds. Its supervisor waits a little longer. */
const FINISH_LIMIT_MS = 10_000;
/** How long a lease is handed back and a connection drained at the end, milliseconds. NATS may be away. */
const [RELEASE_LIMIT_MS, DRAIN_LIMIT_MS] = [1000, 1000];

/**
 * Runs one actor from its first connection to its end. It resolves when the actor was told to stop
 * and has; it raises what the actor crashed of, or PIW_NOT_LEADER when a single lost its lease (the
 * state that it had may be old: it begins anew, standing by).
 */
export async function runActor<S>(part: Part<S>, settings: S, options: RunOptions): Promise<void> {
  const { log, signal } = options;
  const make = await part.load();
  const told: { conditions?: Conditions } = {};
  const bus = await Bus.connect({
    patienceMs: 60_000,
    ...options.bus,
    signal,
    onWaiting: (text) => {
      log.warning(text);
    },
    onStatus: (text, connected) => {
      const server = redactAddress(options.bus.address);
      if (!told.conditions) log.warning(text);
      else if (connected) told.conditions.clear('nats-away', server);
      else told.conditions.raise('nats-away', server, text);
    },
  }).catch((error: unknown) => {
    // It was told to end before it was connected.
    if (error instanceof PiwError && error.code === 'PIW_INTERRUPTED') return undefined;
    throw error;
  });
  if (!bus) return;
  if (!options.supervised) await refuseOtherVersion(bus);
  const ended = ending(signal);
  void bus.closed().then(() => {
    ended.end(new PiwError('PIW_DISCONNECTED', 'the connection to NATS has ended'));
  });
  let lease: Lease | undefined;
  const context: ActorContext = {
    task: part.task,
    bus,
    log,
    clock: options.clock ?? systemClock,
    pausing: part.pausing,
    fence: () => {
      lease?.check();
      return lease?.fence ?? 0;
    },
    crash: (error) => {
      ended.end(error instanceof Error ? error : new Error(String(error)));
    },
  };
  // It speaks with other processes, which have clocks of their own.
  const attendant = new Attendant(
    { ...context, clock: systemClock, pausing: 'ignores' },
    part,
    options,
    ended.end,
  );
  attendant.start();
  told.conditions = attendant.conditions;
  let actor: Actor | undefined;
  const isEnding = (): boolean => ended.signal.aborted;
  const work = async (): Promise<void> => {
    if (part.kind === 'single') {
      options.onState?.('standing by');
      const who = `${hostname()}/${String(process.pid)}`;
      lease = await Lease.acquire(bus, part.task, who, ended.signal, {
        onTrouble: (text) => {
          log.warning(text);
        },
      });
      void lease?.lost.then(() => {
        ended.end(new PiwError('PIW_NOT_LEADER', 'the lease was lost; standing by'));
      });
    }
    if (isEnding()) return;
    actor = await make(context, settings);
    await attendant.take(actor, lease !== undefined, ended.signal);
    if (isEnding()) return;
    await actor.start();
    if (isEnding()) return;
    options.onState?.('at work');
    log.info(lease ? `at work, with lease ${String(lease.fence)}` : 'at work');
  };
  try {
    const working = work();
    // Whoever is told to end doesn't wait first for what it needs to begin.
    await Promise.race([working.then(() => ended.promise), ended.promise]);
  } finally {
    await within(FINISH_LIMIT_MS, stopAll(actor, attendant, lease, bus), () => {
      log.error(`did not finish within ${String(FINISH_LIMIT_MS / 1000)} s`);
    });
  }
}

/** A process that no master has started may be of another version than the farm that it comes to. */
async function refuseOtherVersion(bus: Bus): Promise<void> {
  try {
    await whoIsThere(bus);
  } catch (error) {
    // Where the connection breaks just now, what the farm says of itself every few seconds will do.
    if (error instanceof PiwError && error.code === 'PIW_DISCONNECTED') return;
    await bus.drain(DRAIN_LIMIT_MS);
    throw error;
  }
}

async function stopAll(
  actor: Actor | undefined,
  attendant: Actor,
  lease: Lease | undefined,
  bus: Bus,
): Promise<void> {
  await bus.leave();
  await actor?.stop();
  // One that can't be handed back runs out by itself.
  if (lease) await within(RELEASE_LIMIT_MS, lease.release());
  await attendant.stop();
  await bus.drain(DRAIN_LIMIT_MS);
}

/** Obeys orders and answers pings for an actor, whatever the actor is busy with. */
class Attendant<S> extends Actor {
  readonly #part: Part<S>;
  readonly #options: RunOptions;
  readonly #end: (error?: Error) => void;
  #actor: Actor | undefined;
  #leader = false;

  constructor(context: ActorContext, part: Part<S>, options: RunOptions, end: (error?: Error) => void) {
    super(context);
    this.#part = part;
    this.#options = options;
    this.#end = end;
  }

  override start(): void {
    const mine = (task: string) => task === '*' || task === this.#part.task;
    const pause = async (task: string, paused: boolean) => {
      if (mine(task)) await this.#actor?.pause(paused);
    };
    this.serve(
      orders,
      {
        PAUSE: ({ task }) => pause(task, true),
        RESUME: ({ task }) => pause(task, false),
        QUIT: ({ task }) => {
          if (task === this.#part.task || (task === '*' && !this.#options.supervised)) this.#end();
        },
      },
      { queue: null },
    );
    const pong = () =>
      ({
        verb: 'PONG',
        task: this.#part.task,
        pid: process.pid,
        protocol: PROTOCOL,
        leader: this.#leader,
        paused: this.#actor?.paused ?? false,
        served: this.#actor?.served ?? 0,
      }) as const;
    // Its supervisor asks for it by name; whoever wants to see them all asks all, and reads on.
    // It may have come before the farm's master.
    const check = ({ version }: Identity) => {
      const reason = refuseVersion(version);
      if (reason === undefined || this.#options.supervised) return;
      this.#end(
        new PiwError('PIW_PROTOCOL_VERSION', `the farm is of version ${version}, and this is ${OWN_VERSION}`),
      );
    };
    this.serve(farmIdentity, { HERE: check }, { verb: 'HERE', queue: null });
    const announcements = new Client(this.bus, status);
    this.every(ANNOUNCE_INTERVAL_S, () => {
      const { task, pid, served } = pong();
      const working = this.#actor !== undefined && (this.#leader || this.#part.kind === 'pool');
      return announcements.publish('ACTOR', { task, pid, served, working, host: hostname() });
    });
    for (const name of [this.#options.instance ?? randomUUID(), 'all']) {
      this.serve(actorPing, { PING: pong }, { tokens: [actorPing.name, name], queue: null });
    }
  }

  /** The actor begins, paused if the database says so; until the database answers, or `signal`, it does not. */
  async take(actor: Actor, leader: boolean, signal: AbortSignal): Promise<void> {
    this.#actor = actor;
    this.#leader = leader;
    if (this.#part.pausing === 'ignores') return;
    const database = new Client(this.bus, oracle);
    while (!signal.aborted) {
      try {
        const { tasks } = await database.ask('GETPAUSED', {}, { timeoutMs: 2000, patienceMs: 5000, signal });
        if (tasks.includes('*') || tasks.includes(this.#part.task)) await actor.pause(true);
        break;
      } catch (error) {
        if (!(error instanceof PiwError)) throw error;
        this.conditions.raise(
          'waits-for-database',
          this.#part.task,
          `${this.#part.task} can't begin: ${error.message}`,
        );
        await sleep(1000, undefined, { signal }).catch(() => undefined);
      }
    }
    this.conditions.clear('waits-for-database', this.#part.task);
  }
}

/** The end of a run: asked for from outside, or brought about by an error. */
function ending(outer: AbortSignal) {
  const controller = new AbortController();
  let end: (error?: Error) => void = () => undefined;
  const promise = new Promise<void>((resolve, reject) => {
    end = (error) => {
      controller.abort();
      if (error) reject(error);
      else resolve();
    };
  });
  promise.catch(() => undefined);
  if (outer.aborted) end();
  else
    outer.addEventListener(
      'abort',
      () => {
        end();
      },
      { once: true },
    );
  return { end, promise, signal: controller.signal };
}

async function within(ms: number, what: Promise<void>, late = (): void => undefined): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      late();
      resolve();
    }, ms);
  });
  await Promise.race([what, limit]);
  clearTimeout(timer);
}
