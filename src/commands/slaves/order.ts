import { Args } from '@oclif/core';
import { Client } from '../../actor/client.js';
import type { Settings } from '../../config.js';
import { PiwError } from '../../errors.js';
import { slaveControl } from '../../protocols/control.js';
import { PiwCommand } from '../base.js';

type Control = Client<typeof slaveControl.verbs>;
/** Slaves' numbers; null: all there are. */
type Slaves = readonly (number | null)[];

/** Whose an order is. Each command names it itself, for oclif's parser takes no arguments from a base. */
export const orderArgs = {
  slave: Args.string({
    ignoreStdin: true,
    required: true,
    description: "a slave's number, as piw monitor shows it; or its name, for all that run under it; or all",
  }),
};

/** The base of the orders to slaves: how they get there. */
export abstract class SlaveOrder extends PiwCommand {
  static override enableJsonFlag = true;

  /** Gives the order to each that is meant. Raises PIW_UNKNOWN_SLAVE. */
  protected async give(
    settings: Settings,
    typed: string,
    order: (control: Control, slave: number | null) => Promise<unknown>,
  ): Promise<Slaves> {
    const bus = await this.connect(settings);
    try {
      const control = new Client(bus, slaveControl, undefined, { timeoutMs: 8000, patienceMs: 8000 });
      const slaves = await meant(control, typed);
      for (const slave of slaves) await order(control, slave);
      return slaves;
    } finally {
      await bus.drain();
    }
  }
}

/** The slaves that are meant. Raises PIW_UNKNOWN_SLAVE. */
async function meant(control: Control, typed: string): Promise<Slaves> {
  if (typed === 'all') return [null];
  if (/^\d{1,15}$/.test(typed) && Number(typed) > 0) return [Number(typed)];
  const { slaves } = await control.ask('HELLO', {});
  const ids = slaves.filter(({ user }) => user === typed).map(({ slave_id }) => slave_id);
  if (ids.length > 0) return ids;
  throw new PiwError('PIW_UNKNOWN_SLAVE', `no slave ${JSON.stringify(typed)} is connected`);
}

/** `Slave 3`, `Slaves 3 and 4`, `All slaves`. */
export function whose(slaves: Slaves): string {
  if (slaves.includes(null)) return 'All slaves';
  return `Slave${slaves.length === 1 ? '' : 's'} ${slaves.map(String).join(' and ')}`;
}
