import { endWithParent } from './actor/parent.js';

/** The entry of a task's process, see actor-main.ts. Nothing is loaded before the end of the master is noticed. */
endWithParent();
const { main } = await import('./actor-main.js');
// Explicitly: a connection that the other side doesn't close would keep the process alive.
process.exit(await main());
