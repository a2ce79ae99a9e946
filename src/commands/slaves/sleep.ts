import { EXIT_CODES, natsFlags } from '../base.js';
import { SlaveOrderCommand, orderArgs, formatSlaves } from './order.js';

export default class SlavesSleep extends SlaveOrderCommand {
  static override summary = 'Give a slave no more builds, until piw slaves wake.';
  static override description = `The slave finishes its current build. The order holds until that slave exits,
even if the master is restarted.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> slaves sleep pi4', '<%= config.bin %> slaves sleep all'];
  static override args = orderArgs;
  static override flags = natsFlags;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesSleep);
    const slaves = await this.sendOrder(this.settings(flags), args.slave, (control, slave_id) =>
      control.request('SLEEP', { slave_id }),
    );
    this.log(`${formatSlaves(slaves)}: no more builds until you run piw slaves wake.`);
    return { slaves };
  }
}
