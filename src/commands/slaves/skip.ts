import { EXIT_CODES, natsFlags } from '../base.js';
import { SlaveOrderCommand, orderArgs, formatSlaves } from './order.js';

export default class SlavesSkip extends SlaveOrderCommand {
  static override summary = 'Make a slave abandon its current build.';
  static override description = `The build goes back to the queue and is offered again after ten minutes. To
stop building a version altogether, use piw add --skip.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> slaves skip pi4', '<%= config.bin %> slaves skip all'];
  static override args = orderArgs;
  static override flags = natsFlags;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesSkip);
    const slaves = await this.sendOrder(this.settings(flags), args.slave, (control, slave_id) =>
      control.request('SKIP', { slave_id }),
    );
    this.log(`${formatSlaves(slaves)}: told to abandon the current build.`);
    return { slaves };
  }
}
