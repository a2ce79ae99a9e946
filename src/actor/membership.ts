import { setTimeout as sleep } from 'node:timers/promises';
import type { Bus } from '../bus/bus.js';
import { PiwError } from '../errors.js';
import type { Answer } from '../protocols/protocol.js';
import { farmIdentity } from '../protocols/farm.js';
import { Client } from './client.js';
import {
  joinFarm,
  otherHolder,
  otherInstallation,
  refuseVersion,
  type Identity,
  type Registry,
} from './identity.js';

type Who = Answer<typeof farmIdentity.verbs, 'WHO'>;

/** Beats that may find the database held by another name before that is another farm. */
const MISSED_BEATS = 3;

/** What an Oracle does for the identity of its farm: it joins, answers who is there, and keeps the database held. */
export class Membership {
  readonly #bus: Bus;
  readonly #registry: Registry & { beat(holder: string): Promise<boolean> };
  #identity: Identity | undefined;
  #missed = 0;

  constructor(bus: Bus, registry: Registry & { beat(holder: string): Promise<boolean> }) {
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
        if (!(error instanceof PiwError) || !PASSING.has(error.code)) throw error;
      }
      await sleep(500);
    }
    return false;
  }

  /** The answer to WHO; none before the farm is joined. */
  who(version: string): Who | undefined {
    return this.#identity && answerWho(this.#identity, version);
  }

  /** Says that this farm is at work. Throws PIW_OTHER_FARM when another has taken the database. */
  async beat(): Promise<void> {
    if (!this.#identity) return;
    const { holder, host } = this.#identity;
    await new Client(this.#bus, farmIdentity).publish('HERE', this.#identity);
    const held =
      (await this.#registry.beat(holder)) ||
      (await this.#registry.hold({ holder, host, from: null, beat: 0 }));
    this.#missed = held ? 0 : this.#missed + 1;
    if (this.#missed < MISSED_BEATS) return;
    const holding = await this.#registry.read();
    if (holding) throw otherHolder(this.#bus, holding);
  }

  /** Another process has said HERE. Throws PIW_OTHER_FARM where it is of another installation and was there before. */
  heard(here: Identity): void {
    const own = this.#identity;
    if (!own) return;
    if (here.installation === own.installation) {
      // One name for all: that of the process which has been there for longest.
      if (here.since < own.since) this.#identity = { ...own, holder: here.holder };
      return;
    }
    if (here.since < own.since)
      throw otherInstallation(this.#bus, here, { id: own.installation, name: own.name });
  }
}

export function answerWho(identity: Identity, version: string): Who {
  const reason = refuseVersion(version);
  return reason === undefined ? { verb: 'FARM', ...identity } : { verb: 'BYE', reason };
}

const PASSING: ReadonlySet<string> = new Set(['PIW_DATABASE', 'PIW_DISCONNECTED', 'PIW_TIMEOUT']);
