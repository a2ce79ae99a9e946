import { ShortText, Time } from '../model/fields.js';
import { Protocol } from './protocol.js';

/** The identity of a farm. A database keeps its installation id for ever, whatever processes use it. */
const IDENTITY_FIELDS = {
  /** VERSION/PROTOCOL: see src/version.ts. */
  version: ShortText,
  /** The id of the installation, which its database keeps. */
  installation: ShortText,
  /** The host on which the tables were created, for people. */
  name: ShortText,
  /** The name by which this farm holds the database: its NATS servers and prefix at its start. */
  holder: ShortText,
  /** The host and process of the sender. */
  host: ShortText,
  /** When the sender started. */
  since: Time,
} as const;

/**
 * Asks which farm uses this prefix on these NATS servers. A process that is about to use it asks first, and exits if
 * another installation, or another version, answers. Oracles and masters answer.
 */
export const farmIdentity = new Protocol('farm', {
  /** Which farm is this? BYE: processes of that version may not join it. */
  WHO: {
    fields: {
      /** VERSION/PROTOCOL of the sender: see src/version.ts. */
      version: ShortText,
    },
    answers: { FARM: IDENTITY_FIELDS, BYE: { reason: ShortText } },
  },
  /** Published by them every ANNOUNCE_INTERVAL_S, for processes that asked while nobody could answer. */
  HERE: { fields: IDENTITY_FIELDS },
});
