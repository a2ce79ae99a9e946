import { EXIT_CODES, PiwCommand } from '../base.js';
import { meant, orderArgs, orderFlags, slaveControlOf, whose } from './order.js';

export default class SlavesWake extends PiwCommand {
  static override summary = 'Give a slave work again, after piw slaves sleep.';
  static override description = `It also sends a slave back to work that rests because its builds failed one after the other.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> slaves wake pi4', '<%= config.bin %> slaves wake all'];
  static override args = orderArgs;
  static override flags = orderFlags;
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesWake);
    const bus = await this.connect(this.settings(flags));
    try {
      const control = slaveControlOf(bus);
      const slaves = await meant(control, args.slave);
      for (const slave_id of slaves) await control.ask('WAKE', { slave_id });
      this.log(`${whose(slaves)}: work again.`);
      return { slaves };
    } finally {
      await bus.drain();
    }
  }
}
