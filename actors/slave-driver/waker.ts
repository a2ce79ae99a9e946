import { ProtocolClient } from '../../src/actor/client.js';
import type { Bus } from '../../src/bus/bus.js';
import { wake } from '../../src/protocols/slave-driver.js';
import type { SlaveState } from './slave-state.js';

/** Sends WAKE to slaves. A slave answers it by sending its next request, IDLE or BUSY, at once. */
export class SlaveWaker {
  readonly #bus: Bus;
  readonly #slaves: Iterable<SlaveState>;

  constructor(bus: Bus, slaves: Iterable<SlaveState>) {
    this.#bus = bus;
    this.#slaves = slaves;
  }

  /** Wakes a slave, whatever it is doing. */
  async wake({ user, session }: SlaveState): Promise<void> {
    await new ProtocolClient(this.#bus, wake, [wake.name, user, session]).publish('WAKE', {});
  }

  /** Wakes the matching slaves that wait for work. */
  async wakeWaiting(matches: (slave: SlaveState) => boolean = () => true): Promise<void> {
    for (const slave of this.#slaves)
      if (slave.activity === 'waiting' && matches(slave)) await this.wake(slave);
  }
}
