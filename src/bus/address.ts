import { PiwError } from '../errors.js';
import { looksLikeSeed } from './nkey.js';

/** The servers and the credentials that one NATS address names. */
interface NatsAddress {
  /** `host:port`, once for each server of a cluster. */
  readonly servers: readonly string[];
  readonly user: string | undefined;
  readonly pass: string | undefined;
  /** The seed of the user's nkey, if the address has one in place of the password. */
  readonly seed: string | undefined;
  readonly tls: boolean;
}

/**
 * Parses `HOST`, `HOST:PORT`, `nats://USER:PASS@HOST:PORT` or `tls://…`, or several of them separated by commas, of
 * which the first has the credentials. If the password is the seed of an nkey, the nkey authenticates the user, and
 * USER is only the name in the user's subjects. The default port is 4222. Throws PIW_CONFIG if the address is not
 * valid.
 */
export function parseAddress(text: string): NatsAddress {
  const urls = text.split(',').map((part) => {
    const full = /^[a-z]+:\/\//.test(part.trim()) ? part.trim() : `nats://${part.trim()}`;
    if (!URL.canParse(full))
      throw new PiwError('PIW_CONFIG', `"${redactAddress(text)}" is not a valid NATS address`);
    return new URL(full);
  });
  const first = urls[0];
  if (!first || !urls.every((url) => ['nats:', 'tls:'].includes(url.protocol) && url.hostname !== '')) {
    throw new PiwError('PIW_CONFIG', `"${redactAddress(text)}" is not a valid NATS address`);
  }
  const secret = first.password === '' ? undefined : decodeURIComponent(first.password);
  const seed = secret !== undefined && looksLikeSeed(secret) ? secret : undefined;
  return {
    servers: urls.map((url) => `${url.hostname}:${url.port || '4222'}`),
    user: first.username === '' ? undefined : decodeURIComponent(first.username),
    pass: seed === undefined ? secret : undefined,
    seed,
    tls: first.protocol === 'tls:',
  };
}

/** Returns the address without its credentials, for messages and logs. */
export function redactAddress(text: string): string {
  return text.replace(/\/\/[^/@]*@/g, '//');
}
