import { Protocol } from './protocol.js';
import { LOG_VERBS } from './weblog.js';

/** What piw logger asks of Lumberjack, who answers when it is in the database. */
export const lumberjack = new Protocol('logger', LOG_VERBS);
