let backlogged = false;

/**
 * Sends a message to the parent process, if there is one. A `droppable` message, such as a line of a build's log, is
 * dropped while the parent hasn't received the previous ones: a backlog that grows faster than the parent reads would
 * fill this process's memory.
 */
export function sendToParent(message: object, droppable = false): void {
  if (!process.connected || (droppable && backlogged)) return;
  const onSent = (): void => {
    backlogged = false;
  };
  if (process.send?.(message, undefined, undefined, onSent) === false) backlogged = true;
}
