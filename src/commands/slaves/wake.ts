import { EXIT_CODES, natsFlags } from '../base.js';
import { SlaveOrderCommand, orderArgs, formatSlaves } from './order.js';

export default class SlavesWake extends SlaveOrderCommand {
  static override summary = 'Give a slave builds again, after piw slaves sleep.';
  static override description = `Also resumes a slave that rests, or was set aside, because its builds failed.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> slaves wake pi4', '<%= config.bin %> slaves wake all'];
  static override args = orderArgs;
  static override flags = natsFlags;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesWake);
    const slaves = await this.sendOrder(this.settings(flags), args.slave, (control, slave_id) =>
      control.request('WAKE', { slave_id }),
    );
    this.log(`${formatSlaves(slaves)}: will get builds again.`);
    return { slaves };
  }
}
