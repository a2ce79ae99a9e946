/*
 * Ends a process that was started with an IPC channel when its parent ends, whatever killed the parent. An entry point
 * imports this file statically and everything else dynamically, so that the handler is in place before anything else is
 * loaded: a cold start takes seconds on a busy machine, and an orphan would take leases with outdated settings.
 */

/** The code of a shell for SIGINT; nobody is left to read it. */
const ORPHAN_EXIT_CODE = 130;

let parentGoneHandler = (): void => {
  process.exit(ORPHAN_EXIT_CODE);
};

/** Whether this process was started with an IPC channel whose other end is closed. */
const isOrphan = (): boolean => process.send !== undefined && !process.connected;

/** Ends this process as soon as its parent is gone; at once if it already is. */
export function endWithParent(): void {
  if (process.send === undefined) return;
  process.once('disconnect', () => {
    parentGoneHandler();
  });
  if (isOrphan()) parentGoneHandler();
}

/** Calls `stop` when the parent is gone, for a process that has to finish something before it ends. */
export function onParentGone(stop: () => void): void {
  parentGoneHandler = stop;
  if (isOrphan()) stop();
}
