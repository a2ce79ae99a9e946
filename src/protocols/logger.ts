import { DONE, listOf } from './fields.js';
import { LogRow } from './oracle.js';
import { Protocol } from './protocol.js';

const rows = { fields: { rows: listOf(LogRow, 10_000) }, answers: DONE };

/** What piw logger sends to Lumberjack, in batches; answered when the rows are in the database. */
export const lumberjack = new Protocol('logger', {
  LOGDOWNLOAD: rows,
  LOGSEARCH: rows,
  LOGPROJECT: rows,
  LOGJSON: rows,
  LOGPAGE: rows,
});
