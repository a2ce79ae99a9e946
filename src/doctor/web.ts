import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Fault } from '../check/faults.js';
import { checkServed } from '../check/served.js';
import { rethrowUnexpected } from '../errors.js';
import type { Check, Finding } from './check.js';

/** How many projects of the served index are examined. */
const SAMPLE_SIZE = 1;
/** A page may be replaced while it is read: a fault counts if it is still there after this time, milliseconds. */
const RECHECK_DELAYS_MS = [1000];

/** Checks that the web server of `public-url` answers as installers need it, and with this farm's own index. */
export const servedIndex: Check = {
  name: 'web',
  applies: ({ roles, settings }) => roles.has('web') && settings['public-url'] !== null,
  run: async ({ settings }) => {
    const url = settings['public-url'] ?? '';
    const faults: Fault[] = [];
    let projects: number;
    try {
      ({ projects } = await checkServed(url, {
        selection: { kind: 'sample', size: SAMPLE_SIZE },
        readContents: false,
        recheckDelaysMs: RECHECK_DELAYS_MS,
        settleMs: 0,
        report: (fault) => faults.push(fault),
      }));
    } catch (error) {
      rethrowUnexpected(error);
      return [
        {
          problem: `${url}: ${error.message}`,
          fix: webFix(error.message, settings['output-path']),
        },
      ];
    }
    const findings: Finding[] = [];
    const [first] = faults;
    if (first !== undefined)
      findings.push({
        problem: `${url} does not answer like an index: ${first.path}: ${first.found} instead of ${first.expected}`,
        fix: `piw check ${url} lists all faults; config/nginx and config/apache have what a server needs`,
      });
    if (projects === 0 && hasProjects(settings['output-path']))
      findings.push({
        problem: `${url} serves an empty index, although ${settings['output-path']} has projects`,
        fix: `set the web server's root to ${settings['output-path']}`,
      });
    return findings;
  },
};

/** Returns what fixes a site that could not be examined for this reason. */
function webFix(message: string, outputPath: string): string {
  if (message.includes('not a package index')) return `set the web server's root to ${outputPath}`;
  if (/ENOTFOUND|EAI_AGAIN/.test(message))
    return 'correct the host name in public-url, or make it known: DNS, or /etc/hosts';
  if (/certificate/i.test(message))
    return 'renew the certificate of the web server (ssl_certificate, SSLCertificateFile), with the host name of public-url';
  return 'start the web server (sudo systemctl start nginx, or apache2; or piw web), or correct public-url';
}

/** Returns whether the output path is on this machine and its index lists something. */
function hasProjects(outputPath: string): boolean {
  try {
    const index = JSON.parse(readFileSync(join(outputPath, 'simple', 'index.v1_json'), 'utf8')) as {
      readonly projects?: readonly unknown[];
    };
    return (index.projects?.length ?? 0) > 0;
  } catch {
    return false;
  }
}
