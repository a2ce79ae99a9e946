import { ShortText, Line, Time, listOf } from '../model/fields.js';
import { Protocol } from './protocol.js';
import { Type, type Static } from '../model/schema.js';

/**
 * A state in which part of the farm does nothing, or less than it should, until somebody or something ends it.
 * Kind and subject identify it: the same pair from several processes is one condition.
 */
export const Condition = Type.Object(
  {
    /** The kind of problem: `disk-full`, `no-leader`, `database-away`, `nats-away`, `slave-set-aside`. */
    kind: Type.String({ minLength: 1, maxLength: 40, pattern: '^[a-z]+(-[a-z]+)*$' }),
    /** The affected task, path, server or slave. */
    subject: ShortText,
    /** Since when, milliseconds since 1970. */
    since: Time,
    /** One line for operators. */
    text: Line,
  },
  { additionalProperties: false },
);
export type Condition = Static<typeof Condition>;

/** Conditions that one process reports at most. */
export const MAX_CONDITIONS = 200;
/** A process reports its conditions when they change, and every REPORT_INTERVAL_S seconds while it has any. */
export const REPORT_INTERVAL_S = 5;
/** A condition that is not reported again for this many seconds has ended, or its process has. */
export const REPORT_EXPIRY_S = 20;

/** Reports that are published for Big Brother and other watchers. They need neither an answer nor the database. */
export const conditionReports = new Protocol('conditions', {
  /** All conditions of one process, the `source`; conditions that its last report doesn't contain have ended. */
  REPORT: { fields: { source: ShortText, conditions: listOf(Condition, MAX_CONDITIONS) } },
});
