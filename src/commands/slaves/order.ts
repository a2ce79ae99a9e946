import { Args } from '@oclif/core';
import { ProtocolClient } from '../../actor/client.js';
import type { Settings } from '../../config.js';
import { PiwError } from '../../errors.js';
import { slaveControl } from '../../protocols/control.js';
import { PiwCommand } from '../base.js';

type SlaveControlClient = ProtocolClient<typeof slaveControl.verbs>;
/** Numbers of slaves; null stands for all of them. */
type SlaveTargets = readonly (number | null)[];

/** Arguments of an order. Each command declares them itself, because oclif doesn't inherit arguments. */
export const orderArgs = {
  slave: Args.string({
    ignoreStdin: true,
    required: true,
    description: "slave's number, as in piw monitor; or its name, for all its sessions; or all",
  }),
};

/** Base class of the commands that send an order to slaves. */
export abstract class SlaveOrderCommand extends PiwCommand {
  static override enableJsonFlag = true;

  /** Sends the order to each slave that `input` denotes, and returns them. Throws PIW_UNKNOWN_SLAVE. */
  protected async sendOrder(
    settings: Settings,
    input: string,
    order: (control: SlaveControlClient, slave: number | null) => Promise<unknown>,
  ): Promise<SlaveTargets> {
    const bus = await this.connect(settings);
    try {
      const control = new ProtocolClient(bus, slaveControl, undefined, { timeoutMs: 8000, patienceMs: 8000 });
      const slaves = await resolveSlaves(control, input);
      for (const slave of slaves) await order(control, slave);
      return slaves;
    } finally {
      await bus.drain();
    }
  }
}

/** Returns the slaves that `input` denotes: a number, a user name or `all`. Throws PIW_UNKNOWN_SLAVE. */
async function resolveSlaves(control: SlaveControlClient, input: string): Promise<SlaveTargets> {
  if (input === 'all') return [null];
  if (/^\d{1,15}$/.test(input) && Number(input) > 0) return [Number(input)];
  const { slaves } = await control.request('HELLO', {});
  const ids = slaves.filter(({ user }) => user === input).map(({ slave_id }) => slave_id);
  if (ids.length > 0) return ids;
  throw new PiwError('PIW_UNKNOWN_SLAVE', `no slave named ${JSON.stringify(input)} is connected`);
}

/** Returns `Slave 3`, `Slaves 3 and 4` or `All slaves`. */
export function formatSlaves(slaves: SlaveTargets): string {
  if (slaves.includes(null)) return 'All slaves';
  return `Slave${slaves.length === 1 ? '' : 's'} ${slaves.map(String).join(' and ')}`;
}
