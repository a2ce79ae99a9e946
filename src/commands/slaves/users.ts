import { Flags } from '@oclif/core';
import type { Settings } from '../../config.js';
import { reloadServers } from '../../farm/nats-reload.js';
import { SlaveUsers } from '../../farm/slave-users.js';
import { natsFlags } from '../base.js';

export const slaveUsersFlags = {
  'nats-users': Flags.string({
    helpValue: 'FILE',
    description: "the slaves' users, as nats-server's configuration includes them",
  }),
  'nats-pid': Flags.string({
    helpValue: 'FILE',
    multiple: true,
    description: 'where a nats-server of this machine has written its process number; can be repeated',
  }),
  prefix: Flags.string({ helpValue: 'NAME', description: "the first token of the farm's subjects" }),
  ...natsFlags,
};

export const openSlaveUsers = (settings: Settings): SlaveUsers =>
  new SlaveUsers(settings['nats-users'], settings.prefix);

/** Has the servers of this machine read the users again, and says what is left to be done by hand. */
export function reloadSlaveUsers(settings: Settings, report: (line: string) => void): boolean {
  const results = reloadServers(settings['nats-pid']);
  for (const { pidFile, why } of results)
    report(
      why === null
        ? `nats-server (${pidFile}) was told to read it again.`
        : `nats-server (${pidFile}): ${why}.`,
    );
  if (results.length === 0) {
    report('No nats-pid is configured: tell each nats-server yourself, nats-server --signal reload=PIDFILE.');
  }
  report(
    `On every other nats-server of the farm: copy ${settings['nats-users']} there, and tell it the same.`,
  );
  return results.some(({ why }) => why === null);
}
