import { PiwError } from '../errors.js';

/** Where NATS is and who we are there, from one address. */
export interface Address {
  /** `host:port`, several where the address names a cluster. */
  readonly servers: readonly string[];
  readonly user: string | undefined;
  readonly pass: string | undefined;
  readonly tls: boolean;
}

/**
 * `HOST`, `HOST:PORT`, `nats://USER:PASS@HOST:PORT` or `tls://…`; several joined with commas, with
 * the credentials in the first. The default port is 4222. Raises PIW_CONFIG.
 */
export function parseAddress(text: string): Address {
  const urls = text.split(',').map((part) => {
    const full = /^[a-z]+:\/\//.test(part.trim()) ? part.trim() : `nats://${part.trim()}`;
    if (!URL.canParse(full)) throw new PiwError('PIW_CONFIG', `${redactAddress(text)} is no NATS address`);
    return new URL(full);
  });
  const first = urls[0];
  if (!first || !urls.every((url) => ['nats:', 'tls:'].includes(url.protocol) && url.hostname !== '')) {
    throw new PiwError('PIW_CONFIG', `${redactAddress(text)} is no NATS address`);
  }
  return {
    servers: urls.map((url) => `${url.hostname}:${url.port || '4222'}`),
    user: first.username === '' ? undefined : decodeURIComponent(first.username),
    pass: first.password === '' ? undefined : decodeURIComponent(first.password),
    tls: first.protocol === 'tls:',
  };
}

/** The address without its credentials, for people. */
export function redactAddress(text: string): string {
  return text.replace(/\/\/[^/@]*@/g, '//');
}
