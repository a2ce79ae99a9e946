import { EXIT_CODES, PiwCommand } from '../base.js';
import { orderArgs, orderFlags, slaveControlOf, slaveNumber, whose } from './order.js';

export default class SlavesWake extends PiwCommand {
  static override summary = 'Give a slave work again, after piw slaves sleep.';
  static override description = `It also sends a slave back to work that rests because its builds failed one after the other.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> slaves wake 3', '<%= config.bin %> slaves wake all'];
  static override args = orderArgs;
  static override flags = orderFlags;
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesWake);
    const slave_id = slaveNumber(args.slave);
    const bus = await this.connect(this.settings(flags));
    try {
      await slaveControlOf(bus).ask('WAKE', { slave_id });
      this.log(`Work again for ${whose(slave_id)}.`);
      return { slave: slave_id };
    } finally {
      await bus.drain();
    }
  }
}
