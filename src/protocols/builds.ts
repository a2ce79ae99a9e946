import { Type } from './schema.js';
import {
  Count,
  Flag,
  Id,
  LeaseId,
  Package,
  Seconds,
  Sha256,
  ShortText,
  Tag,
  Version,
  listOf,
  orNull,
} from './fields.js';
import { Protocol, type Answer } from './protocol.js';

/** A build that was granted. */
export const GrantTuple = Type.Tuple([
  LeaseId,
  Count, // attempt, from 1
  Package,
  Version,
  orNull(ShortText), // sdist_url
  orNull(Sha256), // sdist_sha256
]);

/**
 * What the Slave Driver asks of the Architect. A grant is a lease, written to the database before
 * it is answered.
 */
export const builds = new Protocol('builds', {
  /**
   * One build for each of these slaves, as far as there are any: `wants` is a list of
   * [slave_id, abi, platform]; the answer has as many entries, in the same order.
   * `fence` is the revision of the Slave Driver's own lease: an older one's request is refused.
   */
  NEXT: {
    fields: { fence: Count, lease_s: Seconds, wants: listOf(Type.Tuple([Id, Tag, Tag]), 1000) },
    answers: { BUILDS: { granted: listOf(orNull(GrantTuple), 1000) } },
  },
  /** These leases go on for `lease_s` more seconds; answered with those that were lost. */
  RENEW: {
    fields: { lease_s: Seconds, leases: listOf(Type.Tuple([LeaseId, Id]), 1000) },
    answers: { RENEWED: { lost: listOf(LeaseId, 1000) } },
  },
  /**
   * These builds go back to the queue, as if they had not been given out; they are given out again when `hold_s`
   * seconds are over.
   */
  RELEASE: {
    fields: { leases: listOf(Type.Tuple([LeaseId, Id]), 1000), hold_s: Seconds },
    answers: { DONE: {} },
  },
});

export type GrantReply = Answer<typeof builds.verbs, 'NEXT'>['granted'][number];

/** Published by the Architect: there may be something for slaves of this target. A hint only. */
export const pending = new Protocol('pending', {
  READY: { fields: { abi: Tag, platform: Tag, some: Flag } },
});
