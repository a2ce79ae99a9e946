import { Type, type Static } from './schema.js';
import {
  BuildDetails,
  BuildOutput,
  CoreMetadata,
  FailureClassName,
  FileName,
  FileTuple,
  Flag,
  Id,
  LeaseId,
  Package,
  Seconds,
  Sha256,
  Tag,
  Version,
  listOf,
  orNull,
} from './fields.js';

/** The result of a build under a lease or (lease null) of an import. */
export const LoggedBuild = Type.Object({
  lease: orNull(LeaseId),
  /** The slave's session; null for an import. */
  slave_id: orNull(Id),
  package: Package,
  version: Version,
  abi: Tag,
  platform: Tag,
  status: Flag,
  failure_class: orNull(FailureClassName),
  duration_s: Seconds,
  output: BuildOutput,
  details: BuildDetails,
  /** The published wheels: [file, SHA-256 of its METADATA, contents of its METADATA (null if it was not read)]. */
  files: listOf(Type.Tuple([FileTuple, Sha256, orNull(CoreMetadata)]), 100),
  /** Wheels that another build has already published under the same name; they serve this build's target, too. */
  served: listOf(FileName, 100),
});
export type LoggedBuild = Static<typeof LoggedBuild>;

/**
 * What became of a result. `logged`: it was written. `repeated`: this lease's result was written before, and nothing
 * changed. `lost`: the slave no longer holds the lease, and the result is dropped.
 */
const LOG_OUTCOMES = ['logged', 'repeated', 'lost'] as const;

/** [outcome, build_id, retry_after_s]; retry_after_s is the number of seconds until the retry of a transient failure. */
export const LogOutcomeTuple = Type.Tuple([
  Type.Union(LOG_OUTCOMES.map((outcome) => Type.Literal(outcome))),
  orNull(Id),
  orNull(Seconds),
]);
