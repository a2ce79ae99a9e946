import { discoverFarm } from '../actor/identity.js';
import { jetStreamProblem, storageShortage } from '../bus/jetstream.js';
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
  const setting = isMaster ? 'nats' : 'master';
  if (message.includes('credentials'))
    return isMaster
      ? 'set nats-key, or nats-file to a file with nats://USER:PASSWORD@HOST of a user in accounts.conf'
      : 'run piw slaves add on the master, and copy what it prints to this machine';
  if (message.includes('it has no TLS'))
    return 'turn on TLS in nats-server: tls { … } in its configuration; or remove tls-ca, tls-cert and tls-key here';
  if (message.includes('client certificate'))
    return "set tls-cert and tls-key to a certificate of an authority in the ca_file of nats-server's tls { … }, and its key";
  if (message.includes("can't be used"))
    return 'set tls-ca, tls-cert and tls-key to PEM files that belong together';
  if (message.includes('must be set together')) return 'set both, or neither';
  if (message.includes('has expired'))
    return 'renew the certificate of nats-server: tls { cert_file … } in its configuration names the file';
  if (message.includes('altnames'))
    return `set ${setting} to a name that the certificate has, or renew the certificate of nats-server for this name`;
  if (message.includes('certificate')) return 'set tls-ca to the authority of the servers’ certificate';
  if (message.includes('run chmod')) return message.replace(/^.*run /, '');
  if (/^the secret \S+ can't be read|no secret in/.test(message))
    return `set ${isMaster ? 'nats-key' : 'slave-key'} to a file that this user can read, and nobody else`;
  if (message.includes('not a valid NATS address'))
    return `set ${setting} to nats://HOST:PORT or tls://HOST:PORT`;
  if (/ENOTFOUND|EAI_AGAIN/.test(message))
    return `correct the host name in ${setting}, or make it known: DNS, or /etc/hosts`;
  return `start nats-server (sudo systemctl start nats-server), or set ${setting} to its address`;
}

export const jetStream: Check = {
  name: 'jetstream',
  applies: ({ roles }) => roles.has('master'),
  run: async ({ bus }) => {
    if (!(await isReachable(bus))) return [];
    const connection = await bus();
    const problem = await jetStreamProblem(connection);
    if (problem !== undefined)
      return [
        {
          problem: `JetStream is off for this user: ${problem}`,
          fix: 'use config/nats/single.conf and accounts.conf: jetstream { … }, and jetstream: enabled for FARM',
        },
      ];
    const shortage = await storageShortage(connection);
    return shortage === undefined
      ? []
      : [
          {
            problem: `JetStream has no room for the farm's large messages: ${shortage}`,
            fix: 'free space on the disk of its store_dir, or raise max_file_store in jetstream { … } of its configuration and the limits of account FARM to 8GB',
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
