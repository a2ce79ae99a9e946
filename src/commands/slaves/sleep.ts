import { EXIT_CODES, PiwCommand } from '../base.js';
import { orderArgs, orderFlags, slaveControlOf, slaveNumber, whose } from './order.js';

export default class SlavesSleep extends PiwCommand {
  static override summary = 'Give a slave no more work, until piw slaves wake.';
  static override description = `What it builds now is finished first. It holds until that slave ends, also if the master is started again.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> slaves sleep 3', '<%= config.bin %> slaves sleep all'];
  static override args = orderArgs;
  static override flags = orderFlags;
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesSleep);
    const slave_id = slaveNumber(args.slave);
    const bus = await this.connect(this.settings(flags));
    try {
      await slaveControlOf(bus).ask('SLEEP', { slave_id });
      this.log(`No more work for ${whose(slave_id)} until you say piw slaves wake.`);
      return { slave: slave_id };
    } finally {
      await bus.drain();
    }
  }
}
