import { discoverFarm } from '../actor/identity.js';
import { jetStreamProblem } from '../bus/jetstream.js';
import { rethrowUnexpected } from '../errors.js';
import { isReachable, findingOf, type Check, type DoctorContext } from './check.js';

const usesNats = ({ roles }: DoctorContext): boolean => roles.has('master') || roles.has('builder');

export const natsConnection: Check = {
  name: 'nats',
  applies: usesNats,
  run: async ({ bus, roles }) => {
    try {
      await bus();
      return [];
    } catch (error) {
      rethrowUnexpected(error);
      return [findingOf(error, natsFix(error.message, roles.has('master')))];
    }
  },
};

/** Returns what fixes a connection that failed with this message. */
function natsFix(message: string, isMaster: boolean): string {
  if (message.includes('credentials'))
    return isMaster
      ? 'set nats-key, or nats-file to a file with nats://USER:PASSWORD@HOST of a user in accounts.conf'
      : 'run piw slaves add on the master, and copy what it prints to this machine';
  if (message.includes('certificate')) return 'set tls-ca to the authority of the servers’ certificate';
  if (message.includes('run chmod')) return message.replace(/^.*run /, '');
  return `start nats-server (sudo systemctl start nats-server), or set ${isMaster ? 'nats' : 'master'} to its address`;
}

export const jetStream: Check = {
  name: 'jetstream',
  applies: ({ roles }) => roles.has('master'),
  run: async ({ bus }) => {
    if (!(await isReachable(bus))) return [];
    const problem = await jetStreamProblem(await bus());
    return problem === undefined
      ? []
      : [
          {
            problem: `JetStream is off for this user: ${problem}`,
            fix: 'use config/nats/single.conf and accounts.conf: jetstream { … }, and jetstream: enabled for FARM',
          },
        ];
  },
};

export const farmVersion: Check = {
  name: 'version',
  applies: ({ roles }) => roles.has('master'),
  run: async ({ bus }) => {
    if (!(await isReachable(bus))) return [];
    try {
      await discoverFarm(await bus());
      return [];
    } catch (error) {
      rethrowUnexpected(error);
      return [findingOf(error, 'install the same version of piw on every machine of the farm')];
    }
  },
};
