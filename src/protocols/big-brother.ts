import { Protocol } from './protocol.js';
import { Condition, MAX_CONDITIONS } from './conditions.js';
import { listOf } from './fields.js';
import { Statistics } from './statistics.js';

/** Big Brother: the statistics, for whoever can't wait until they are said again. */
export const bigBrother = new Protocol('figures', {
  /** All of them, as they are now. */
  GATHER: { fields: {}, answers: { STATISTICS: { statistics: Statistics } }, reads: true },
  /** What keeps parts of the farm from their work; it needs nobody else, and no database. */
  CONDITIONS: {
    fields: {},
    answers: { CONDITIONS: { conditions: listOf(Condition, MAX_CONDITIONS) } },
    reads: true,
  },
});
