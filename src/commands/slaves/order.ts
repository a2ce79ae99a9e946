import { Args } from '@oclif/core';
import { Client } from '../../actor/client.js';
import type { Bus } from '../../bus/bus.js';
import { PiwError } from '../../errors.js';
import { slaveControl } from '../../protocols/control.js';
import { natsFlags } from '../base.js';

/** What an order to slaves is given with: whose it is, and the farm. */
export const orderArgs = {
  slave: Args.string({
    ignoreStdin: true,
    required: true,
    description: "a slave's number, as piw monitor shows it; or its name, for all that run under it; or all",
  }),
};
export const orderFlags = natsFlags;

type Control = Client<typeof slaveControl.verbs>;

/** Where orders to slaves are taken. */
export const slaveControlOf = (bus: Bus): Control =>
  new Client(bus, slaveControl, undefined, { timeoutMs: 8000, patienceMs: 8000 });

/** The numbers of the slaves that are meant; null: all there are. Raises PIW_UNKNOWN_SLAVE. */
export async function meant(control: Control, typed: string): Promise<readonly (number | null)[]> {
  if (typed === 'all') return [null];
  if (/^\d{1,15}$/.test(typed) && Number(typed) > 0) return [Number(typed)];
  const { slaves } = await control.ask('HELLO', {});
  const ids = slaves.filter(({ user }) => user === typed).map(({ slave_id }) => slave_id);
  if (ids.length > 0) return ids;
  throw new PiwError('PIW_UNKNOWN_SLAVE', `no slave ${JSON.stringify(typed)} is connected`);
}

/** `Slave 3`, `Slaves 3 and 4`, `All slaves`. */
export function whose(slaves: readonly (number | null)[]): string {
  if (slaves.includes(null)) return 'All slaves';
  return `Slave${slaves.length === 1 ? '' : 's'} ${slaves.map(String).join(' and ')}`;
}
