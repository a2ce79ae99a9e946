import { rethrowUnexpected } from '../errors.js';
import { buildTools, builderResources, workFolder } from './builder.js';
import { findingOf, type Check, type DoctorContext, type Finding } from './check.js';
import { clockSynchronised } from './clock.js';
import { databaseClock, databaseConnection, databaseOwner, databaseSchema } from './database.js';
import { farmAtWork } from './farm.js';
import { exposedSecrets, placeholders } from './files.js';
import { followedIndex } from './index-source.js';
import { farmVersion, jetStream, natsConnection } from './nats.js';
import { nodeVersion } from './node.js';
import { outputPath } from './output.js';
import { tlsFiles } from './tls.js';
import { ordinaryUser } from './user.js';
import { servedIndex } from './web.js';
import { webLog } from './web-log.js';

/** A finding, and the name of the check that has made it. */
export type NamedFinding = Finding & { readonly check: string };

/*
 * No check concerns locks that were left behind, because none of them blocks anything: the lock of a data folder or of a
 * backup names a process with its start time, and is replaced if that process has ended (src/servers/folder-lock.ts); the
 * lock of a setup, and the leases of actors, expire.
 */

/** Returns all checks of an installation, for a farm of these tasks, in the order in which they are made. */
const allChecks = (tasks: readonly string[]): readonly Check[] => [
  nodeVersion,
  ordinaryUser,
  clockSynchronised,
  placeholders,
  exposedSecrets,
  tlsFiles,
  natsConnection,
  jetStream,
  farmVersion,
  databaseConnection,
  databaseSchema,
  databaseOwner,
  databaseClock,
  outputPath,
  followedIndex,
  farmAtWork(tasks),
  workFolder,
  builderResources,
  buildTools,
  servedIndex,
  webLog,
];

/** Makes all checks that apply to an installation, and yields what is wrong with it. */
export async function* examine(
  context: DoctorContext,
  tasks: readonly string[],
): AsyncGenerator<NamedFinding> {
  for (const check of allChecks(tasks).filter(({ applies }) => applies(context)))
    for (const finding of await runCheck(check, context)) yield { check: check.name, ...finding };
}

/** Returns what a check finds; a check that can't be completed is itself a finding. */
async function runCheck(check: Check, context: DoctorContext): Promise<readonly Finding[]> {
  try {
    return await check.run(context);
  } catch (error) {
    rethrowUnexpected(error);
    return [findingOf(error)];
  }
}
