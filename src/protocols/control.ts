import { Type, type Static } from '../model/schema.js';
import {
  Count,
  DONE,
  Flag,
  Id,
  LeaseId,
  Sentence,
  ShortText,
  MachineStats,
  Tag,
  Time,
  SubjectToken,
  listOf,
  orNull,
} from '../model/fields.js';
import { Protocol } from './protocol.js';
import { OutputLines } from './slave-driver.js';
import { Statistics } from './statistics.js';

/** The name of a task, or `*` for all tasks. */
const Task = Type.String({ minLength: 1, maxLength: 40, pattern: '^(\\*|[a-z-]+)$' });
const slaveOrder = {
  fields: {
    /** The slave; null: all slaves. */
    slave_id: orNull(Id),
  },
  answers: DONE,
};

/**
 * An administrator's orders, which one of the masters answers once they are stored and forwarded.
 * `task` is a task's name, or `*` for all; a null slave_id means all slaves.
 */
export const control = new Protocol('control', {
  /** Pauses a task, now and after restarts, until it is resumed. */
  PAUSE: { fields: { task: Task }, answers: DONE },
  /** Resumes a task. */
  RESUME: { fields: { task: Task }, answers: DONE },
  /** Stops all actors on every host (`*`), or restarts one task; with `slaves`, slaves get BYE as well. */
  QUIT: { fields: { task: Task, slaves: Flag }, answers: DONE },
});

/** The same orders, forwarded to every process of a task. */
export const orders = new Protocol('orders', {
  /** Pause, if you are of this task. */
  PAUSE: { fields: { task: Task } },
  /** Resume, if you are of this task. */
  RESUME: { fields: { task: Task } },
  /** Finish what you are doing, and end. */
  QUIT: { fields: { task: Task } },
});

/** The state of a slave, as monitors show it. */
export const SlaveStatus = Type.Object({
  slave_id: Id,
  user: SubjectToken,
  label: ShortText,
  abi: Tag,
  platform: Tag,
  /** Its state: `idle`, `building`, `sending`, … */
  state: Type.String({ maxLength: 20 }),
  /** The package that it builds or sends; null: none. */
  package: orNull(ShortText),
  /** Its version. */
  version: orNull(ShortText),
  /** When it came into this state. */
  since: Time,
  /** When it was last heard from. */
  last_seen: Time,
  /** Why it does nothing, for operators. */
  note: orNull(ShortText),
  stats: orNull(MachineStats),
});
export type SlaveStatus = Static<typeof SlaveStatus>;

/** Milliseconds between two FOLLOW. */
export const FOLLOW_INTERVAL_MS = 500;

/** Orders for slaves, which the Slave Driver answers. */
export const slaveControl = new Protocol('slaves', {
  /**
   * Says BYE to the slave, at once or (`after_build`) after its current build. If at once, answered after the BYE or a
   * few seconds.
   */
  KILL: { fields: { ...slaveOrder.fields, after_build: Flag }, answers: DONE },
  /** Gives the slave no more work after its current build. */
  SLEEP: slaveOrder,
  /** Gives the slave work again, also if it rests because its builds have failed. */
  WAKE: slaveOrder,
  /** Makes the slave abandon its current build, which other slaves may try soon. */
  SKIP: slaveOrder,
  /**
   * Returns the next lines, from line `from` on, of the output of the slave's build; `first` is the number of the first
   * one, which is higher if earlier lines are no longer there. Whoever follows a build repeats this at least every
   * FOLLOW_INTERVAL_MS, and gets no lines while there are no new ones. NONE: the slave does not hold this lease, or,
   * if it is null, any.
   */
  FOLLOW: {
    fields: { slave_id: Id, lease: orNull(LeaseId), from: Count },
    answers: { OUTPUT: { lease: LeaseId, first: Count, lines: OutputLines }, NONE: {} },
  },
  /** Returns the status of all slaves. */
  HELLO: { fields: {}, answers: { SLAVES: { slaves: listOf(SlaveStatus, 100_000) } } },
});

/** Status that is published for monitors; messages may be lost. */
export const status = new Protocol('status', {
  /** The state of a slave has changed. */
  SLAVE: { fields: { slave: SlaveStatus } },
  /** All figures, every 30 seconds. */
  STATISTICS: { fields: { statistics: Statistics } },
  /** A build of this `package` and `version` has ended; `status` says whether it succeeded. */
  BUILD: {
    fields: {
      slave_id: Id,
      package: ShortText,
      version: ShortText,
      abi: Tag,
      status: Flag,
      failure_class: orNull(ShortText),
      /** Why it failed; null: it succeeded. */
      reason: orNull(Sentence),
      duration_s: Type.Number(),
      /** Seconds until the retry of a transient failure; null: no retry. */
      retry_after_s: orNull(Type.Number()),
    },
  },
  /** Published by each process every ANNOUNCE_INTERVAL_S. `working` is false for a standby, and true even if paused. */
  ACTOR: { fields: { task: Task, host: ShortText, pid: Count, working: Flag, served: Count } },
});

/** A ping that every actor answers: whether its connection is alive, and how many requests it has served. */
export const actorPing = new Protocol('ping', {
  /** Answered by the process of that name, or, with `all` in the place of its name, by every process. */
  PING: {
    fields: {},
    answers: {
      PONG: {
        task: Task,
        pid: Count,
        /** The number of the protocol that it speaks: see src/version.ts. */
        protocol: Count,
        /** Whether it holds the lease of its task; false for a pool. */
        leader: Flag,
        paused: Flag,
        served: Count,
      },
    },
  },
});
