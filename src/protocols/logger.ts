import { Protocol } from './protocol.js';
import { LOG_VERBS } from './weblog.js';

/** The requests of piw logger to Lumberjack, which answers once the entries are in the database. */
export const lumberjack = new Protocol('logger', LOG_VERBS);
