import { readFileSync, statSync } from 'node:fs';
import { parseAddress } from './bus/address.js';
import type { BusOptions, TlsFiles } from './bus/bus.js';
import type { Settings } from './config.js';
import { PiwError, errorMessage } from './errors.js';
import { userBucketName } from './protocols/file-juggler.js';

type BusConnectionOptions = Pick<
  BusOptions,
  'address' | 'prefix' | 'seed' | 'tls' | 'bucket' | 'inboxPrefix'
>;

/** How a master, one of its tasks or an administrator's command comes to NATS. Raises PIW_CONFIG. */
export function masterConnection(settings: Settings): BusConnectionOptions {
  const file = settings['nats-key'];
  return {
    address: settings.nats,
    prefix: settings.prefix,
    tls: tlsFiles(settings),
    ...(file === null ? {} : { seed: readSeed(file) }),
  };
}

/**
 * How a slave comes to NATS, and the user that it is there. Raises PIW_CONFIG where it has no
 * credentials, or where its key is not its own alone.
 */
export function slaveConnection(settings: Settings): BusConnectionOptions & { readonly user: string } {
  const masterAddress = parseAddress(settings.master);
  const file = settings['slave-key'];
  const seed = settings.nkey ?? (file === null ? masterAddress.seed : readSeed(file));
  if (seed === undefined && masterAddress.pass === undefined) {
    throw new PiwError(
      'PIW_CONFIG',
      'the slave has no credentials: on the master, piw slaves add makes them',
    );
  }
  const user = settings['slave-user'] ?? masterAddress.user;
  if (user === undefined || !/^[A-Za-z0-9_-]{1,64}$/.test(user)) {
    throw new PiwError(
      'PIW_CONFIG',
      'slave-user is not the name that piw slaves add was given for this slave',
    );
  }
  return {
    user,
    address: settings.master,
    prefix: settings.prefix,
    tls: tlsFiles(settings),
    ...(seed === undefined ? {} : { seed }),
    // Nothing else is open to it.
    bucket: userBucketName(settings.prefix, user),
    inboxPrefix: `_INBOX_${user}`,
  };
}

function tlsFiles(settings: Settings): TlsFiles {
  const { 'tls-ca': ca, 'tls-cert': cert, 'tls-key': key } = settings;
  return {
    ...(ca === null ? {} : { ca }),
    ...(cert === null ? {} : { cert }),
    ...(key === null ? {} : { key }),
  };
}

/** The seed in a file that holds nothing else but comments, and that not everybody can read. */
function readSeed(file: string): string {
  try {
    if ((statSync(file).mode & 0o007) !== 0) {
      throw new PiwError('PIW_CONFIG', `everybody can read the key in ${file}: chmod 600 ${file}`);
    }
    const lines = readFileSync(file, 'utf8').split('\n');
    return lines.map((line) => line.trim()).find((line) => line !== '' && !line.startsWith('#')) ?? '';
  } catch (error) {
    if (error instanceof PiwError) throw error;
    throw new PiwError('PIW_CONFIG', `the key ${file} can't be read: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}
