import { Args, Flags } from '@oclif/core';
import { Client } from '../../actor/client.js';
import type { Bus } from '../../bus/bus.js';
import { PiwError } from '../../errors.js';
import { slaveControl } from '../../protocols/control.js';

/** What an order to slaves is given with: whose it is, and the farm. */
export const orderArgs = {
  slave: Args.string({
    ignoreStdin: true,
    required: true,
    description: "a slave's number, as piw monitor shows it, or all",
  }),
};
export const orderFlags = {
  nats: Flags.string({ helpValue: 'ADDRESS', description: 'the NATS servers of the farm' }),
};

/** The number that was typed; null: all. Raises PIW_USAGE. */
export function slaveNumber(typed: string): number | null {
  if (typed === 'all') return null;
  const number = Number(typed);
  if (/^\d{1,15}$/.test(typed) && number > 0) return number;
  throw new PiwError('PIW_USAGE', `${JSON.stringify(typed)} is neither the number of a slave nor all`);
}

/** Where orders to slaves are taken. */
export const slaveControlOf = (bus: Bus): Client<typeof slaveControl.verbs> =>
  new Client(bus, slaveControl, undefined, { timeoutMs: 8000, patienceMs: 8000 });

/** `slave 3`, `all slaves`. */
export const whose = (slave: number | null): string =>
  slave === null ? 'all slaves' : `slave ${String(slave)}`;
