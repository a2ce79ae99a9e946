import { chmodSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../src/servers/ports.js';
import { apache } from './web/apache.js';
import { nginx } from './web/nginx.js';
import { servePiwWeb } from './web/own.js';
import type { WebServerKind, RunningWebServer } from './web/served-by.js';
import { makeCertificate, type WebServerSetup } from './web/site.js';

export { WEB_SERVER_KINDS } from './web/served-by.js';
export type { WebServerKind, AccessLogEntry, RunningWebServer } from './web/served-by.js';

/**
 * Starts a web server on this output path; `piw` is the program that counts its downloads, by default one that does
 * nothing. Throws MissingPrerequisite if the server can't be installed.
 */
export async function serve(kind: WebServerKind, output: string, piw?: string): Promise<RunningWebServer> {
  if (kind === 'piw web') return servePiwWeb(output);
  const folder = mkdtempSync(join(tmpdir(), 'piw-web-'));
  // If this runs as root, the servers' workers run as other users.
  for (const path of [folder, output]) chmodSync(path, 0o755);
  const ports = { http: await freePort(), https: await freePort() };
  const noopPiw = join(folder, 'piw');
  writeFileSync(noopPiw, '#!/bin/sh\nexec cat > /dev/null\n', { mode: 0o755 });
  const site: WebServerSetup = { folder, output, ports, piw: piw ?? noopPiw, ...makeCertificate(folder) };
  mkdirSync(join(folder, 'log'), { mode: 0o777 });
  return kind === 'nginx' ? nginx(site) : apache(site);
}
