/** The version of this program, as package.json gives it. */
export const VERSION = '0.1.0';

/**
 * The number of the protocol between master, slaves and actors. It changes when a message does;
 * two programs whose numbers differ refuse each other with a line that says so.
 */
export const PROTOCOL_VERSION = 4;
