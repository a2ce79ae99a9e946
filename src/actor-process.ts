import { endWithParent } from './actor/parent.js';

/** The entry point of a task's process, see actor-main.ts. The check for the master comes before all other loading. */
endWithParent();
const { main } = await import('./actor-main.js');
// Exits explicitly, because a connection that the other side doesn't close would keep the process alive.
process.exit(await main());
