import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { Bus, type BusOptions } from '../bus/bus.js';
import { LeaderLease } from '../bus/lease.js';
import { PiwError, hasCode, rethrowUnexpected } from '../errors.js';
import type { Log } from '../log.js';
import { redactAddress } from '../bus/address.js';
import { actorPing, orders, status } from '../protocols/control.js';
import { oracle } from '../protocols/oracle.js';
import { PROTOCOL_VERSION } from '../version.js';
import { Actor, type ActorContext, type PauseMode } from './actor.js';
import { ProtocolClient } from './client.js';
import { farmIdentity } from '../protocols/farm.js';
import { onAbort } from '../concurrency/abort.js';
import { systemClock, type Clock } from '../concurrency/clock.js';
import { deferred } from '../concurrency/deferred.js';
import { pause } from '../concurrency/pause.js';
import { withTimeLimit } from '../concurrency/time-limit.js';
import type { Conditions } from './conditions.js';
import { OWN_VERSION, incompatibilityReason, discoverFarm, type FarmIdentity } from './identity.js';
import { ANNOUNCE_INTERVAL_S } from './task-watch.js';

/** One task of the cast. `S` is the type of its actor's settings. */
export interface ActorSpec<S> {
  readonly task: string;
  /** `pool`: any number of processes share the work. `single`: one holds the lease, the others stand by. */
  readonly kind: 'single' | 'pool';
  readonly pausing: PauseMode;
  /** How many processes of it a master starts. */
  readonly count: number;
  /** The wave in which it is stopped, before those of lower waves (src/actor/waves.ts); by default 0. */
  readonly wave?: number;
  /** The niceness of its processes, 0 to 19. */
  readonly nice?: number;
  /** The size of its young generation, MB, if not the default: see src/node-flags.ts. */
  readonly semiSpaceMb?: number;
  /**
   * Loads the code of its actor, so that no other process has to, and returns the actor's factory. A process that
   * stands by loads it beforehand, because the files may be of another version by the time it takes over.
   */
  readonly load: () => Promise<ActorFactory<S>>;
}

export type ActorFactory<S> = (context: ActorContext, settings: S) => Actor | Promise<Actor>;

export interface ActorRunOptions {
  readonly bus: BusOptions;
  readonly log: Log;
  /** Stops the actor: it accepts no more work, finishes what it has, and ends. */
  readonly signal: AbortSignal;
  /** The name under which its supervisor pings it. */
  readonly instance?: string;
  /** A clock for the actor in place of the system's. */
  readonly clock?: Clock;
  /** Under a supervisor it ignores a QUIT to all, which the supervisor handles. */
  readonly supervised?: boolean;
  /** Called when a single begins to wait for its lease, and when the actor is at work. */
  readonly onState?: (state: 'standing by' | 'at work') => void;
}

/** How long an actor may take to finish its work, milliseconds. Its supervisor waits a little longer. */
const FINISH_LIMIT_MS = 10_000;
/** How long releasing the lease and draining the connection may take at the end, milliseconds. NATS may be down. */
const [RELEASE_LIMIT_MS, DRAIN_LIMIT_MS] = [1000, 1000];
/** How late a pong may come, milliseconds: a single must reach another server before its lease expires. */
const PONG_LIMIT_MS = 1000;

/**
 * Runs one actor from its first connection to its end. Resolves when the actor was told to stop and has stopped.
 * Throws the error that crashed the actor, or PIW_NOT_LEADER when a single has lost its lease (its state may be
 * outdated, so it has to start again, standing by).
 */
export async function runActor<S>(spec: ActorSpec<S>, settings: S, options: ActorRunOptions): Promise<void> {
  const { log, signal } = options;
  const createActor = await spec.load();
  const server = redactAddress(options.bus.address);
  const reporting: { conditions?: Conditions } = {};
  const bus = await Bus.connect({
    patienceMs: 60_000,
    pongLimitMs: PONG_LIMIT_MS,
    ...options.bus,
    signal,
    onWaiting: (text) => {
      log.warning(text, { server });
    },
    onStatus: (text, connected) => {
      if (!reporting.conditions) log.warning(text, { server });
      else if (connected) reporting.conditions.clear('nats-away', server);
      else reporting.conditions.raise('nats-away', server, text);
    },
  }).catch((error: unknown) => {
    // The actor was told to stop before it was connected.
    if (hasCode(error, 'PIW_INTERRUPTED')) return undefined;
    throw error;
  });
  if (!bus) return;
  if (!options.supervised) await refuseOtherVersion(bus);
  const termination = createTermination(signal);
  void bus.closed().then(() => {
    termination.end(new PiwError('PIW_DISCONNECTED', 'the connection to NATS has ended'));
  });
  let lease: LeaderLease | undefined;
  bus.onErrorAnswer = ({ code }) => {
    if (code === 'PIW_FENCED') lease?.dispute();
  };
  const context: ActorContext = {
    task: spec.task,
    bus,
    log,
    clock: options.clock ?? systemClock,
    pausing: spec.pausing,
    assertLeader: () => {
      lease?.check();
      return lease?.fence ?? 0;
    },
    crash: (error) => {
      termination.end(error instanceof Error ? error : new Error(String(error)));
    },
  };
  // The sidecar talks to other processes, so it uses the system's clock in any case.
  const sidecar = new ActorSidecar(
    { ...context, clock: systemClock, pausing: 'ignores' },
    spec,
    options,
    termination.end,
  );
  sidecar.start();
  reporting.conditions = sidecar.conditions;
  let actor: Actor | undefined;
  const isEnding = (): boolean => termination.signal.aborted;
  const startActor = async (): Promise<void> => {
    if (spec.kind === 'single') {
      options.onState?.('standing by');
      const holder = `${hostname()}/${process.pid}`;
      lease = await LeaderLease.acquire(bus, spec.task, holder, termination.signal, {
        onTrouble: (text) => {
          log.warning(text, { task: spec.task });
        },
      });
      void lease?.lost.then(() => {
        termination.end(new PiwError('PIW_NOT_LEADER', 'the lease was lost; standing by'));
      });
    }
    if (isEnding()) return;
    actor = await createActor(context, settings);
    await sidecar.attach(actor, lease !== undefined, termination.signal);
    if (isEnding()) return;
    await actor.start();
    if (isEnding()) return;
    options.onState?.('at work');
    log.info('at work', { fence: lease?.fence });
  };
  try {
    const starting = startActor();
    // An actor that is told to stop does not wait for its start to complete.
    await Promise.race([starting.then(() => termination.promise), termination.promise]);
  } finally {
    await withTimeLimit(systemClock, FINISH_LIMIT_MS, stopAll(actor, sidecar, lease, bus), () => {
      log.error('did not finish in time', { limit_s: FINISH_LIMIT_MS / 1000 });
      // If the actor starts again in this process, what remains of it must not be heard.
      return bus.drain(0);
    });
  }
}

/** Throws PIW_PROTOCOL_VERSION if the farm is of another version, for a process that no master has started. */
async function refuseOtherVersion(bus: Bus): Promise<void> {
  try {
    await discoverFarm(bus);
  } catch (error) {
    // If the connection has just broken, the farm's announcement, sent every few seconds, serves the same purpose.
    if (hasCode(error, 'PIW_DISCONNECTED')) return;
    await bus.drain(DRAIN_LIMIT_MS);
    throw error;
  }
}

async function stopAll(
  actor: Actor | undefined,
  sidecar: Actor,
  lease: LeaderLease | undefined,
  bus: Bus,
): Promise<void> {
  await bus.prepareShutdown();
  await actor?.stop();
  // A lease that can't be released expires.
  if (lease) await withTimeLimit(systemClock, RELEASE_LIMIT_MS, lease.release());
  await sidecar.stop();
  await bus.drain(DRAIN_LIMIT_MS);
}

/** Executes orders and answers pings for an actor, whatever the actor is busy with. */
class ActorSidecar<S> extends Actor {
  readonly #spec: ActorSpec<S>;
  readonly #options: ActorRunOptions;
  readonly #end: (error?: Error) => void;
  #actor: Actor | undefined;
  #leader = false;

  constructor(
    context: ActorContext,
    spec: ActorSpec<S>,
    options: ActorRunOptions,
    end: (error?: Error) => void,
  ) {
    super(context);
    this.#spec = spec;
    this.#options = options;
    this.#end = end;
  }

  override start(): void {
    const isForThisTask = (task: string) => task === '*' || task === this.#spec.task;
    const pause = async (task: string, paused: boolean) => {
      if (isForThisTask(task)) await this.#actor?.pause(paused);
    };
    this.serve(
      orders,
      {
        PAUSE: ({ task }) => pause(task, true),
        RESUME: ({ task }) => pause(task, false),
        QUIT: ({ task }) => {
          if (task === this.#spec.task || (task === '*' && !this.#options.supervised)) this.#end();
        },
      },
      { queue: null },
    );
    const pong = () =>
      ({
        verb: 'PONG',
        task: this.#spec.task,
        pid: process.pid,
        protocol: PROTOCOL_VERSION,
        leader: this.#leader,
        paused: this.#actor?.paused ?? false,
        served: this.#actor?.served ?? 0,
      }) as const;
    // This process may have started before the farm's master.
    const checkVersion = ({ version }: FarmIdentity) => {
      const reason = incompatibilityReason(version);
      if (reason === undefined || this.#options.supervised) return;
      this.#end(
        new PiwError(
          'PIW_PROTOCOL_VERSION',
          `the farm is of version ${version}, and this process is of version ${OWN_VERSION}`,
        ),
      );
    };
    this.serve(farmIdentity, { HERE: checkVersion }, { verb: 'HERE', queue: null });
    const announcements = new ProtocolClient(this.bus, status);
    this.every(ANNOUNCE_INTERVAL_S, () => {
      const { task, pid, served } = pong();
      const working = this.#actor !== undefined && (this.#leader || this.#spec.kind === 'pool');
      return announcements.publish('ACTOR', { task, pid, served, working, host: hostname() });
    });
    // The supervisor pings the process by its name; whoever wants to see every process pings "all".
    for (const name of [this.#options.instance ?? randomUUID(), 'all']) {
      this.serve(actorPing, { PING: pong }, { tokens: [actorPing.name, name], queue: null });
    }
  }

  /**
   * Attaches the actor, and pauses it if the database says that it is paused. Waits until the database answers, or
   * until `signal`.
   */
  async attach(actor: Actor, leader: boolean, signal: AbortSignal): Promise<void> {
    this.#actor = actor;
    this.#leader = leader;
    if (this.#spec.pausing === 'ignores') return;
    const database = new ProtocolClient(this.bus, oracle);
    while (!signal.aborted) {
      try {
        const { tasks } = await database.request(
          'GETPAUSED',
          {},
          { timeoutMs: 2000, patienceMs: 5000, signal },
        );
        if (tasks.includes('*') || tasks.includes(this.#spec.task)) await actor.pause(true);
        break;
      } catch (error) {
        rethrowUnexpected(error);
        this.conditions.raise(
          'waits-for-database',
          this.#spec.task,
          `${this.#spec.task} can't start: ${error.message}`,
        );
        await pause(systemClock, 1000, signal);
      }
    }
    this.conditions.clear('waits-for-database', this.#spec.task);
  }
}

/** Creates the end of a run, which `outer` or an error brings about: `promise` settles and `signal` aborts. */
function createTermination(outer: AbortSignal) {
  const controller = new AbortController();
  const { promise, resolve, reject } = deferred();
  const end = (error?: Error): void => {
    controller.abort();
    if (error) reject(error);
    else resolve();
  };
  promise.catch(() => undefined);
  onAbort(outer, end);
  return { end, promise, signal: controller.signal };
}
