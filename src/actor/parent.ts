/*
 * A process that was started with an IPC channel ends when its parent does, whatever killed the parent. An entry
 * imports this file statically and everything else dynamically, so that the handler is in place before anything is
 * loaded: a cold start takes seconds on a busy machine, and an orphan would take leases with old settings.
 */

/** As a shell has it for SIGINT; nobody is left to read it. */
const ORPHAN_EXIT_CODE = 130;

let parentGoneHandler = (): void => {
  process.exit(ORPHAN_EXIT_CODE);
};

/** True if this process was started with an IPC channel whose other end is closed. */
const isOrphan = (): boolean => process.send !== undefined && !process.connected;

/** Ends this process as soon as its parent is gone; at once if it is gone already. */
export function endWithParent(): void {
  if (process.send === undefined) return;
  process.once('disconnect', () => {
    parentGoneHandler();
  });
  if (isOrphan()) parentGoneHandler();
}

/** Calls `stop` when the parent is gone, in place of ending at once: there is something to finish first. */
export function onParentGone(stop: () => void): void {
  parentGoneHandler = stop;
  if (isOrphan()) stop();
}
