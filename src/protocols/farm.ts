import { ShortText, Time } from './fields.js';
import { Protocol } from './protocol.js';

/** Which installation speaks here: a database has one identity for ever, whatever the processes before it. */
const IDENTITY_FIELDS = {
  /** As in a slave's HELLO: VERSION/PROTOCOL. */
  version: ShortText,
  installation: ShortText,
  /** The machine on which the tables were made, for people. */
  name: ShortText,
  /** Under which name this farm holds the database: its NATS servers and prefix when it began. */
  holder: ShortText,
  /** The machine and process that says so, and since when it is there. */
  host: ShortText,
  since: Time,
} as const;

/**
 * Who has this prefix of these NATS servers? Whoever is about to use it asks, and leaves where another installation
 * answers, or another version. Answered by Oracles and masters.
 */
export const farmIdentity = new Protocol('farm', {
  WHO: {
    fields: { version: ShortText },
    answers: { FARM: IDENTITY_FIELDS, BYE: { reason: ShortText } },
    reads: true,
  },
  /** Published by the same every ANNOUNCE_INTERVAL_S, for those who asked while nobody was there. */
  HERE: { fields: IDENTITY_FIELDS },
});
