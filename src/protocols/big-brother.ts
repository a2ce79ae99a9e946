import { Protocol } from './protocol.js';
import { Statistics } from './statistics.js';

/** Big Brother: the statistics, for whoever can't wait until they are said again. */
export const bigBrother = new Protocol('figures', {
  /** All of them, as they are now. */
  GATHER: { fields: {}, answers: { STATISTICS: { statistics: Statistics } }, reads: true },
});
