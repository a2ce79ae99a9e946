/** The version of this program, the same as in package.json. */
export const VERSION = '0.1.0';

/**
 * The version of the protocol between master, slaves and actors. It changes whenever a message changes; two programs of
 * different versions refuse each other with an error that says so.
 */
export const PROTOCOL_VERSION = 5;
