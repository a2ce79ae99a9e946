import { Protocol } from './protocol.js';
import { Condition, MAX_CONDITIONS } from './conditions.js';
import { listOf } from '../model/fields.js';
import { Statistics } from './statistics.js';

/** Requests to Big Brother, for clients that can't wait until the statistics are next published. */
export const bigBrother = new Protocol('figures', {
  /** The current statistics. */
  GATHER: { fields: {}, answers: { STATISTICS: { statistics: Statistics } } },
  /** The current conditions. Answered even if no other actor runs and the database is down. */
  CONDITIONS: {
    fields: {},
    answers: { CONDITIONS: { conditions: listOf(Condition, MAX_CONDITIONS) } },
  },
});
