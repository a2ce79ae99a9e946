import { Args } from '@oclif/core';
import { EXIT_CODES, PiwCommand } from '../base.js';
import { reloadSlaveUsers, slaveUsersFlags, openSlaveUsers } from './users.js';

export default class SlavesRemove extends PiwCommand {
  static override summary = 'Let a slave build for this farm no more.';
  static override description = `Its user on NATS is taken away and its connection ends; what it was building goes back to the queue when its
lease runs out. What it has built stays.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> slaves remove pi4',
    '<%= config.bin %> slaves remove pi4 --nats-users /etc/nats/piw-slaves.conf --nats-pid /run/nats/nats-server.pid',
  ];
  static override args = {
    name: Args.string({ ignoreStdin: true, required: true, description: 'as piw slaves list shows it' }),
  };
  static override flags = slaveUsersFlags;
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesRemove);
    const settings = this.settings(flags);
    openSlaveUsers(settings).remove(args.name);
    const reloaded = reloadSlaveUsers(settings, (line) => {
      this.log(line);
    });
    this.log(`Slave ${args.name} is removed.`);
    return { name: args.name, reloaded };
  }
}
