import { Type } from '../model/schema.js';
import {
  Count,
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
} from '../model/fields.js';
import { Protocol, type Answer } from './protocol.js';

/** A granted build. */
const GrantTuple = Type.Tuple([
  LeaseId,
  Count, // attempt, from 1
  Package,
  Version,
  orNull(ShortText), // sdist_url
  orNull(Sha256), // sdist_sha256
]);

/**
 * The Slave Driver's requests to the Architect. A grant is a lease, which is written to the database before the answer
 * is sent.
 */
export const builds = new Protocol('builds', {
  /**
   * Grants one build to each of these slaves, as long as there are builds. `wants` is a list of [slave_id, abi,
   * platform]; the answer has as many entries, in the same order, null where there is no build. `fence` is the revision
   * of the Slave Driver's own lease; requests with an older one are refused. The leases hold for `lease_s` seconds.
   */
  NEXT: {
    fields: { fence: Count, lease_s: Seconds, wants: listOf(Type.Tuple([Id, Tag, Tag]), 1000) },
    answers: { BUILDS: { granted: listOf(orNull(GrantTuple), 1000) } },
  },
  /**
   * Extends these `leases`, each [lease, slave_id], to `lease_s` seconds from now; answered with those that are lost.
   */
  RENEW: {
    fields: { lease_s: Seconds, leases: listOf(Type.Tuple([LeaseId, Id]), 1000) },
    answers: { RENEWED: { lost: listOf(LeaseId, 1000) } },
  },
  /**
   * Returns the builds of these `leases`, each [lease, slave_id], to the queue, as if they had never been granted; they
   * are granted again after `hold_s` seconds at the earliest.
   */
  RELEASE: {
    fields: { leases: listOf(Type.Tuple([LeaseId, Id]), 1000), hold_s: Seconds },
    answers: { DONE: {} },
  },
});

export type GrantReply = Answer<typeof builds.verbs, 'NEXT'>['granted'][number];

/** Hints of the Architect to the Slave Driver. */
export const buildHints = new Protocol('build-hints', {
  /** There may be builds for slaves of this target, for which there were none before. */
  READY: { fields: { abi: Tag, platform: Tag } },
});
