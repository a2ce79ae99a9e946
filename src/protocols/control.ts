import { Type, type Static } from './schema.js';
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
} from './fields.js';
import { Protocol } from './protocol.js';
import { Statistics } from './statistics.js';

const Task = Type.String({ minLength: 1, maxLength: 40, pattern: '^(\\*|[a-z-]+)$' });
const slaveOrder = { fields: { slave_id: orNull(Id) }, answers: DONE };

/**
 * An administrator's orders, answered by one of the masters once they are kept and passed on.
 * `task` is a task's name, or `*` for all; a null slave_id means every slave.
 */
export const control = new Protocol('control', {
  PAUSE: { fields: { task: Task }, answers: DONE },
  RESUME: { fields: { task: Task }, answers: DONE },
  /** Ends the whole cast on every host (`*`), or restarts one task; `slaves`: they get BYE too. */
  QUIT: { fields: { task: Task, slaves: Flag }, answers: DONE },
});

/** The same orders as they reach every process of a task. */
export const orders = new Protocol('orders', {
  PAUSE: { fields: { task: Task } },
  RESUME: { fields: { task: Task } },
  QUIT: { fields: { task: Task } },
});

/** What a monitor knows of a slave. */
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
  /** Why it does nothing, for people. */
  note: orNull(ShortText),
  stats: orNull(MachineStats),
});
export type SlaveStatus = Static<typeof SlaveStatus>;

/** Orders about slaves, answered by the Slave Driver. */
export const slaveControl = new Protocol('slaves', {
  /** BYE, at once or after what it builds; at once: answered when it was told, or a few seconds later. */
  KILL: { fields: { slave_id: orNull(Id), after_build: Flag }, answers: DONE },
  /** No more work, after what it builds. */
  SLEEP: slaveOrder,
  /** Work again, also for one that rests because its builds failed. */
  WAKE: slaveOrder,
  /** Give up what it builds now, which others may try soon. */
  SKIP: slaveOrder,
  /** Say again what is known of every slave, as status. */
  HELLO: { fields: {}, answers: { SLAVES: { slaves: listOf(SlaveStatus, 100_000) } }, reads: true },
});

/** Published for whoever watches; it may be lost. */
export const status = new Protocol('status', {
  SLAVE: { fields: { slave: SlaveStatus } },
  STATISTICS: { fields: { statistics: Statistics } },
  /** A build ended: package, version, abi, whether it worked, and in how many seconds. */
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
      /** A failure that may pass: it is tried again so many seconds from now. */
      again_s: orNull(Type.Number()),
    },
  },
  /** Said by each process every ANNOUNCE_INTERVAL_S: `working` unless it only stands by, paused or not. */
  ACTOR: { fields: { task: Task, host: ShortText, pid: Count, working: Flag, served: Count } },
});

/** Every actor answers on its own: is the connection alive, and what has it done so far? */
export const actorPing = new Protocol('ping', {
  PING: {
    fields: {},
    answers: {
      PONG: { task: Task, pid: Count, protocol: Count, leader: Flag, paused: Flag, served: Count },
    },
    reads: true,
  },
});
