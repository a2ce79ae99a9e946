import { Flags } from '@oclif/core';
import { EXIT_CODES, natsFlags } from '../base.js';
import { SlaveOrderCommand, orderArgs, formatSlaves } from './order.js';

export default class SlavesKill extends SlaveOrderCommand {
  static override summary = 'End a slave.';
  static override description = `At once: what it builds goes back to the queue; or after what it builds. It does not start again by itself, but for what a service manager does.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> slaves kill pi4',
    '<%= config.bin %> slaves kill all --after-build',
  ];
  static override args = orderArgs;
  static override flags = {
    ...natsFlags,
    'after-build': Flags.boolean({ default: false, description: 'let it finish and hand in what it builds' }),
  };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesKill);
    const slaves = await this.sendOrder(this.settings(flags), args.slave, (control, slave_id) =>
      control.request('KILL', { slave_id, after_build: flags['after-build'] }),
    );
    const when = flags['after-build'] ? 'after what it builds' : 'at once';
    this.log(`${formatSlaves(slaves)}: told to end, ${when}.`);
    return { slaves, after_build: flags['after-build'] };
  }
}
