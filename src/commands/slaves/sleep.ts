import { EXIT_CODES, PiwCommand } from '../base.js';
import { meant, orderArgs, orderFlags, slaveControlOf, whose } from './order.js';

export default class SlavesSleep extends PiwCommand {
  static override summary = 'Give a slave no more work, until piw slaves wake.';
  static override description = `What it builds now is finished first. It holds until that slave ends, also if the master is started again.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> slaves sleep pi4', '<%= config.bin %> slaves sleep all'];
  static override args = orderArgs;
  static override flags = orderFlags;
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesSleep);
    const bus = await this.connect(this.settings(flags));
    try {
      const control = slaveControlOf(bus);
      const slaves = await meant(control, args.slave);
      for (const slave_id of slaves) await control.ask('SLEEP', { slave_id });
      this.log(`${whose(slaves)}: no more work until you say piw slaves wake.`);
      return { slaves };
    } finally {
      await bus.drain();
    }
  }
}
