import { Flags } from '@oclif/core';
import { EXIT_CODES, natsFlags } from '../base.js';
import { SlaveOrderCommand, orderArgs, formatSlaves } from './order.js';

export default class SlavesKill extends SlaveOrderCommand {
  static override summary = 'Stop a slave.';
  static override description = `The slave stops at once, and its current build goes back to the queue. With
--after-build it finishes that build first. It stays stopped, unless a service
manager restarts it.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> slaves kill pi4',
    '<%= config.bin %> slaves kill all --after-build',
  ];
  static override args = orderArgs;
  static override flags = {
    ...natsFlags,
    'after-build': Flags.boolean({
      default: false,
      description: 'let it finish and deliver its current build',
    }),
  };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesKill);
    const slaves = await this.sendOrder(this.settings(flags), args.slave, (control, slave_id) =>
      control.request('KILL', { slave_id, after_build: flags['after-build'] }),
    );
    const when = flags['after-build'] ? 'after the current build' : 'at once';
    this.log(`${formatSlaves(slaves)}: told to stop ${when}.`);
    return { slaves, after_build: flags['after-build'] };
  }
}
