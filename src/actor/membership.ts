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

/** How many heartbeats in a row may find the database held under another name before that counts as another farm. */
const MAX_MISSED_HEARTBEATS = 3;

/** An Oracle's membership in its farm: joins it, answers WHO, and writes the heartbeat that holds the database. */
export class Membership {
  readonly #bus: Bus;
  readonly #registry: InstallationRegistry & { sendHeartbeat(holder: string): Promise<boolean> };
  #identity: FarmIdentity | undefined;
  #missedHeartbeats = 0;

  constructor(
    bus: Bus,
    registry: InstallationRegistry & { sendHeartbeat(holder: string): Promise<boolean> },
  ) {
    this.#bus = bus;
    this.#registry = registry;
  }

  /** Joins the farm; returns false if `isStopping` was true first. Throws PIW_OTHER_FARM or PIW_PROTOCOL_VERSION. */
  async join(isStopping: () => boolean): Promise<boolean> {
    while (!isStopping()) {
      try {
        this.#identity = await joinFarm(this.#bus, this.#registry);
        return true;
      } catch (error) {
        // The database is down, which is reported as a condition: wait for it.
        if (!(error instanceof PiwError) || !TRANSIENT_CODES.has(error.code)) throw error;
      }
      await sleep(500);
    }
    return false;
  }

  /** Returns the answer to WHO; undefined before the farm is joined. */
  who(version: string): WhoAnswer | undefined {
    return this.#identity && answerWho(this.#identity, version);
  }

  /** Announces that this farm is running. Throws PIW_OTHER_FARM if another farm has taken the database. */
  async heartbeat(): Promise<void> {
    if (!this.#identity) return;
    const { holder, host } = this.#identity;
    await new ProtocolClient(this.#bus, farmIdentity).publish('HERE', this.#identity);
    const held =
      (await this.#registry.sendHeartbeat(holder)) ||
      (await this.#registry.acquire({ holder, host, from: null, heartbeat: 0 }));
    this.#missedHeartbeats = held ? 0 : this.#missedHeartbeats + 1;
    if (this.#missedHeartbeats < MAX_MISSED_HEARTBEATS) return;
    const record = await this.#registry.read();
    if (record) throw otherHolderError(this.#bus, record);
  }

  /** Handles another process's HERE. Throws PIW_OTHER_FARM if it is of another installation that started earlier. */
  onHere(other: FarmIdentity): void {
    const own = this.#identity;
    if (!own) return;
    if (other.installation === own.installation) {
      // All processes take the holder's name of the one that has run for longest.
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
