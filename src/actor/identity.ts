import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bus } from '../bus/bus.js';
import { PiwError } from '../errors.js';
import { farmIdentity } from '../protocols/farm.js';
import type { Body } from '../protocols/protocol.js';
import { PROTOCOL, VERSION } from '../version.js';
import { Client } from './client.js';

/** The identity of a database, and the farm that holds it: src/database/installation.ts. */
export interface Holding {
  readonly id: string;
  readonly name: string;
  readonly holder: string | null;
  readonly holderHost: string | null;
  readonly holderSince: number | null;
  readonly beat: number;
}

/** What joining needs of the database. */
export interface Registry {
  read(): Promise<Holding | undefined>;
  hold(claim: { holder: string; host: string; from: string | null; beat: number }): Promise<boolean>;
}

export type Identity = Body<typeof farmIdentity.verbs, 'HERE'>;

/** A farm at work says so in the database every BEAT_INTERVAL_S; one that hasn't for OBSERVE_S has gone. */
export const BEAT_INTERVAL_S = 3;
const OBSERVE_S = 12;
const WHO_TIMEOUT_MS = 2000;

export const OWN_VERSION = `${VERSION}/${String(PROTOCOL)}`;
export const thisHost = (): string => `${hostname()}/${String(process.pid)}`;

/** Why a program of that version can't work with this one; undefined: it can. */
export function refuseVersion(version: string): string | undefined {
  if (Number(version.split('/')[1]) === PROTOCOL) return undefined;
  return `this farm is piw ${VERSION} with protocol ${String(PROTOCOL)}; install the same version here`;
}

/**
 * Returns the identity of the farm that has this prefix; undefined where nobody is there. Throws PIW_PROTOCOL_VERSION
 * where it is of another version than this program.
 */
export async function whoIsThere(bus: Bus): Promise<Identity | undefined> {
  const client = new Client(bus, farmIdentity);
  try {
    const answer = await client.ask(
      'WHO',
      { version: OWN_VERSION },
      { timeoutMs: WHO_TIMEOUT_MS, once: true },
    );
    if (answer.verb === 'FARM') return answer;
    throw new PiwError(
      'PIW_PROTOCOL_VERSION',
      `${answer.reason} (piw ${VERSION}, protocol ${String(PROTOCOL)})`,
    );
  } catch (error) {
    if (!(error instanceof PiwError)) throw error;
    // Of a version whose messages differ; its text says which.
    if (error.code === 'PIW_MESSAGE_INVALID') throw new PiwError('PIW_PROTOCOL_VERSION', error.message);
    if (['PIW_NO_RESPONDERS', 'PIW_TIMEOUT'].includes(error.code)) return undefined;
    throw error;
  }
}

const day = (ms: number | null): string =>
  ms === null ? '' : ` since ${new Date(ms).toISOString().slice(0, 16)}Z`;
const named = (id: string, name: string): string => `${id.slice(0, 8)} (made on ${name})`;

/**
 * Joins the farm of this database and of this prefix, or begins it. Returns who the farm is from now on. Throws
 * PIW_OTHER_FARM where another installation has the prefix, or a farm with other NATS servers is at work on the
 * database: its processes can't be reached from here, and the two would take each other's builds. Where such a farm
 * has just gone, that takes up to OBSERVE_S.
 */
export async function joinFarm(
  bus: Bus,
  registry: Registry,
  say: (text: string) => void = () => undefined,
): Promise<Identity> {
  const holding = await registry.read();
  if (!holding) throw new PiwError('PIW_DATABASE_VERSION', 'the database has no identity; run piw initdb');
  const there = await whoIsThere(bus);
  if (there && there.installation !== holding.id) throw otherInstallation(bus, there, holding);
  // Whatever name the farm has: it is this one's, too.
  const holder = there?.holder ?? `${bus.server}/${bus.prefix}`;
  const { id: installation, name } = holding;
  const host = thisHost();
  const joined = { version: OWN_VERSION, installation, name, holder, host, since: Date.now() };
  if (await registry.hold({ holder, host, from: null, beat: 0 })) return joined;
  const seconds = isGone(holding.holderHost) ? BEAT_INTERVAL_S + 1 : OBSERVE_S;
  say(`${otherHolder(bus, holding).message}: waiting ${String(seconds)} s for a sign of it`);
  for (let waited = 0; waited < seconds; waited += 1) {
    await sleep(1000);
    const now = await registry.read();
    if (now?.holder === holding.holder && now.beat !== holding.beat) throw otherHolder(bus, holding);
    if (now?.holder !== holding.holder) break;
  }
  if (await registry.hold({ holder, host, from: holding.holder, beat: holding.beat })) return joined;
  throw otherHolder(bus, (await registry.read()) ?? holding);
}

/** A process of this machine that has ended. */
function isGone(process_: string | null): boolean {
  const [host, pid] = process_?.split('/') ?? [];
  if (host !== hostname()) return false;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

export function otherInstallation(bus: Bus, there: Identity, own: Pick<Holding, 'id' | 'name'>): PiwError {
  return new PiwError(
    'PIW_OTHER_FARM',
    `prefix ${bus.prefix} of these NATS servers belongs to installation ${named(there.installation, there.name)}, at work on ` +
      `${there.host}${day(there.since)}; this is installation ${named(own.id, own.name)} on ${thisHost()}`,
  );
}

export function otherHolder(bus: Bus, { id, name, holder, holderHost, holderSince }: Holding): PiwError {
  return new PiwError(
    'PIW_OTHER_FARM',
    `the database of installation ${named(id, name)} is in use by ${holderHost ?? 'another farm'}${day(holderSince)} over ` +
      `NATS ${holder ?? ''}; ${thisHost()} is connected to ${bus.server}/${bus.prefix}, from where that one doesn't answer`,
  );
}
