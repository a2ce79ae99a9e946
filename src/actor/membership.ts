import { setTimeout as sleep } from 'node:timers/promises';
import type { Bus } from '../bus/bus.js';
import { PiwError } from '../errors.js';
import type { Answer } from '../protocols/protocol.js';
import { farmIdentity } from '../protocols/farm.js';
import { ProtocolClient } from './client.js';
import {
  joinFarm,
  otherHolderError,
  otherInstallationError,
  incompatibilityReason,
  type FarmIdentity,
  type InstallationRegistry,
} from './identity.js';

type WhoAnswer = Answer<typeof farmIdentity.verbs, 'WHO'>;

/** Beats that may find the database held by another name before that is another farm. */
const MAX_MISSED_HEARTBEATS = 3;

/** What an Oracle does for the identity of its farm: it joins, answers who is there, and keeps the database held. */
export class Membership {
  readonly #bus: Bus;
  readonly #registry: InstallationRegistry & { beat(holder: string): Promise<boolean> };
  #identity: FarmIdentity | undefined;
  #missedHeartbeats = 0;

  constructor(bus: Bus, registry: InstallationRegistry & { beat(holder: string): Promise<boolean> }) {
    this.#bus = bus;
    this.#registry = registry;
  }

  /** Resolves when the farm is joined; false: `isStopping` came first. Throws PIW_OTHER_FARM, PIW_PROTOCOL_VERSION. */
  async join(isStopping: () => boolean): Promise<boolean> {
    while (!isStopping()) {
      try {
        this.#identity = await joinFarm(this.#bus, this.#registry);
        return true;
      } catch (error) {
        // Told as a condition of the database, and waited for.
        if (!(error instanceof PiwError) || !TRANSIENT_CODES.has(error.code)) throw error;
      }
      await sleep(500);
    }
    return false;
  }

  /** The answer to WHO; none before the farm is joined. */
  who(version: string): WhoAnswer | undefined {
    return this.#identity && answerWho(this.#identity, version);
  }

  /** Says that this farm is at work. Throws PIW_OTHER_FARM when another has taken the database. */
  async heartbeat(): Promise<void> {
    if (!this.#identity) return;
    const { holder, host } = this.#identity;
    await new ProtocolClient(this.#bus, farmIdentity).publish('HERE', this.#identity);
    const held =
      (await this.#registry.beat(holder)) ||
      (await this.#registry.hold({ holder, host, from: null, beat: 0 }));
    this.#missedHeartbeats = held ? 0 : this.#missedHeartbeats + 1;
    if (this.#missedHeartbeats < MAX_MISSED_HEARTBEATS) return;
    const record = await this.#registry.read();
    if (record) throw otherHolderError(this.#bus, record);
  }

  /** Another process has said HERE. Throws PIW_OTHER_FARM where it is of another installation and was there before. */
  onHere(other: FarmIdentity): void {
    const own = this.#identity;
    if (!own) return;
    if (other.installation === own.installation) {
      // One name for all: that of the process which has been there for longest.
      if (other.since < own.since) this.#identity = { ...own, holder: other.holder };
      return;
    }
    if (other.since < own.since)
      throw otherInstallationError(this.#bus, other, { id: own.installation, name: own.name });
  }
}

export function answerWho(identity: FarmIdentity, version: string): WhoAnswer {
  const reason = incompatibilityReason(version);
  return reason === undefined ? { verb: 'FARM', ...identity } : { verb: 'BYE', reason };
}

const TRANSIENT_CODES: ReadonlySet<string> = new Set(['PIW_DATABASE', 'PIW_DISCONNECTED', 'PIW_TIMEOUT']);
