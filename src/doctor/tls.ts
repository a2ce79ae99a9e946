import { X509Certificate, createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { errorMessage } from '../errors.js';
import { DAY_MS } from '../units.js';
import type { Check, Finding } from './check.js';

/** A certificate that ends within this time is reported. */
const EXPIRY_WARNING_MS = 14 * DAY_MS;

export const tlsFiles: Check = {
  name: 'tls',
  applies: ({ settings }) =>
    [settings['tls-ca'], settings['tls-cert'], settings['tls-key']].some((file) => file !== null),
  run: ({ settings }) => {
    const { 'tls-ca': ca, 'tls-cert': cert, 'tls-key': key } = settings;
    const findings: Finding[] = [];
    for (const [name, file] of [
      ['tls-ca', ca],
      ['tls-cert', cert],
    ] as const)
      if (file !== null) findings.push(...certificateFindings(name, file));
    if ((cert === null) !== (key === null))
      findings.push({ problem: 'only one of tls-cert and tls-key is set', fix: 'set both, or neither' });
    if (cert !== null && key !== null && findings.length === 0) findings.push(...keyFindings(cert, key));
    return findings;
  },
};

function certificateFindings(name: string, file: string): readonly Finding[] {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(readFileSync(file));
  } catch (error) {
    return [
      {
        problem: `${name}: ${file} is not a certificate: ${errorMessage(error)}`,
        fix: `set ${name} to a PEM file`,
      },
    ];
  }
  const fix = `renew the certificate, and put it into ${file}`;
  const now = Date.now();
  const end = Date.parse(certificate.validTo);
  if (Date.parse(certificate.validFrom) > now)
    return [
      {
        problem: `${name}: ${file} is valid only from ${certificate.validFrom}`,
        fix: 'set the clock of this machine',
      },
    ];
  if (end < now) return [{ problem: `${name}: ${file} has expired on ${certificate.validTo}`, fix }];
  if (end < now + EXPIRY_WARNING_MS)
    return [{ problem: `${name}: ${file} expires on ${certificate.validTo}`, fix }];
  return [];
}

function keyFindings(cert: string, key: string): readonly Finding[] {
  try {
    const certificate = new X509Certificate(readFileSync(cert));
    if (certificate.checkPrivateKey(createPrivateKey(readFileSync(key)))) return [];
  } catch (error) {
    return [
      {
        problem: `tls-key: ${key} is not a private key: ${errorMessage(error)}`,
        fix: 'set tls-key to a PEM file',
      },
    ];
  }
  return [
    {
      problem: `tls-key: ${key} does not belong to the certificate ${cert}`,
      fix: 'set tls-key to the key of tls-cert',
    },
  ];
}
