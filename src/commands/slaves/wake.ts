import { EXIT_CODES, natsFlags } from '../base.js';
import { SlaveOrderCommand, orderArgs, formatSlaves } from './order.js';

export default class SlavesWake extends SlaveOrderCommand {
  static override summary = 'Give a slave work again, after piw slaves sleep.';
  static override description = `It also sends a slave back to work that rests because its builds failed one after the other.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> slaves wake pi4', '<%= config.bin %> slaves wake all'];
  static override args = orderArgs;
  static override flags = natsFlags;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesWake);
    const slaves = await this.sendOrder(this.settings(flags), args.slave, (control, slave_id) =>
      control.request('WAKE', { slave_id }),
    );
    this.log(`${formatSlaves(slaves)}: work again.`);
    return { slaves };
  }
}
