import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lacking, Missing } from '../missing.js';

const CONFIG = fileURLToPath(new URL('../../../../config/', import.meta.url));

/** What a web server is to serve, and where; everything else that it writes is in its folder. */
export interface Site {
  readonly folder: string;
  readonly output: string;
  readonly ports: { readonly http: number; readonly https: number };
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
  /** The program that counts downloads. */
  readonly piw: string;
}

/** Makes an authority, and a certificate of it for localhost: some clients take none that vouches for itself. */
export function certificate(folder: string): { ca: string; certificate: string; key: string } {
  const lacks = lacking('openssl');
  if (lacks !== false) throw new Missing(lacks);
  const at = (name: string) => join(folder, name);
  const openssl = (...args: string[]) =>
    execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const fresh = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...fresh,
    '-days',
    '2',
    '-subj',
    '/CN=A test',
    '-keyout',
    at('ca.key'),
    '-out',
    at('ca.pem'),
  );
  openssl('req', ...fresh, '-subj', '/CN=localhost', '-keyout', at('key.pem'), '-out', at('request.pem'));
  writeFileSync(at('extensions'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n');
  const signing = ['-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-days', '2'];
  openssl(
    'x509',
    '-req',
    '-in',
    at('request.pem'),
    ...signing,
    '-extfile',
    at('extensions'),
    '-out',
    at('cert.pem'),
  );
  return { ca: at('ca.pem'), certificate: at('cert.pem'), key: at('key.pem') };
}

/** A site file as it stands in config/. */
export const siteFile = (path: string): string => readFileSync(join(CONFIG, path), 'utf8');

/** The text with all of these replaced; each has to be there. */
export function replaced(text: string, pairs: readonly (readonly [what: string, by: string])[]): string {
  return pairs.reduce((all, [what, by]) => {
    if (!all.includes(what)) throw new Error(`there is no ${what} to be replaced`);
    return all.replaceAll(what, by);
  }, text);
}

/** What an administrator replaces, and the ports. */
export const filledIn = (site: Site): (readonly [string, string])[] => [
  ['/var/lib/dehydrated/certs/example.org/fullchain.pem', site.certificate],
  ['/var/lib/dehydrated/certs/example.org/privkey.pem', site.key],
  ['/var/lib/dehydrated/acme-challenges', join(site.folder, 'challenges')],
  ['/var/www/piwheels', site.output],
  ['www.example.org', 'localhost'],
];
