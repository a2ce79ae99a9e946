import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { skipUnlessInstalled, MissingPrerequisite } from '../missing.js';

const CONFIG_DIR = fileURLToPath(new URL('../../../../config/', import.meta.url));

/** The setup of a web server in a test: it serves `output`; all files that it writes are in `folder`. */
export interface WebServerSetup {
  readonly folder: string;
  readonly output: string;
  readonly ports: { readonly http: number; readonly https: number };
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
  /** The path of piw, which the site files run to count downloads. */
  readonly piw: string;
}

/**
 * Creates a certificate authority, and a certificate for localhost that it has signed, because some clients do not
 * accept self-signed ones.
 */
export function makeCertificate(folder: string): { ca: string; certificate: string; key: string } {
  const skipReason = skipUnlessInstalled('openssl');
  if (skipReason !== false) throw new MissingPrerequisite(skipReason);
  const pathOf = (name: string) => join(folder, name);
  const openssl = (...args: string[]) =>
    execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const newKeyArgs = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...newKeyArgs,
    '-days',
    '2',
    '-subj',
    '/CN=A test',
    '-keyout',
    pathOf('ca.key'),
    '-out',
    pathOf('ca.pem'),
  );
  openssl(
    'req',
    ...newKeyArgs,
    '-subj',
    '/CN=localhost',
    '-keyout',
    pathOf('key.pem'),
    '-out',
    pathOf('request.pem'),
  );
  writeFileSync(
    pathOf('extensions'),
    'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n',
  );
  const signingArgs = ['-CA', pathOf('ca.pem'), '-CAkey', pathOf('ca.key'), '-CAcreateserial', '-days', '2'];
  openssl(
    'x509',
    '-req',
    '-in',
    pathOf('request.pem'),
    ...signingArgs,
    '-extfile',
    pathOf('extensions'),
    '-out',
    pathOf('cert.pem'),
  );
  return { ca: pathOf('ca.pem'), certificate: pathOf('cert.pem'), key: pathOf('key.pem') };
}

/** Returns the contents of a file in config/. */
export const readSiteFile = (path: string): string => readFileSync(join(CONFIG_DIR, path), 'utf8');

/** Replaces all of these texts; throws if one of them does not occur. */
export function replaceRequired(
  text: string,
  pairs: readonly (readonly [from: string, to: string])[],
): string {
  return pairs.reduce((result, [from, to]) => {
    if (!result.includes(from)) throw new Error(`"${from}" does not occur in the configuration`);
    return result.replaceAll(from, to);
  }, text);
}

/** Returns the replacements that an administrator makes in every site file: certificates, folders and the host name. */
export const siteReplacements = (site: WebServerSetup): (readonly [string, string])[] => [
  ['/var/lib/dehydrated/certs/example.org/fullchain.pem', site.certificate],
  ['/var/lib/dehydrated/certs/example.org/privkey.pem', site.key],
  ['/var/lib/dehydrated/acme-challenges', join(site.folder, 'challenges')],
  ['/var/www/piwheels', site.output],
  ['www.example.org', 'localhost'],
];
