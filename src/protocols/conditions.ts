import { ShortText, Line, Time, listOf } from './fields.js';
import { Protocol } from './protocol.js';
import { Type, type Static } from './schema.js';

/**
 * A state in which part of the farm does nothing, or less than it should, until somebody or something ends it.
 * Kind and subject name it: the same pair from several processes is one condition.
 */
export const Condition = Type.Object(
  {
    /** What is wrong, e.g. `disk-full`, `no-leader`, `database-away`, `nats-away`, `slave-set-aside`. */
    kind: Type.String({ minLength: 1, maxLength: 40, pattern: '^[a-z]+(-[a-z]+)*$' }),
    /** With what: a task, a path, a server, a slave. */
    subject: ShortText,
    /** Since when, milliseconds since 1970. */
    since: Time,
    /** One line for people. */
    text: Line,
  },
  { additionalProperties: false },
);
export type Condition = Static<typeof Condition>;

/** The most that one process reports. */
export const MAX_CONDITIONS = 200;
/** A process reports its conditions when they change, and this often while it has any, seconds. */
export const REPORT_INTERVAL_S = 5;
/** What a process has not reported again for this long has ended, or the process has, seconds. */
export const REPORT_EXPIRY_S = 20;

/** Published for Big Brother and whoever else watches. It needs neither an answer nor the database. */
export const conditionReports = new Protocol('conditions', {
  /** All conditions of one process: those that are not in its last report have ended. */
  REPORT: { fields: { source: ShortText, conditions: listOf(Condition, MAX_CONDITIONS) } },
});
