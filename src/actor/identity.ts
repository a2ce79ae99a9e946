import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bus } from '../bus/bus.js';
import { PiwError, rethrowUnexpected } from '../errors.js';
import { farmIdentity } from '../protocols/farm.js';
import type { Body } from '../protocols/protocol.js';
import { PROTOCOL_VERSION, VERSION } from '../version.js';
import { ProtocolClient } from './client.js';

/** The identity of a database, and the farm that holds it; see src/database/installation.ts. */
export interface InstallationRecord {
  readonly id: string;
  readonly name: string;
  readonly holder: string | null;
  readonly holderHost: string | null;
  readonly holderSince: number | null;
  readonly heartbeat: number;
}

/** The database operations that joining a farm needs. */
export interface InstallationRegistry {
  read(): Promise<InstallationRecord | undefined>;
  acquire(options: {
    holder: string;
    host: string;
    from: string | null;
    heartbeat: number;
  }): Promise<boolean>;
}

export type FarmIdentity = Body<typeof farmIdentity.verbs, 'HERE'>;

/**
 * A running farm writes a heartbeat to the database at this interval; after HOLDER_TIMEOUT_S without one it has gone.
 */
export const HEARTBEAT_INTERVAL_S = 3;
const HOLDER_TIMEOUT_S = 12;
const WHO_TIMEOUT_MS = 2000;

export const OWN_VERSION = `${VERSION}/${PROTOCOL_VERSION}`;
const thisProcess = (): string => `${hostname()}/${process.pid}`;

/** Returns why a program of that version can't work with this one; undefined if it can. */
export function incompatibilityReason(version: string): string | undefined {
  if (Number(version.split('/')[1]) === PROTOCOL_VERSION) return undefined;
  return `this farm is piw ${VERSION} with protocol ${PROTOCOL_VERSION}; install the same version here`;
}

/**
 * Returns the identity of the farm on this prefix; undefined if there is none. Throws PIW_PROTOCOL_VERSION if the
 * farm is of a version that can't work with this program.
 */
export async function discoverFarm(bus: Bus): Promise<FarmIdentity | undefined> {
  const client = new ProtocolClient(bus, farmIdentity);
  try {
    const answer = await client.request(
      'WHO',
      { version: OWN_VERSION },
      { timeoutMs: WHO_TIMEOUT_MS, once: true },
    );
    if (answer.verb === 'FARM') return answer;
    throw new PiwError(
      'PIW_PROTOCOL_VERSION',
      `${answer.reason} (piw ${VERSION}, protocol ${PROTOCOL_VERSION})`,
    );
  } catch (error) {
    rethrowUnexpected(error);
    // The farm is of a version with other messages; the error's text names it.
    if (error.code === 'PIW_MESSAGE_INVALID') throw new PiwError('PIW_PROTOCOL_VERSION', error.message);
    if (['PIW_NO_RESPONDERS', 'PIW_TIMEOUT'].includes(error.code)) return undefined;
    throw error;
  }
}

const sinceText = (ms: number | null): string =>
  ms === null ? '' : ` since ${new Date(ms).toISOString().slice(0, 16)}Z`;
const installationLabel = (id: string, name: string): string => `${id.slice(0, 8)} (made on ${name})`;

/**
 * Joins the farm of this database and this prefix, or starts it. Returns the farm's identity. Throws PIW_OTHER_FARM
 * if the prefix belongs to another installation, or if a farm on other NATS servers uses the database: this process
 * couldn't reach that farm's processes, and the two farms would take each other's builds. Waits up to
 * HOLDER_TIMEOUT_S to find out whether such a farm is still running.
 */
export async function joinFarm(
  bus: Bus,
  registry: InstallationRegistry,
  onWaiting: (text: string) => void = () => undefined,
): Promise<FarmIdentity> {
  const record = await registry.read();
  if (!record) throw new PiwError('PIW_DATABASE_VERSION', 'the database has no identity; run piw initdb');
  const runningFarm = await discoverFarm(bus);
  if (runningFarm && runningFarm.installation !== record.id)
    throw otherInstallationError(bus, runningFarm, record);
  // Take over the name of the running farm, whatever it is.
  const holder = runningFarm?.holder ?? `${bus.serverIdentity}/${bus.prefix}`;
  const { id: installation, name } = record;
  const host = thisProcess();
  const identity = { version: OWN_VERSION, installation, name, holder, host, since: Date.now() };
  if (await registry.acquire({ holder, host, from: null, heartbeat: 0 })) return identity;
  const seconds = isProcessGone(record.holderHost) ? HEARTBEAT_INTERVAL_S + 1 : HOLDER_TIMEOUT_S;
  onWaiting(`${otherHolderError(bus, record).message}: waiting ${seconds} s for its heartbeat`);
  for (let waited = 0; waited < seconds; waited += 1) {
    await sleep(1000);
    const current = await registry.read();
    if (current?.holder === record.holder && current.heartbeat !== record.heartbeat)
      throw otherHolderError(bus, record);
    if (current?.holder !== record.holder) break;
  }
  if (await registry.acquire({ holder, host, from: record.holder, heartbeat: record.heartbeat }))
    return identity;
  throw otherHolderError(bus, (await registry.read()) ?? record);
}

/** Returns whether a process (`HOST/PID`) of this machine has ended; false for any other machine. */
function isProcessGone(processId: string | null): boolean {
  const [host, pid] = processId?.split('/') ?? [];
  if (host !== hostname()) return false;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

export function otherInstallationError(
  bus: Bus,
  other: FarmIdentity,
  own: Pick<InstallationRecord, 'id' | 'name'>,
): PiwError {
  return new PiwError(
    'PIW_OTHER_FARM',
    `prefix ${bus.prefix} of these NATS servers belongs to installation ${installationLabel(other.installation, other.name)}, running on ` +
      `${other.host}${sinceText(other.since)}; this is installation ${installationLabel(own.id, own.name)} on ${thisProcess()}`,
  );
}

export function otherHolderError(
  bus: Bus,
  { id, name, holder, holderHost, holderSince }: InstallationRecord,
): PiwError {
  return new PiwError(
    'PIW_OTHER_FARM',
    `the database of installation ${installationLabel(id, name)} is in use by ${holderHost ?? 'another farm'}${sinceText(holderSince)} over ` +
      `NATS ${holder ?? ''}; ${thisProcess()} is connected to ${bus.serverIdentity}/${bus.prefix}, where that farm does not answer`,
  );
}
