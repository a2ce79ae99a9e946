let backlogged = false;

/**
 * Tells whoever started this process as its child; nobody, where there is none. What is only `lately` of interest, as
 * a line of a log that scrolls by, is left out while they haven't heard what was said before: what they hear more
 * slowly than it is said would fill this process's memory.
 */
export function sendToParent(message: object, droppable = false): void {
  if (!process.connected || (droppable && backlogged)) return;
  const heard = (): void => {
    backlogged = false;
  };
  if (process.send?.(message, undefined, undefined, heard) === false) backlogged = true;
}
