import { control, orders, slaveControl, status } from '../src/protocols/control.js';
import { oracle } from '../src/protocols/oracle.js';
import { Actor, type ActorContext } from '../src/actor/actor.js';
import { farmIdentity } from '../src/protocols/farm.js';
import { ProtocolClient } from '../src/actor/client.js';
import type { FarmIdentity } from '../src/actor/identity.js';
import { answerWho } from '../src/actor/membership.js';
import { ANNOUNCE_INTERVAL_S, TaskWatch, type WatchedTask } from '../src/actor/task-watch.js';

const BIG_BROTHER = 'big-brother';

/** During this time after the start of a master, milliseconds, a task that is not running yet is not a condition. */
const START_GRACE_MS = 5 * 60_000;

/** What the desk needs of the process that it runs in. */
export interface SupervisorHooks {
  /** Ends this master; every master of the farm gets the order. */
  readonly quit: () => void;
  /** While it returns true, no conditions are raised: the supervisor reports which tasks are not ready. */
  readonly isStarting: () => boolean;
  readonly identity: FarmIdentity;
}

/**
 * Executes an administrator's orders. Every master has a control desk, and each order goes to one of them. It writes
 * PAUSE to the database before passing it on, so that actors that start later find it. Big Brother raises the
 * conditions of missing tasks; the desk raises Big Brother's own and, while Big Brother is missing, those of all tasks.
 *
 * It is the only actor that runs in the supervisor's own process, because it has to outlive its children: it ends that
 * process, it knows whether the children are still starting, it raises conditions about those that are missing, and it
 * tells newcomers which farm this is while none of the children runs.
 */
export class ControlDesk extends Actor {
  readonly #quit: () => void;
  readonly #orders: ProtocolClient<typeof orders.verbs>;
  readonly #oracle: ProtocolClient<typeof oracle.verbs>;
  readonly #slaves: ProtocolClient<typeof slaveControl.verbs>;

  readonly #taskWatch: TaskWatch;
  readonly #identity: FarmIdentity;
  readonly #isStarting: () => boolean;

  constructor(
    context: ActorContext,
    { quit, isStarting, identity }: SupervisorHooks,
    tasks: readonly WatchedTask[],
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

  /** Answers, even while there is no Oracle, which farm has this prefix, and of which version it is. */
  #serveIdentity(): void {
    const identity = this.#identity;
    this.serve(
      farmIdentity,
      {
        WHO: ({ version }) => {
          const answer = answerWho(identity, version);
          if (answer.verb === 'BYE') this.log.warning('process refused', { version });
          return answer;
        },
      },
      { verb: 'WHO', queue: null },
    );
    const announcements = new ProtocolClient(this.bus, farmIdentity);
    this.every(ANNOUNCE_INTERVAL_S, () => announcements.publish('HERE', identity));
  }
}
