import { parseAddress } from './bus/address.js';
import type { BusOptions } from './bus/bus.js';
import type { TlsFiles } from './bus/security.js';
import type { Settings } from './config.js';
import { PiwError } from './errors.js';
import { userBucketName } from './protocols/file-juggler.js';
import { checkSecretFile, readSecretFile } from './settings/secret-file.js';

type BusConnectionOptions = Pick<
  BusOptions,
  'address' | 'prefix' | 'seed' | 'tls' | 'bucket' | 'inboxPrefix'
>;

/** Returns how a master, one of its tasks or an administrator's command connects to NATS. Throws PIW_CONFIG. */
export function masterConnection(settings: Settings): BusConnectionOptions {
  const file = settings['nats-key'];
  return {
    address: settings.nats,
    prefix: settings.prefix,
    tls: tlsFiles(settings),
    ...(file === null ? {} : { seed: readSecretFile(file) }),
  };
}

/**
 * Returns how a slave connects to NATS, and its user there. Throws PIW_CONFIG if it has no credentials, or if other
 * users of the machine can read its key.
 */
export function slaveConnection(settings: Settings): BusConnectionOptions & { readonly user: string } {
  const masterAddress = parseAddress(settings.master);
  const file = settings['slave-key'];
  const seed = settings.nkey ?? (file === null ? masterAddress.seed : readSecretFile(file));
  if (seed === undefined && masterAddress.pass === undefined) {
    throw new PiwError(
      'PIW_CONFIG',
      'the slave has no credentials: create them with piw slaves add on the master',
    );
  }
  const user = settings['slave-user'] ?? masterAddress.user;
  if (user === undefined || !/^[A-Za-z0-9_-]{1,64}$/.test(user)) {
    throw new PiwError(
      'PIW_CONFIG',
      'slave-user must be the name that this slave was given with piw slaves add',
    );
  }
  return {
    user,
    address: settings.master,
    prefix: settings.prefix,
    tls: tlsFiles(settings),
    ...(seed === undefined ? {} : { seed }),
    // A slave has permissions for nothing else.
    bucket: userBucketName(settings.prefix, user),
    inboxPrefix: `_INBOX_${user}`,
  };
}

/** Returns the files of TLS. Throws PIW_CONFIG if everybody can read the private key. */
function tlsFiles(settings: Settings): TlsFiles {
  const { 'tls-ca': ca, 'tls-cert': cert, 'tls-key': key } = settings;
  if (key !== null) checkSecretFile(key);
  return {
    ...(ca === null ? {} : { ca }),
    ...(cert === null ? {} : { cert }),
    ...(key === null ? {} : { key }),
  };
}
