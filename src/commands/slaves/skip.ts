import { EXIT_CODES, PiwCommand } from '../base.js';
import { meant, orderArgs, orderFlags, slaveControlOf, whose } from './order.js';

export default class SlavesSkip extends PiwCommand {
  static override summary = 'Have a slave give up what it builds now.';
  static override description = `The build goes back to the queue, and is given out again ten minutes later. To have a version built no more at all, use piw add --skip.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> slaves skip pi4', '<%= config.bin %> slaves skip all'];
  static override args = orderArgs;
  static override flags = orderFlags;
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesSkip);
    const bus = await this.connect(this.settings(flags));
    try {
      const control = slaveControlOf(bus);
      const slaves = await meant(control, args.slave);
      for (const slave_id of slaves) await control.ask('SKIP', { slave_id });
      this.log(`${whose(slaves)}: what was being built is given up.`);
      return { slaves };
    } finally {
      await bus.drain();
    }
  }
}
