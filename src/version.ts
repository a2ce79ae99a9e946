/** The version of this program, the same as in package.json. */
export const VERSION = '0.1.0';

/**
 * The version of the protocol between masters and actors. It changes whenever one of their messages changes; two
 * programs of different versions refuse each other with an error that says so.
 */
export const PROTOCOL_VERSION = 8;

/**
 * The version of the protocol between slaves and masters: of the conversations `slave`, `wake` and `file`. It changes
 * only when one of their messages does, so that older slaves are served as long as they understand the answers. A new
 * message that the other side may ignore, or never receives unless it is new as well, is not a change.
 */
export const SLAVE_PROTOCOL_VERSION = 5;
