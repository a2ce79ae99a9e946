import { Flags } from '@oclif/core';
import { EXIT_CODES, PiwCommand } from '../base.js';
import { meant, orderArgs, orderFlags, slaveControlOf, whose } from './order.js';

export default class SlavesKill extends PiwCommand {
  static override summary = 'End a slave.';
  static override description = `At once: what it builds goes back to the queue; or after what it builds. It does not start again by itself, but for what a service manager does.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> slaves kill pi4',
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
    const bus = await this.connect(this.settings(flags));
    try {
      const control = slaveControlOf(bus);
      const slaves = await meant(control, args.slave);
      for (const slave_id of slaves)
        await control.ask('KILL', { slave_id, after_build: flags['after-build'] });
      const when = flags['after-build'] ? 'after what it builds' : 'at once';
      this.log(`${whose(slaves)}: told to end, ${when}.`);
      return { slaves, after_build: flags['after-build'] };
    } finally {
      await bus.drain();
    }
  }
}
