import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { debianFiles } from '../debian.js';
import type { RunningWebServer } from './served-by.js';
import { siteReplacements, replaceRequired, readSiteFile, type WebServerSetup } from './site.js';
import { startServer } from './started.js';

/** Starts Debian's nginx with its main configuration and our site file. */
export async function nginx(site: WebServerSetup): Promise<RunningWebServer> {
  const files = await debianFiles(['nginx'], '/usr/sbin/nginx');
  const { folder, ports } = site;
  const ipv6 = await hasIpv6();
  const listenReplacements = (port: number, testPort: number): [string, string][] => [
    [`listen ${port}`, `listen 127.0.0.1:${testPort}`],
    [`listen [::]:${port}`, ipv6 ? `listen [::1]:${testPort}` : '# no IPv6 here: '],
  ];
  const siteConfig = replaceRequired(readSiteFile('nginx/piwheels.conf'), [
    ...siteReplacements(site),
    ['unix:/run/nginx-piwheels.sock', `unix:${join(folder, 'names.sock')}`],
    ...listenReplacements(80, ports.http),
    ...listenReplacements(443, ports.https),
    ['/var/log/nginx', join(folder, 'log')],
  ]);
  const logger = replaceRequired(readSiteFile('systemd/piw-logger.service'), [
    ['/var/log/nginx', join(folder, 'log')],
    ['/usr/local/bin/piw', site.piw],
  ]);
  mkdirSync(join(folder, 'sites-enabled'));
  writeFileSync(join(folder, 'sites-enabled/piwheels'), siteConfig);
  // Debian's main configuration, as an administrator has it, with other paths, and one worker to keep the log in order.
  const mainConfig = replaceRequired(readFileSync(`${files.root}/etc/nginx/nginx.conf`, 'utf8'), [
    ['include /etc/nginx/modules-enabled/*.conf;', ''],
    ['worker_processes auto', 'worker_processes 1'],
    ['/run/nginx.pid', join(folder, 'nginx.pid')],
    ['/var/log/nginx', join(folder, 'log')],
    ['include /etc/nginx/conf.d/*.conf;', ''],
    ['/etc/nginx/sites-enabled', join(folder, 'sites-enabled')],
    ['/etc/nginx/mime.types', `${files.root}/etc/nginx/mime.types`],
    ['http {', `http {\n${tempPathDirectives(folder)}`],
  ]);
  writeFileSync(join(folder, 'nginx.conf'), mainConfig);
  const program = `${files.root}/usr/sbin/nginx`;
  const options = ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', join(folder, 'log/start.log')];
  return startServer(site, 'nginx', program, [...options, '-g', 'daemon off;'], files, {
    file: 'piwheels.log',
    counter: (/ExecStart=(.+)/.exec(logger)?.[1] ?? '').split(' '),
    environment: {},
  });
}

const tempPathDirectives = (folder: string): string =>
  ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${join(folder, name)};`)
    .join('\n');

function hasIpv6(): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => {
      resolve(false);
    });
    server.listen(0, '::1', () => {
      server.close(() => {
        resolve(true);
      });
    });
  });
}
