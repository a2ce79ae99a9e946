import { Flags } from '@oclif/core';
import { ProtocolClient } from '../actor/client.js';
import type { Bus } from '../bus/bus.js';
import { PiwError, rethrowUnexpected } from '../errors.js';
import { slaveControl } from '../protocols/control.js';
import { EXIT_CODES, PiwCommand, natsFlags } from './base.js';
import { createControlClient } from './control.js';
import { confirm } from './confirm.js';
import { formatQuantity } from '../units.js';

export default class Quit extends PiwCommand {
  static override summary = 'End the farm: all of its tasks, on every host.';
  static override description = `Every master ends with exit code 0, standbys included, and so does every
further process of a task; a service manager with Restart=on-failure leaves
them stopped. Slaves keep their builds and wait for a master, unless you end
them, too, with --slaves: what they are building is then built again later.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> quit', '<%= config.bin %> quit --slaves --yes'];
  static override flags = {
    ...natsFlags,
    slaves: Flags.boolean({ default: false, description: 'end the slaves, too' }),
    yes: Flags.boolean({ default: false, char: 'y', description: 'do not ask for confirmation' }),
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { flags } = await this.parse(Quit);
    const bus = await this.connect(this.settings(flags));
    try {
      if (
        !flags.yes &&
        !(await confirm(`End all tasks of the farm${await describeSlaves(bus, flags.slaves)}?`))
      )
        throw new PiwError('PIW_UNCONFIRMED', 'the farm was not ended');
      await createControlClient(bus).request('QUIT', { task: '*', slaves: flags.slaves });
    } finally {
      await bus.drain();
    }
    this.log(`The farm is ending${flags.slaves ? ', and so are its slaves' : ''}.`);
    return { slaves: flags.slaves };
  }
}

/** Says for a question which slaves the order affects. */
async function describeSlaves(bus: Bus, quits: boolean): Promise<string> {
  const client = new ProtocolClient(bus, slaveControl, undefined, { timeoutMs: 2000, once: true });
  try {
    const { slaves } = await client.request('HELLO', {});
    const building = slaves.filter(({ package: name }) => name !== null).length;
    const count = `${formatQuantity(slaves.length, 'slave')}, of which ${formatQuantity(building, 'builds', 'build')}`;
    return quits ? ` and ${count}` : `; ${count}, would wait for a master`;
  } catch (error) {
    rethrowUnexpected(error);
    return quits ? ' and its slaves' : '';
  }
}
