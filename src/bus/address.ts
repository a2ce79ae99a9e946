import { PiwError } from '../errors.js';
import { looksLikeSeed } from './nkey.js';

/** Where NATS is and who we are there, from one address. */
export interface NatsAddress {
  /** `host:port`, several where the address names a cluster. */
  readonly servers: readonly string[];
  readonly user: string | undefined;
  readonly pass: string | undefined;
  /** In the place of a password: the seed of the user's nkey. */
  readonly seed: string | undefined;
  readonly tls: boolean;
}

/**
 * `HOST`, `HOST:PORT`, `nats://USER:PASS@HOST:PORT` or `tls://…`; several joined with commas, with
 * the credentials in the first. Where the password is the seed of an nkey, the user is known by that, and
 * the name is the one in the user's subjects. The default port is 4222. Raises PIW_CONFIG.
 */
export function parseAddress(text: string): NatsAddress {
  const urls = text.split(',').map((part) => {
    const full = /^[a-z]+:\/\//.test(part.trim()) ? part.trim() : `nats://${part.trim()}`;
    if (!URL.canParse(full)) throw new PiwError('PIW_CONFIG', `${redactAddress(text)} is no NATS address`);
    return new URL(full);
  });
  const first = urls[0];
  if (!first || !urls.every((url) => ['nats:', 'tls:'].includes(url.protocol) && url.hostname !== '')) {
    throw new PiwError('PIW_CONFIG', `${redactAddress(text)} is no NATS address`);
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

/** The address without its credentials, for people. */
export function redactAddress(text: string): string {
  return text.replace(/\/\/[^/@]*@/g, '//');
}
