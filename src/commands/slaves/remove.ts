import { Args } from '@oclif/core';
import { EXIT_CODES, PiwCommand } from '../base.js';
import { reloadSlaveUsers, slaveUsersFlags, openSlaveUsers } from './users.js';

export default class SlavesRemove extends PiwCommand {
  static override summary = 'Remove a slave, so that it can no longer build for this farm.';
  static override description = `Deletes the slave's NATS user, which closes its connection. Its current build
goes back to the queue when the lease expires. What it has built stays.

${EXIT_CODES}`;
  static override examples = [
    '<%= config.bin %> slaves remove pi4',
    '<%= config.bin %> slaves remove pi4 --nats-users /etc/nats/piw-slaves.conf --nats-pid /run/nats/nats-server.pid',
  ];
  static override args = {
    name: Args.string({
      ignoreStdin: true,
      required: true,
      description: 'name of the slave, as in piw slaves list',
    }),
  };
  static override flags = slaveUsersFlags;
  static override enableJsonFlag = true;

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(SlavesRemove);
    const { leaf, ...others } = flags;
    const settings = this.settings(others);
    openSlaveUsers(settings).remove(args.name);
    const reloaded = reloadSlaveUsers(settings, leaf, (line) => {
      this.log(line);
    });
    this.log(`Removed slave ${args.name}.`);
    return { name: args.name, reloaded };
  }
}
