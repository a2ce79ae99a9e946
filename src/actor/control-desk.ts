import { control, orders, status } from '../protocols/control.js';
import { oracle } from '../protocols/oracle.js';
import { slaveControl } from '../protocols/control.js';
import { Actor, type ActorContext } from './actor.js';
import { farmIdentity } from '../protocols/farm.js';
import { ProtocolClient } from './client.js';
import type { FarmIdentity } from './identity.js';
import { answerWho } from './membership.js';
import { ANNOUNCE_INTERVAL_S, TaskWatch, type WatchedTask } from './task-watch.js';

const BIG_BROTHER = 'big-brother';

/** A start that takes longer than this is a condition, too. */
const START_GRACE_MS = 5 * 60_000;

/**
 * Takes an administrator's orders, in every master; one of them gets each. PAUSE is written to the
 * database before it is passed on, so that an actor that starts later finds it. It also tells when nobody is at work
 * as Big Brother, who tells the same of the other tasks: while he is away, it tells that of all of them.
 */
export class ControlDesk extends Actor {
  readonly #quit: () => void;
  readonly #orders: ProtocolClient<typeof orders.verbs>;
  readonly #oracle: ProtocolClient<typeof oracle.verbs>;
  readonly #slaves: ProtocolClient<typeof slaveControl.verbs>;

  readonly #taskWatch: TaskWatch;
  readonly #identity: FarmIdentity | undefined;
  readonly #isStarting: () => boolean;

  /**
   * `quit` ends this master; every master of the farm hears the order. `tasks` and `identity` are the farm's. While
   * `isStarting`, the supervisor says which tasks are not there yet, and no condition does.
   */
  constructor(
    context: ActorContext,
    quit: () => void,
    tasks: readonly WatchedTask[],
    identity?: FarmIdentity,
    isStarting: () => boolean = () => false,
  ) {
    super(context);
    this.#quit = quit;
    this.#taskWatch = new TaskWatch(this.clock, tasks);
    this.#identity = identity;
    this.#isStarting = isStarting;
    this.#orders = new ProtocolClient(this.bus, orders);
    this.#oracle = new ProtocolClient(this.bus, oracle, undefined, { timeoutMs: 5000, patienceMs: 15_000 });
    this.#slaves = new ProtocolClient(this.bus, slaveControl, undefined, { timeoutMs: 5000 });
  }

  override start(): void {
    const done = { verb: 'DONE' } as const;
    this.serve(control, {
      PAUSE: async ({ task }) => {
        await this.#oracle.request('SETPAUSED', { task, paused: true });
        await this.#orders.publish('PAUSE', { task });
        return done;
      },
      RESUME: async ({ task }) => {
        await this.#oracle.request('SETPAUSED', { task, paused: false });
        await this.#orders.publish('RESUME', { task });
        return done;
      },
      QUIT: async ({ task, slaves }) => {
        if (slaves) await this.#slaves.request('KILL', { slave_id: null, after_build: false });
        await this.#orders.publish('QUIT', { task });
        return done;
      },
    });
    this.serve(
      orders,
      {
        PAUSE: () => undefined,
        RESUME: () => undefined,
        QUIT: ({ task }) => {
          if (task === '*') this.#quit();
        },
      },
      { queue: null },
    );
    this.serve(
      status,
      {
        ACTOR: ({ task, working }) => {
          this.#taskWatch.onAnnouncement(task, working);
        },
      },
      { verb: 'ACTOR', queue: null },
    );
    this.#serveIdentity();
    const began = this.clock.monotonicMs();
    this.every(ANNOUNCE_INTERVAL_S, () => {
      const bigBrotherMissing = this.#taskWatch.isMissing(BIG_BROTHER);
      const starting = this.#isStarting() && this.clock.monotonicMs() - began < START_GRACE_MS;
      this.#taskWatch.updateConditions(
        this.conditions,
        (task) => !starting && (bigBrotherMissing || task === BIG_BROTHER),
      );
    });
  }

  /** Tells whoever comes to this prefix whose it is, also while no Oracle is there, and of which version. */
  #serveIdentity(): void {
    const identity = this.#identity;
    if (!identity) return;
    this.serve(
      farmIdentity,
      {
        WHO: ({ version }) => {
          const answer = answerWho(identity, version);
          if (answer.verb === 'BYE') this.log.warning(`a process of version ${version} was refused`);
          return answer;
        },
      },
      { verb: 'WHO', queue: null },
    );
    const announcements = new ProtocolClient(this.bus, farmIdentity);
    this.every(ANNOUNCE_INTERVAL_S, () => announcements.publish('HERE', identity));
  }
}
