import { EXIT_CODES, natsFlags } from '../base.js';
import { SlaveOrderCommand, orderArgs, formatSlaves } from './order.js';

export default class SlavesSkip extends SlaveOrderCommand {
  static override summary = 'Have a slave give up what it builds now.';
  static override description = `The build goes back to the queue, and is given out again ten minutes later. To have a version built no more at all, use piw add --skip.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> slaves skip pi4', '<%= config.bin %> slaves skip all'];
  static override args = orderArgs;
  static override flags = natsFlags;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesSkip);
    const slaves = await this.sendOrder(this.settings(flags), args.slave, (control, slave_id) =>
      control.request('SKIP', { slave_id }),
    );
    this.log(`${formatSlaves(slaves)}: what was being built is given up.`);
    return { slaves };
  }
}
