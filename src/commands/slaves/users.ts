import { Flags } from '@oclif/core';
import type { Settings } from '../../config.js';
import { reloadServers } from '../../servers/nats-reload.js';
import { natsFlags } from '../base.js';
import { SlaveUsers } from './user-file.js';

export const slaveUsersFlags = {
  'nats-users': Flags.string({
    helpValue: 'FILE',
    description:
      "file of slaves' NATS users, which nats-server's configuration includes (default: /etc/nats/piw-slaves.conf)",
  }),
  'nats-pid': Flags.string({
    helpValue: 'FILE',
    multiple: true,
    multipleNonGreedy: true,
    description: 'PID file of a nats-server on this machine, to make it reload its users; can be repeated',
  }),
  prefix: Flags.string({
    helpValue: 'NAME',
    description: "first token of the farm's NATS subjects (default: piw)",
  }),
  leaf: Flags.boolean({
    description:
      "the nats-server is a leaf node at another site, and the only one that knows that site's slaves",
  }),
  ...natsFlags,
};

export const openSlaveUsers = (settings: Settings): SlaveUsers =>
  new SlaveUsers(settings['nats-users'], settings.prefix);

/**
 * Makes this machine's nats-servers reload the users, and reports what is left to do by hand; `leaf`: they are those of
 * a leaf node. Returns whether any did.
 */
export function reloadSlaveUsers(settings: Settings, leaf: boolean, report: (line: string) => void): boolean {
  const results = reloadServers(settings['nats-pid']);
  for (const { pidFile, why } of results)
    report(
      why === null
        ? `nats-server (${pidFile}) was told to reload its users.`
        : `nats-server (${pidFile}) was not told to reload its users: ${why}.`,
    );
  if (results.length === 0) {
    report(
      'No nats-pid is configured: reload nats-server yourself with nats-server --signal reload=PIDFILE.',
    );
  }
  report(
    leaf
      ? `${settings['nats-users']} stays on this machine: the farm's own nats-servers must not have this site's slaves.`
      : `If the farm has other nats-servers, copy ${settings['nats-users']} to their machines and reload them as well; not to leaf nodes.`,
  );
  return results.some(({ why }) => why === null);
}
