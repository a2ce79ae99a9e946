import { Flags } from '@oclif/core';
import { EXIT_CODES, PiwCommand } from '../base.js';
import { orderArgs, orderFlags, slaveControlOf, slaveNumber, whose } from './order.js';

export default class SlavesKill extends PiwCommand {
  static override summary = 'End a slave.';
  static override description = `At once: what it builds goes back to the queue; or after what it builds. It does not start again by itself, but for what a service manager does.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> slaves kill 3',
    '<%= config.bin %> slaves kill all --after-build',
  ];
  static override args = orderArgs;
  static override flags = {
    ...orderFlags,
    'after-build': Flags.boolean({ default: false, description: 'let it finish and hand in what it builds' }),
  };
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesKill);
    const slave_id = slaveNumber(args.slave);
    const bus = await this.connect(this.settings(flags));
    try {
      await slaveControlOf(bus).ask('KILL', { slave_id, after_build: flags['after-build'] });
      const when = flags['after-build'] ? 'after what it builds' : 'at once';
      this.log(`${whose(slave_id)} told to end, ${when}.`.replace(/^\w/, (first) => first.toUpperCase()));
      return { slave: slave_id, after_build: flags['after-build'] };
    } finally {
      await bus.drain();
    }
  }
}
