import { EXIT_CODES, PiwCommand } from '../base.js';
import { orderArgs, orderFlags, slaveControlOf, slaveNumber, whose } from './order.js';

export default class SlavesSkip extends PiwCommand {
  static override summary = 'Have a slave give up what it builds now.';
  static override description = `The build goes back to the queue, and is given out again ten minutes later. To have a version built no more at all, use piw add --skip.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> slaves skip 3', '<%= config.bin %> slaves skip all'];
  static override args = orderArgs;
  static override flags = orderFlags;
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesSkip);
    const slave_id = slaveNumber(args.slave);
    const bus = await this.connect(this.settings(flags));
    try {
      await slaveControlOf(bus).ask('SKIP', { slave_id });
      this.log(`What ${whose(slave_id)} built was given up.`);
      return { slave: slave_id };
    } finally {
      await bus.drain();
    }
  }
}
