import { ProtocolClient } from '../../src/actor/client.js';
import type { Bus } from '../../src/bus/bus.js';
import { wallTime, type Clock } from '../../src/concurrency/clock.js';
import { status, type SlaveStatus } from '../../src/protocols/control.js';
import type { SlaveState } from './slave-state.js';

/** Publishes the states of the slaves for monitors. */
export class SlaveStatusFeed {
  readonly #status: ProtocolClient<typeof status.verbs>;
  readonly #clock: Clock;
  readonly #slaves: Iterable<SlaveState>;
  readonly #changed = new Set<SlaveState>();

  constructor(bus: Bus, clock: Clock, slaves: Iterable<SlaveState>) {
    this.#status = new ProtocolClient(bus, status);
    this.#clock = clock;
    this.#slaves = slaves;
  }

  /** Notes that a slave's state has changed, so that publishChanges() publishes it. */
  markChanged(slave: SlaveState): void {
    this.#changed.add(slave);
  }

  /** Publishes the slaves that have changed since the last call. */
  async publishChanges(): Promise<void> {
    const changed = [...this.#changed];
    this.#changed.clear();
    await this.#publish(changed);
  }

  /** Publishes and returns the states of all slaves. */
  async publishAll(): Promise<SlaveStatus[]> {
    return await this.#publish([...this.#slaves]);
  }

  async #publish(slaves: readonly SlaveState[]): Promise<SlaveStatus[]> {
    const rows = slaves.map((slave) => slave.toRow((monotonicMs) => wallTime(this.#clock, monotonicMs)));
    for (const slave of rows) await this.#status.publish('SLAVE', { slave });
    return rows;
  }
}
