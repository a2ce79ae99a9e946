import { Type, type Static } from '../model/schema.js';
import {
  Count,
  DONE,
  Flag,
  Id,
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
import { Statistics } from './statistics.js';

const Task = Type.String({ minLength: 1, maxLength: 40, pattern: '^(\\*|[a-z-]+)$' });
const slaveOrder = { fields: { slave_id: orNull(Id) }, answers: DONE };

/**
 * An administrator's orders, which one of the masters answers once they are stored and forwarded.
 * `task` is a task's name, or `*` for all; a null slave_id means all slaves.
 */
export const control = new Protocol('control', {
  PAUSE: { fields: { task: Task }, answers: DONE },
  RESUME: { fields: { task: Task }, answers: DONE },
  /** Stops all actors on every host (`*`), or restarts one task; with `slaves`, slaves get BYE as well. */
  QUIT: { fields: { task: Task, slaves: Flag }, answers: DONE },
});

/** The same orders, forwarded to every process of a task. */
export const orders = new Protocol('orders', {
  PAUSE: { fields: { task: Task } },
  RESUME: { fields: { task: Task } },
  QUIT: { fields: { task: Task } },
});

/** The state of a slave, as monitors show it. */
export const SlaveStatus = Type.Object({
  slave_id: Id,
  user: SubjectToken,
  label: ShortText,
  abi: Tag,
  platform: Tag,
  state: Type.String({ maxLength: 20 }),
  package: orNull(ShortText),
  version: orNull(ShortText),
  since: Time,
  last_seen: Time,
  /** Why it does nothing, for operators. */
  note: orNull(ShortText),
  stats: orNull(MachineStats),
});
export type SlaveStatus = Static<typeof SlaveStatus>;

/** Orders for slaves, which the Slave Driver answers. */
export const slaveControl = new Protocol('slaves', {
  /** Says BYE to the slave, at once or after its current build. If at once, answered after the BYE or a few seconds. */
  KILL: { fields: { slave_id: orNull(Id), after_build: Flag }, answers: DONE },
  /** Gives the slave no more work after its current build. */
  SLEEP: slaveOrder,
  /** Gives the slave work again, also if it rests because its builds have failed. */
  WAKE: slaveOrder,
  /** Makes the slave abandon its current build, which other slaves may try soon. */
  SKIP: slaveOrder,
  /** Returns the status of all slaves. */
  HELLO: { fields: {}, answers: { SLAVES: { slaves: listOf(SlaveStatus, 100_000) } } },
});

/** Status that is published for monitors; messages may be lost. */
export const status = new Protocol('status', {
  SLAVE: { fields: { slave: SlaveStatus } },
  STATISTICS: { fields: { statistics: Statistics } },
  /** A build has ended; `status` says whether it succeeded. */
  BUILD: {
    fields: {
      slave_id: Id,
      package: ShortText,
      version: ShortText,
      abi: Tag,
      status: Flag,
      failure_class: orNull(ShortText),
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
  PING: {
    fields: {},
    answers: {
      PONG: { task: Task, pid: Count, protocol: Count, leader: Flag, paused: Flag, served: Count },
    },
  },
});
